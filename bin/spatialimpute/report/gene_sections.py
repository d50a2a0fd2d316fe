"""The sections on single genes."""

import pandas as pd

from spatialimpute.report.content import (
    BLUE,
    GRAY,
    VERDICT_COLORS,
    SectionWriter,
    colored,
    escape,
    number,
    without_missing,
)
from spatialimpute.report.inputs import Sample

#: Rows of the gene table: beyond it, genes.tsv is the place to look.
MAX_GENES = 300
MAX_BEST_AND_WORST = 5  # with more rows in all, MultiQC folds the table

SHARES = ("detected_fraction", "reference_detected_fraction")
GENE_HEADERS = {
    "verdict": {"title": "Verdict", "description": "", **colored(VERDICT_COLORS)},
    "spearman_partial": {
        "title": "Partial", "description": "Partial Spearman, given the panel total", "format": "{:,.3f}",
        "scale": "Blues", "min": 0, "max": 1,
    },
    "spearman": {
        "title": "Raw", "description": "Spearman of counts against prediction × panel total", "format": "{:,.3f}",
        "scale": "Blues", "min": 0, "max": 1,
    },
    "spearman_fraction": {
        "title": "Fraction", "description": "Spearman of counts / total against prediction", "format": "{:,.3f}",
        "scale": "Blues", "min": 0, "max": 1, "hidden": True,
    },
    "detected_fraction": {
        "title": "Detected", "description": "Spatial cells with a count", "format": "{:,.1f}", "suffix": "%",
        "scale": False,
    },
    "reference_detected_fraction": {
        "title": "In reference", "description": "Reference cells with a count", "format": "{:,.1f}",
        "suffix": "%", "scale": False,
    },
    "moran_i": {
        "title": "Moran's I", "description": "Spatial autocorrelation of the measured counts", "format": "{:,.2f}",
        "scale": False,
    },
    "reason": {"title": "Reason", "description": "", "scale": False},
}  # fmt: skip


def gene_row(gene: pd.Series) -> dict:
    """A row of `genes.tsv` as a row of a MultiQC table."""
    row = {key: number(gene.get(key)) for key in GENE_HEADERS if key not in ("verdict", "reason")}
    for key in ("detected_fraction", "reference_detected_fraction"):
        row[key] = None if row[key] is None else round(100 * row[key], 2)
    reason = "" if pd.isna(gene["reason"]) else gene["reason"]
    return without_missing({"verdict": escape(gene["verdict"]), **row, "reason": escape(reason)})


def write_genes(writer: SectionWriter, sample: Sample) -> None:
    """The best and worst cross-validated genes, and the table of genes."""
    scored = scored_genes(sample)
    ends = min(MAX_BEST_AND_WORST, len(scored) // 2)
    table = {"col1_header": "Gene", "no_violin": True, "sort_rows": False}
    if ends:
        worst = scored.iloc[::-1].head(ends)
        rows = {
            escape(gene["gene"]): {"end": end, **gene_row(gene)}
            for end, part in (("best", scored.head(ends)), ("worst", worst))
            for _, gene in part.iterrows()
        }
        writer.write(
            "best_and_worst", "table", rows, parent="genes", name=f"Best and worst: {sample.name}", shared=False,
            description=f"The {ends} held-out genes with the highest and the {ends} with the lowest partial score.",
            headers={
                "end": {"title": "End", "description": "", **colored({"best": BLUE, "worst": GRAY})},
                **GENE_HEADERS,
            },
            pconfig={"title": f"Best and worst genes: {escape(sample.name)}", **table},
        )  # fmt: skip
    rest = sample.genes[~sample.genes["gene"].isin(scored["gene"])]
    if "score" in rest:
        rest = rest.sort_values("score", ascending=False, kind="stable")
    shown = pd.concat([scored, rest]).head(MAX_GENES)
    text = "Genes that were held out in turn, best partial score first; then genes that are only imputed."
    if len(shown) < len(sample.genes):
        text += f" The first {len(shown):,} of {len(sample.genes):,}: <code>genes.tsv</code> has all."
    writer.write(
        "gene_table", "table", {escape(gene["gene"]): gene_row(gene) for _, gene in shown.iterrows()},
        parent="genes", name=f"Gene table: {sample.name}", shared=False, description=text, headers=GENE_HEADERS,
        pconfig={"title": f"Genes: {escape(sample.name)}", **table},
    )  # fmt: skip


def write_suspects(writer: SectionWriter, sample: Sample) -> None:
    """Panel genes that may not measure what they say, for whoever designs the panel; nothing where there are none."""
    if "suspect" not in sample.genes:
        return
    found = sample.genes[sample.genes["suspect"].fillna("") != ""]
    rows = {
        escape(f"{sample.name}: {gene['gene']}"): without_missing(
            {
                "suspect": escape(gene["suspect"]),
                "score": number(gene["score"], 3),
                "expected": number(gene["score_expected"], 3),
                **{key: gene_row(gene).get(key) for key in SHARES},
            }
        )
        for _, gene in found.iterrows()
    }
    if not rows:
        return
    writer.write(
        "suspects", "table", rows, parent="genes", name="Panel genes to look at",
        description="Measured and predicted disagree more than in other genes that are detected as often and predicted "
        "to vary as much, or the gene is hardly detected. Probes may bind something else or nothing; or the reference "
        "lacks cells that the sample has, or the reverse. The others' fit says what to expect; few genes say little.",
        headers={
            "suspect": {"title": "What is odd", "description": "", "scale": False},
            "score": {"title": "Score", "description": "Partial Spearman", "format": "{:,.2f}", "scale": False},
            "expected": {"title": "Expected", "description": "By the other genes", "format": "{:,.2f}", "scale": False},
            **{key: GENE_HEADERS[key] for key in SHARES},
        },
        pconfig={"title": "Panel genes to look at", "col1_header": "Sample: gene", "no_violin": True},
    )  # fmt: skip


def scored_genes(sample: Sample) -> pd.DataFrame:
    """Rows of `genes.tsv` with a cross-validated score, highest partial score first."""
    if sample.genes is None:
        return pd.DataFrame({"gene": []})
    scored = sample.genes.dropna(subset=["spearman_partial"])
    return scored.sort_values("spearman_partial", ascending=False, kind="stable")
