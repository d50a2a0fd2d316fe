"""The sections on how well it went: summary, verdict, accuracy of every method."""

import pandas as pd

from spatialimpute.report.content import (
    HEADLINE_COLORS,
    VERDICT_COLORS,
    SectionWriter,
    colored,
    escape,
    number,
    without_missing,
)  # fmt: skip
from spatialimpute.report.inputs import Sample

#: The pipeline's own prediction in `scores.tsv`.
CHOSEN = "spatialimpute"
SCORES = {
    "spearman_partial": "partial Spearman",
    "spearman": "raw Spearman",
    "spearman_fraction": "Spearman of fractions",
}
NO_CROSS_VALIDATION = (
    "No cross-validation was run (cv_folds 0): no gene has a score, so how good the imputation is remains unknown."
)


def method_name(sample: Sample, method: str, kappa: float | None = None) -> str:
    """What the report calls a method of `scores.tsv`, or single members of weight κ."""
    if method == CHOSEN:
        return "spatialimpute (chosen prediction)"
    label = sample.method_labels.get(method, method)
    return label if kappa is None or pd.isna(kappa) else f"{label} members, κ = {kappa:g}"


def method_order(method: str) -> tuple:
    """Sort key: the chosen prediction, gimVI, baselines by name, and the panel total, the mark to beat, last."""
    return method != CHOSEN, method != "gimvi", method == "total", method


def headline(sample: Sample) -> tuple[str, str]:
    """The sample's headline and its reason, as plain text."""
    if sample.evaluation is None:
        warnings = [f"Warning: {text}." for text in sample.gene_sets.warnings] if sample.gene_sets else []
        return "not assessed", " ".join([NO_CROSS_VALIDATION, *warnings])
    return sample.evaluation["headline"], sample.evaluation.get("headline_reason") or ""


def verdict_counts(sample: Sample) -> dict[str, int]:
    """Number of genes of each verdict; empty without a gene table."""
    if sample.genes is None:
        return {}
    counts = sample.genes["verdict"].value_counts()
    return {verdict: int(counts.get(verdict, 0)) for verdict in VERDICT_COLORS}


def median_scores(sample: Sample, method: str) -> dict:
    """A method's entry of `evaluation.json`; empty where there is none."""
    return ((sample.evaluation or {}).get("methods") or {}).get(method) or {}


def missing_methods(sample: Sample) -> list[tuple[str, str]]:
    """Methods that were asked for and failed, and why, in plain words."""
    entries = (sample.evaluation or {}).get("missing") or []
    found = [(entry, "") if isinstance(entry, str) else (entry["method"], entry.get("reason")) for entry in entries]
    return [
        (method, f"failed: {reason}" if reason else "failed, so it could not be scored") for method, reason in found
    ]


def write_general_statistics(writer: SectionWriter, sample: Sample, supported: float | None) -> None:
    """The sample's row at the top; `supported` is the share of cells within the reference's reach."""
    own, total = median_scores(sample, CHOSEN), median_scores(sample, "total")
    genes = verdict_counts(sample)
    row = {
        "headline": escape(headline(sample)[0]),
        "cells": len(sample.spatial.cells),
        "shared": len(sample.gene_sets.shared),
        "kappa": number((sample.evaluation or {}).get("kappa")),
        "partial": number(own.get("spearman_partial_median")),
        "raw": number(own.get("spearman_median")),
        "total": number(total.get("spearman_median")),
        "supported": None if supported is None else number(100 * supported),
        **({verdict: genes.get(verdict) for verdict in ("pass", "warn", "fail")} if sample.evaluation else {}),
    }
    score = {"format": "{:,.3f}", "min": 0, "max": 0.6, "scale": "Blues"}
    count = {"format": "{:,d}", "scale": False}
    headers = {
        "headline": {
            "title": "Headline",
            "description": "Are this sample's imputed genes worth looking at?",
            **colored(HEADLINE_COLORS),
        },
        "cells": {"title": "Cells", "description": "Spatial cells after QC", **count},
        "shared": {"title": "Shared genes", "description": "Panel genes that every reference has", **count},
        "kappa": {
            "title": "κ*",
            "description": "Weight of the adversary, chosen by cross-validation",
            "format": "{:g}",
            "scale": False,
        },
        "partial": {
            "title": "Partial",
            "description": "Median cross-validated Spearman, given the panel total: what imputation adds",
            **score,
        },
        "raw": {
            "title": "Raw",
            "description": "Median cross-validated Spearman of counts against prediction × panel total",
            **score,
        },
        "total": {
            "title": "Total alone",
            "description": "Median raw Spearman of the panel total alone: the part that library size explains",
            **score,
        },
        "pass": {"title": "Pass", "description": "Cross-validated genes with verdict pass", **count},
        "warn": {"title": "Warn", "description": "Cross-validated genes with verdict warn", **count},
        "fail": {"title": "Fail", "description": "Cross-validated genes with verdict fail", **count},
        "supported": {
            "title": "Supported",
            "description": "Spatial cells that resemble cells of the reference",
            "suffix": "%",
            "format": "{:,.1f}",
            "min": 0,
            "max": 100,
            "scale": False,
            "hidden": supported is None,
        },
    }
    for placement, header in enumerate(headers.values()):
        header["placement"] = 10 * (placement + 1)
    writer.write(
        "summary", "generalstats", {escape(sample.name): without_missing(row)}, headers=headers,
        namespace="spatialimpute",
    )  # fmt: skip


