"""Runs of Nextflow for real.

Every run takes the project from a copy, so that a test may edit it, and so that edits of the checkout while the
tests run change nothing.
"""

import os
import shutil
import signal
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import pytest

PROJECT_PARTS = ("main.nf", "nextflow.config", "nextflow_schema.json", "modules", "bin", "assets", "containers")


@dataclass
class Run:
    """One `nextflow run`: its exit code, all it printed, where its results are, and its tasks.

    `trace` has a row per task: `process` without the workflow's name, `tag`, `status`, `exit`, `attempt`, …
    """

    code: int
    text: str
    outdir: Path
    trace: pd.DataFrame | None

    def tasks(self, *statuses: str) -> list[str]:
        """`PROCESS tag` of the tasks that ended so, sorted."""
        rows = self.trace[self.trace["status"].isin(statuses)]
        return sorted(f"{row.process} {row.tag}".removesuffix(" -") for row in rows.itertuples())

    @property
    def ran(self) -> list[str]:
        """Tasks that were run, not taken from an earlier run."""
        return self.tasks("COMPLETED", "FAILED")


@dataclass
class Running:
    """A `nextflow run` that has not ended yet, in a session of its own with its tasks."""

    process: subprocess.Popen
    outdir: Path
    log: Path

    def wait(self) -> Run:
        try:
            text, _ = self.process.communicate(timeout=600)
        except subprocess.TimeoutExpired:
            pytest.fail(f"no end within 10 minutes\n{self.kill().text}\n{self.log.read_text()[-5000:]}")
        return Run(self.process.returncode, text, self.outdir, read_trace(self.outdir / "pipeline_info"))

    def kill(self) -> Run:
        """Kill Nextflow and every task, as a node's end does."""
        os.killpg(self.process.pid, signal.SIGKILL)
        return self.wait()


class Launcher:
    """A copy of the project and a folder to run it in; runs share the work folder, as a user's do."""

    def __init__(self, root: Path, folder: Path):
        self.nextflow = root / ".venv/bin/nextflow"
        self.project = folder / "project"
        self.cwd = folder
        self.outdir = folder / "results"
        self.project.mkdir(parents=True)
        for name in PROJECT_PARTS:
            copy = shutil.copytree if (root / name).is_dir() else shutil.copy2
            copy(root / name, self.project / name, **({"ignore": ignore} if copy is shutil.copytree else {}))
        (self.project / ".venv").symlink_to(root / ".venv")

    def run(
        self, *options: str, profile: str | None = "local", parser: str | None = None, outdir: str | None = ""
    ) -> Run:
        return self.start(*options, profile=profile, parser=parser, outdir=outdir).wait()

    def start(
        self, *options: str, profile: str | None = "local", parser: str | None = None, outdir: str | None = ""
    ) -> "Running":
        target = self.outdir if outdir == "" else outdir
        command = [str(self.nextflow), "run", str(self.project), "-ansi-log", "false", *options]
        if profile is not None:
            command += ["-profile", profile]
        if target is not None:
            command += ["--outdir", str(target)]
        process = subprocess.Popen(
            command, cwd=self.cwd, env=os.environ | ({"NXF_SYNTAX_PARSER": parser} if parser else {}),
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True,
        )  # fmt: skip
        return Running(process, Path(target or self.outdir), self.cwd / ".nextflow.log")

    def sheet(self, name: str, rows: list[dict]) -> str:
        """Write a samplesheet into the folder that runs start from."""
        table = pd.DataFrame(rows, columns=["sample", "spatial", "reference", "technology", "celltype_key"])
        table.to_csv(self.cwd / name, index=False)
        return name


def read_trace(folder: Path) -> pd.DataFrame | None:
    """The last launch's."""
    traces = sorted(folder.glob("trace-*.tsv"))
    if not traces:
        return None
    trace = pd.read_csv(traces[-1], sep="\t", keep_default_na=False)
    trace["process"] = trace["process"].str.split(":").str[-1]
    return trace


def ignore(_folder, names):
    return [name for name in names if name == "__pycache__"]


def published(outdir: Path) -> dict[str, bytes]:
    """Every result of a run by its path, without the records of the run itself and the report, which has its time."""
    return {
        str(path.relative_to(outdir)): path.read_bytes()
        for path in sorted(outdir.rglob("*"))
        if path.is_file() and path.relative_to(outdir).parts[0] not in ("pipeline_info", "multiqc")
    }
