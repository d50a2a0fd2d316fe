"""Whole runs of the pipeline, `nextflow run -profile local`, of this checkout or of another."""

import json
import os
from pathlib import Path

import pandas as pd
import runs

CORES = 2
#: Nextflow gives its tasks the processors that Java sees.
NXF_OPTS = f"-XX:ActiveProcessorCount={CORES}"


def run_pipeline(folder: Path, sheet: Path, *options, checkout: Path = runs.ROOT) -> runs.Cost:
    """Run the pipeline in a folder, its results in `results/` and what it prints in `run.log`; its cost.

    A second run in the folder resumes the first one. Ends the benchmark if the run fails.
    """
    folder.mkdir(parents=True, exist_ok=True)
    config = folder / "trace.config"
    config.write_text("trace.raw = true\n")
    command = [checkout / ".venv" / "bin" / "nextflow", "-c", config, "run", checkout, "-profile", "local"]
    command += ["-ansi-log", "false", "--input", sheet, "--outdir", folder / "results", *options]
    command += ["-resume"] if (folder / ".nextflow" / "history").exists() else []
    log = folder / "run.log"
    environment = {"NXF_OPTS": f"{os.environ.get('NXF_OPTS', '')} {NXF_OPTS}"}
    with log.open("w") as out:
        cost, code = runs.timed(command, folder, environment, out)
    if code:
        raise SystemExit(f"{folder}: the run failed; the end of {log}:\n{log.read_text()[-3000:]}")
    return cost


def tasks_of(folder: Path) -> pd.DataFrame:
    """The tasks of the last run in a folder, those that it resumed among them."""
    trace = pd.read_csv(max((folder / "results" / "pipeline_info").glob("trace-*.tsv")), sep="\t", dtype={"tag": str})
    return trace[trace["status"].isin(["COMPLETED", "CACHED"])]


def write_sheet(folder: Path, pair: runs.Pair) -> tuple[Path, Path]:
    """The samplesheet of a real pair, and its folds."""
    folder.mkdir(parents=True, exist_ok=True)
    sheet, folds = folder / "sheet.csv", folder / "gene_folds.json"
    row = ",".join([pair.name, str(pair.spatial), str(pair.reference), runs.TECHNOLOGY[pair.name]])
    sheet.write_text(f"sample,spatial,reference,technology\n{row}\n")
    folds.write_text(json.dumps({pair.name: pair.folds}))
    return sheet, folds