def write_verdict(writer: SectionWriter, sample: Sample) -> None:
    """Headline with its reason, and how many genes pass."""
    word, reason = headline(sample)
    evaluation = sample.evaluation or {}
    interval = evaluation.get("partial_ci")
    row = {
        "headline": escape(word),
        "reason": escape(reason),
        "interval": None if not interval or None in interval else f"{interval[0]:.3f} to {interval[1]:.3f}",
        "given_detected": number(evaluation.get("partial_given_detected")),
    }
    writer.write(
        "headline", "table", {escape(sample.name): without_missing(row)}, parent="verdict", name="Headline",
        headers={
            "headline": {"title": "Headline", "description": "", **colored(HEADLINE_COLORS)},
            "interval": {
                "title": "Mean partial, 95% interval",
                "description": "Bootstrap interval over genes of the mean partial score",
                "scale": False,
            },
            "given_detected": {
                "title": "Given detected genes",
                "description": "What remains of the mean among cells with as many genes detected",
                "scale": False,
                "format": "{:,.3f}",
            },
            "reason": {"title": "Reason", "description": "", "scale": False},
        },
        pconfig={"title": "Verdict: headline per sample", "col1_header": "Sample", "no_violin": True},
    )  # fmt: skip
    counts = verdict_counts(sample)
    if sample.evaluation and counts:
        scored = {verdict: counts[verdict] for verdict in ("pass", "warn", "fail")}
        writer.write(
            "gene_verdicts", "bargraph", {escape(sample.name): scored}, parent="verdict", name="Genes by verdict",
            description="Genes whose prediction could be compared with a measurement, by their verdict.",
            categories={verdict: {"name": verdict, "color": VERDICT_COLORS[verdict]} for verdict in scored},
            pconfig={"title": "Verdict: cross-validated genes", "ylab": "genes", "cpswitch_c_active": True},
        )  # fmt: skip


def write_accuracy(writer: SectionWriter, sample: Sample) -> None:
    """Medians of every method, and each method's distribution over genes."""
    rows = {}
    methods = sample.evaluation.get("methods") or {}
    for method in sorted(methods, key=method_order):
        row = {score: number(methods[method].get(f"{score}_median")) for score in SCORES}
        key = escape(f"{sample.name}: {method_name(sample, method)}")
        rows[key] = without_missing(row | {"genes": methods[method].get("n_genes")})
    for method, reason in missing_methods(sample):
        rows[escape(f"{sample.name}: {method_name(sample, method)}")] = {"missing": escape(reason)}
    score = {"format": "{:,.3f}", "scale": "Blues", "min": 0, "max": 0.6}
    writer.write(
        "methods_table", "table", rows, parent="accuracy", name="All methods, median over genes",
        description="The same held-out genes, and the same treatment of library size, for every method.",
        headers={
            **{key: {"title": name, "description": f"Median {name}", **score} for key, name in SCORES.items()},
            "genes": {"title": "Genes", "description": "Genes scored", "format": "{:,d}", "scale": False},
            "missing": {"title": "Missing", "description": "Why a method has no scores", "scale": False},
        },
        pconfig={
            "title": "Accuracy: methods", "col1_header": "Sample and method", "no_violin": True, "sort_rows": False,
        },
    )  # fmt: skip
    boxes = [score_boxes(sample, score) for score in SCORES]
    writer.write(
        "scores", "box", boxes, parent="accuracy", name=f"Scores per gene: {sample.name}", shared=False,
        description="Median and quartiles over held-out genes, outliers as dots; buttons switch between the scores. "
        "The panel total alone has no partial score: given itself, it adds nothing.",
        pconfig={
            "title": f"Accuracy per gene: {escape(sample.name)}",
            "sort_samples": False,
            "boxpoints": "outliers",
            "xlab": SCORES["spearman_partial"],
            "data_labels": [{"name": name, "ylab": name, "xlab": name} for name in SCORES.values()],
        },
    )  # fmt: skip


def score_boxes(sample: Sample, score: str) -> dict[str, list[float]]:
    """Scores per method for a box plot, the chosen prediction first; members of one κ are averaged per gene."""
    keys = ["method", "kappa", "gene"]
    per_gene = sample.scores.groupby(keys, dropna=False, sort=True)[score].mean().reset_index()
    found = {}
    for (method, kappa), group in per_gene.groupby(["method", "kappa"], dropna=False):
        if method == "total" and score == "spearman_partial":
            continue
        values = [value for value in map(number, group[score]) if value is not None]
        if values:
            found[(*method_order(method), method_name(sample, method, kappa))] = values
    return {escape(key[-1]): found[key] for key in sorted(found)}
