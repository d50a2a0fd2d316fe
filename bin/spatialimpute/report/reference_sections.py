"""The section on how far each reference fits the sample."""

from spatialimpute.report.content import (
    GRAY,
    GREEN,
    VERMILLION,
    SectionWriter,
    colored,
    escape,
    number,
    without_missing,
)
from spatialimpute.report.inputs import Sample, reference_name

NUMBER = {"format": "{:,.2f}", "scale": False}
COUNT = {"format": "{:,d}", "scale": False}
TEXT = {"scale": False}
VERDICTS = {"agrees": GREEN, "poor": VERMILLION, "not judged": GRAY}
DESCRIPTION = (
    "Genes that vary together in a good reference do so in the sample too: over all pairs of panel genes, their "
    "correlations on one side are correlated with those on the other. What noise leaves attainable is beside it; less "
    "than 0.3 of that is poor. Types are compared where 60 genes can be. Alternatives were not used."
)


def write_references(writer: SectionWriter, sample: Sample) -> None:
    """A row per reference, alternatives that were not used among them."""
    table = sample.inputs.agreement
    if table is None:
        return
    rows = {}
    for _, found in table.iterrows():
        interval = [number(found[name], 2) for name in ("lower", "upper")]
        share = number(found["beyond_share"])
        beyond = "" if share is None else f"{share:.0%}"
        row = {
            "verdict": escape(found["verdict"]),
            "used": "used" if found["used"] else "alternative",
            "n_shared": number(found["n_shared"]),
            "n_compared": number(found["n_compared"]),
            "correlation": number(found["correlation"], 2),
            "interval": None if interval[0] is None else f"{interval[0]:.2f} to {interval[1]:.2f}",
            "attainable": number(found["attainable"], 2),
            "warnings": text(found["warnings"]),
            "lacking": text(found["lacking"]),
            "beyond": "<br>".join(filter(None, (beyond, text(found["beyond"])))),
        }
        rows[escape(f"{sample.name}: {reference_name(found['reference'])}")] = without_missing(row)
    writer.write(
        "references", "table", rows, parent="overlap", name="References", description=DESCRIPTION,
        headers={
            "verdict": {"title": "Fit", "description": "", **colored(VERDICTS)},
            "used": {"title": "Used", "description": "", **TEXT},
            "n_shared": {"title": "Panel genes", "description": "Panel genes that it has", **COUNT},
            "n_compared": {"title": "Compared", "description": "Of these, detected on both sides", **COUNT},
            "correlation": {"title": "Correlation", "description": "Of gene-gene correlations", **NUMBER},
            "interval": {"title": "95% interval", "description": "Jackknife over genes", **TEXT},
            "attainable": {"title": "Attainable", "description": "What the noise of both sides leaves", **NUMBER},
            "warnings": {"title": "Warning", "description": "", **TEXT},
            "lacking": {"title": "Types not seen", "description": "Its types that the sample seems to lack", **TEXT},
            "beyond": {
                "title": "Beyond it", "description": "Spatial cells that seem to be of none of its types", **TEXT,
            },
        },
        pconfig={"title": "References", "col1_header": "Sample: reference", "no_violin": True, "sort_rows": False},
    )  # fmt: skip


def text(value: object) -> str:
    """Parts of a list as lines of HTML; nothing where a table has none."""
    return "<br>".join(escape(part) for part in value.split("; ")) if isinstance(value, str) else ""
