"""Runs of the pipeline, made once and looked at by many tests.

Every run takes the project from a copy, so that a test may edit it, and so that edits made in the checkout while the
tests run change nothing.
"""

import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import pytest

PROJECT_PARTS = ("main.nf", "nextflow.config", "nextflow_schema.json", "modules", "bin", "assets")


def pytest_collection_modifyitems(items):
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.pipeline)


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

    def run(self, *options: str, profile: str = "local", parser: str | None = None, outdir: str | None = "") -> Run:
        target = self.outdir if outdir == "" else outdir
        command = [str(self.nextflow), "run", str(self.project), "-ansi-log", "false", "-profile", profile, *options]
        if target is not None:
            command += ["--outdir", str(target)]
        environment = {"NXF_SYNTAX_PARSER": parser} if parser else {}
        done = subprocess.run(
            ["env", *(f"{name}={value}" for name, value in environment.items()), *command],
            cwd=self.cwd, capture_output=True, text=True, timeout=900, check=False,
        )  # fmt: skip
        outdir = Path(target or self.outdir)
        return Run(done.returncode, done.stdout + done.stderr, outdir, read_trace(outdir / "pipeline_info"))

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


@pytest.fixture(scope="session")
def launcher(root, tmp_path_factory):
    """Makes launchers: `launcher("name")`."""
    return lambda name: Launcher(root, tmp_path_factory.mktemp(name))


@pytest.fixture(scope="session")
def tissue(root) -> Path:
    """The simulated data of the `test` profile."""
    return root / "assets/test"


@pytest.fixture(scope="session")
def row(tissue):
    """A row of a samplesheet: `row("a")`."""

    def make(sample: str, spatial: str = "spatial.h5ad", reference: str = "reference.h5ad") -> dict:
        return {
            "sample": sample,
            "spatial": tissue / spatial,
            "reference": tissue / reference,
            "technology": "MERFISH",
            "celltype_key": "celltype",
        }

    return make
