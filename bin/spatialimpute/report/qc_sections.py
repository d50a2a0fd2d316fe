"""The sections on what QC kept and dropped, and on the genes the two sides share."""

import numpy as np

from spatialimpute.report.content import BLUE, GRAY, SectionWriter, escape, number, without_missing
from spatialimpute.report.inputs import Sample, reference_name

COUNT = {"format": "{:,d}", "scale": False}
TEXT = {"scale": False}


def write_qc(writer: SectionWriter, sample: Sample) -> None:
    """What was read, kept and dropped, and the distributions of what was kept."""
    named = [(dataset_name(sample, qc), qc) for qc in sample.qc]
    if named:
        write_kept(writer, named)
        write_dropped(writer, named)
    write_distributions(writer, sample)


def dataset_name(sample: Sample, qc: dict) -> str:
    """The name of a dataset in the report; a reference shared by samples keeps one name, and so one row."""
    return sample.name if qc["role"] == "spatial" else reference_name(qc["id"])


def write_kept(writer: SectionWriter, named: list[tuple[str, dict]]) -> None:
    """A row per dataset."""
    rows = {}
    for name, qc in named:
        probes = qc.get("control_probe_rate")
        row = {key: qc.get(key) for key in ("n_cells_in", "n_cells", "n_genes_in", "n_genes", "n_outliers")}
        row |= {"probes": None if probes is None else number(100 * probes, 5)}
        row |= {
            "technology": escape(qc.get("technology") or ""),
            "counts_from": escape(qc.get("counts_from") or ""),
            "names_from": escape(qc.get("gene_names_from") or ""),
        }
        rows[escape(name)] = without_missing(row)
    writer.write(
        "qc_kept", "table", rows, parent="qc", name="Cells and genes",
        headers={
            "technology": {"title": "Technology", "description": "As the samplesheet says", **TEXT},
            "n_cells_in": {"title": "Cells in file", "description": "", **COUNT},
            "n_cells": {"title": "Cells kept", "description": "", **COUNT},
            "n_genes_in": {"title": "Genes in file", "description": "", **COUNT},
            "n_genes": {"title": "Genes kept", "description": "", **COUNT},
            "n_outliers": {
                "title": "Outliers", "description": "Cells far from the median (MAD rule); flagged", **COUNT,
            },
            "probes": {
                "title": "Control probes", "description": "Share of all counts on control probes", "suffix": "%",
                "format": "{:,.3f}", "scale": False,
            },
            "counts_from": {"title": "Counts from", "description": "Where the raw counts lay", **TEXT},
            "names_from": {"title": "Genes named by", "description": "The index or a column of the genes", **TEXT},
        },
        pconfig={"title": "QC: cells and genes", "col1_header": "Dataset", "no_violin": True},
    )  # fmt: skip


def write_dropped(writer: SectionWriter, named: list[tuple[str, dict]]) -> None:
    """A row per thing dropped or changed, with its reason; warnings of QC are rows without a number."""
    rows = {}
    for name, qc in named:
        steps = [step for step in qc.get("steps", []) if step["n"]]
        steps += [{"step": "warning", "reason": text} for text in qc.get("warnings", [])]
        if not steps:
            steps = [{"step": "nothing dropped", "reason": ""}]
        for i, step in enumerate(steps, 1):
            row = {
                "n": step.get("n"),
                "axis": escape(step.get("axis", "")),
                "reason": escape(step.get("reason") or ""),
                "examples": escape(", ".join(map(str, step.get("examples") or []))),
            }
            key = f"{name}: {step['step']}"
            key = escape(key if key not in rows else f"{key} ({i})")
            rows[key] = without_missing(row)
    writer.write(
        "qc_dropped", "table", rows, parent="qc", name="Dropped or changed, and why",
        headers={
            "n": {"title": "Number", "description": "", **COUNT},
            "axis": {"title": "Of", "description": "", **TEXT},
            "reason": {"title": "Reason", "description": "", **TEXT},
            "examples": {"title": "For example", "description": "", **TEXT},
        },
        pconfig={
            "title": "QC: dropped or changed", "col1_header": "Dataset and step", "no_violin": True, "sort_rows": False,
        },
    )  # fmt: skip


def write_distributions(writer: SectionWriter, sample: Sample) -> None:
    """Counts and genes per cell of every dataset; percentiles stand for the cells, however many they are."""
    for column, name, what in (
        ("n_counts", "Counts per cell", "counts per cell"),
        ("n_genes", "Genes per cell", "genes detected per cell"),
    ):
        boxes = {
            escape(dataset): np.percentile(counts.obs[column], np.arange(1, 100)).round(1).tolist()
            for dataset, counts in sample.datasets
        }
        writer.write(
            f"qc_{column}", "box", boxes, parent="qc", name=name,
            description="Cells kept: median and quartiles; whiskers reach from the 1st to the 99th percentile.",
            pconfig={"title": f"QC: {name.lower()}", "xlab": what, "ylab": what, "boxpoints": False, "xlog": True},
        )  # fmt: skip


def write_overlap(writer: SectionWriter, sample: Sample) -> None:
    """How many genes the two sides share, and how many are imputed beyond the panel."""
    gene_sets = sample.gene_sets
    new = len(set(gene_sets.targets) - set(gene_sets.shared) - set(gene_sets.measured_only))
    known = len(gene_sets.shared) + len(gene_sets.measured_only)
    panel = next((qc["n_genes"] for qc in sample.qc if qc["role"] == "spatial"), known)
    bars = {
        "shared": len(gene_sets.shared),
        "measured_only": len(gene_sets.measured_only),
        "unused": panel - known,
    }
    writer.write(
        "overlap", "bargraph", {escape(sample.name): bars}, parent="overlap", name="Panel genes",
        description="Genes of the spatial panel: only those that every reference has can guide the imputation.",
        categories={
            "shared": {"name": "shared, used by the model", "color": BLUE},
            "unused": {"name": "shared, left out by max_shared_genes", "color": "#56B4E9"},
            "measured_only": {"name": "missing from a reference", "color": GRAY},
        },
        pconfig={"title": "Gene overlap: the panel", "ylab": "genes", "cpswitch_c_active": True},
    )  # fmt: skip
    row = {
        "panel": panel,
        "shared": len(gene_sets.shared),
        "targets": len(gene_sets.targets),
        "new": new,
        "folds": len(gene_sets.folds),
        "how": "<br>".join(escape(f"{key.replace('_', ' ')}: {text}") for key, text in gene_sets.how.items()),
    }
    writer.write(
        "overlap_table", "table", {escape(sample.name): row}, parent="overlap", name="Genes in numbers",
        headers={
            "panel": {"title": "Panel genes", "description": "Genes of the spatial assay after QC", **COUNT},
            "shared": {"title": "Shared", "description": "Genes the model sees on both sides", **COUNT},
            "targets": {"title": "Imputed", "description": "Genes in imputed.h5ad", **COUNT},
            "new": {"title": "Not in panel", "description": "Imputed genes the panel lacks", **COUNT},
            "folds": {"title": "Folds", "description": "Folds of the cross-validation", **COUNT},
            "how": {"title": "How they were chosen", "description": "", **TEXT},
        },
        pconfig={"title": "Gene overlap: in numbers", "col1_header": "Sample", "no_violin": True},
    )  # fmt: skip
