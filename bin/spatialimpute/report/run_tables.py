"""What the report says of the run as a whole: parameters, samples and methods that failed, versions.

All of it is MultiQC's custom content, but for the versions, which it reads from a file of its own.
"""

import json
from pathlib import Path

from spatialimpute.report.content import SectionWriter, escape

#: Of a sample whose failed task none names: a shared reference's, or one that the trace does not have yet.
ELSEWHERE = "A step failed; its message ends the log of the run."


def write_run_tables(run: dict, out_dir: str | Path) -> None:
    """Write the run's tables into a folder that MultiQC searches.

    Parameters
    ----------
    run : `parameters`, name -> value; `versions`, rows of process, tool, version; `samples`, names of those with
        results; `failed`, names of those without; `failures`, for each task that failed a dict of its `process`, and
        where they have one its `sample` and `method`, and `message`, its own words
    """
    out_dir = Path(out_dir)
    (out_dir / "params_mqc.tsv").write_text(parameters_table(run["parameters"]))
    # JSON is YAML too.
    versions = json.dumps(versions_by_process(run["versions"]), indent=1, ensure_ascii=False)
    (out_dir / "software_mqc_versions.yml").write_text(versions + "\n")
    if run["failed"]:
        content = {"id": "headline", "plot_type": "table", "data": failed_headlines(run["failed"], run["failures"])}
        (out_dir / "failed_mqc.json").write_text(json.dumps(content))
    missing = missing_methods(run["samples"], run["failures"])
    if missing:
        write_missing_methods(SectionWriter("run", out_dir), missing)


def parameters_table(parameters: dict) -> str:
    """The parameters as MultiQC's table; white space is one space, so that a value stays in its cell."""
    rows = [
        f"{name}\t{escape(' '.join(json_text(value).split()))}"
        for name, value in parameters.items()
    ]  # fmt: skip
    return "\n".join(["# id: params", "Parameter\tValue", *rows]) + "\n"


def json_text(value) -> str:
    """A value as a user would write it."""
    if value is None:
        return "not set"
    return value if isinstance(value, str) else json.dumps(value)


def versions_by_process(rows: list[list[str]]) -> dict[str, dict[str, str]]:
    """{process: {tool: version}}; a process without the workflows that it is part of."""
    versions: dict[str, dict[str, str]] = {}
    for process, tool, version in rows:
        versions.setdefault(process.split(":")[-1], {})[tool] = version
    return versions


def failed_headlines(samples: list[str], failures: list[dict]) -> dict[str, dict]:
    """Rows of the report's first table for samples without results, which MultiQC adds to the others' rows."""
    return {
        escape(sample): {
            "headline": "failed",
            "reason": "; ".join(
                f"{escape(task['process'])}: {last_words(task['message'])}"
                for task in failures
                if task["sample"] == sample
            )
            or ELSEWHERE,
        }
        for sample in samples
    }


def missing_methods(samples: list[str], failures: list[dict]) -> list[dict]:
    """Failures of methods without which the sample went on."""
    return [task for task in failures if task["process"] == "PREDICT" and task["sample"] in samples]


def write_missing_methods(writer: SectionWriter, missing: list[dict]) -> None:
    """A table of the methods that are missing in the comparison, and why."""
    rows = {
        f"{escape(task['sample'])}: {escape(task['method'])}": {"reason": last_words(task["message"])}
        for task in missing
    }
    writer.write(
        "missing_methods", "table", rows, parent="accuracy", name="Methods that failed",
        description="These are missing in the comparison; the samples went on without them.",
        headers={"reason": {"title": "Reason", "scale": False}},
        pconfig={"col1_header": "Sample: method", "no_violin": True},
    )  # fmt: skip


def last_words(message: str) -> str:
    """The message of an error, or the last line of a traceback, safe in HTML."""
    lines = message.strip().splitlines() or [ELSEWHERE]
    text = " ".join(lines).removeprefix("ERROR: ") if lines[0].startswith("ERROR:") else lines[-1]
    return escape(text)
