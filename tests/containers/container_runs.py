"""How the tests of the images run programs and the pipeline."""

import os
import shutil
import subprocess
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

import pandas as pd

ROOT = Path(__file__).resolve().parents[2]
RECIPES = ROOT.parent / "shared/recipes"
PROJECT_PARTS = ("main.nf", "nextflow.config", "nextflow_schema.json", "modules", "bin", "assets", "containers")
SETTINGS = (ROOT / "nextflow.config").read_text().splitlines()
VERSION = next(line.split("'")[1] for line in SETTINGS if line.strip().startswith("version"))
#: No user of the image, nor of this machine.
UNKNOWN_USER = "4321:4321"


def environment(**more: str) -> dict[str, str]:
    return dict(os.environ) | {"CONTAINERS_CONF": str(RECIPES / "containers.conf")} | more


def call(*command, check: bool = True, **options) -> subprocess.CompletedProcess:
    """Run to the end, keep what it printed; where it fails, so does the test, with that."""
    options = {"capture_output": True, "text": True, "timeout": 1800, "env": environment()} | options
    done = subprocess.run([str(word) for word in command], check=False, **options)
    assert done.returncode == 0 or not check, f"{command}\n{done.stdout}{done.stderr}"
    return done


@dataclass
class Results:
    """One finished run: its published files and its tasks, with the script that Nextflow wrote for each."""

    outdir: Path
    tasks: pd.DataFrame

    def digests(self) -> dict[str, str]:
        """Of a sample's results: all but the records of the run and MultiQC's, which hold times and versions."""
        records = [self.outdir / "multiqc", self.outdir / "pipeline_info"]
        paths = [path for path in self.outdir.rglob("*") if path.is_file() and not set(records) & set(path.parents)]
        return {str(path.relative_to(self.outdir)): sha256(path.read_bytes()).hexdigest() for path in paths}

    def launchers(self, status: str = "COMPLETED") -> list[str]:
        folders = self.tasks.loc[self.tasks["status"] == status, "workdir"]
        return [Path(folder, ".command.run").read_text() for folder in folders]


class Workplace:
    """A copy of the project that any user can read, and a folder to run it in."""

    def __init__(self, folder: Path):
        self.folder = folder
        folder.chmod(0o777)
        self.project = folder / "project"
        self.project.mkdir()
        for name in PROJECT_PARTS:
            copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy2
            copy(ROOT / name, self.project / name)
        (self.project / ".venv").symlink_to(ROOT / ".venv")

    def run(self, name: str, profile: str, *options: str, config="", before=(), checkout=None, **variables) -> Results:
        """Run the `test` profile into the folder `name`; HOME is unset, and what is written is open to every user.

        `before` comes before the command; `checkout`: the code to run, with its own Nextflow.
        """
        settings = self.folder / f"{name}.config"
        settings.write_text(config)
        checkout = checkout or self.project
        command = [
            *before, checkout / ".venv/bin/nextflow", "run", checkout, "-ansi-log", "false",
            "-profile", f"test,{profile}", "-c", settings, "--outdir", name,
            "--input", self.project / "assets/test/samplesheet.csv", *options,
        ]  # fmt: skip
        surroundings = environment(**variables)
        surroundings.pop("HOME", None)
        call(*command, cwd=self.folder, env=surroundings, umask=0)
        trace = max((self.folder / name / "pipeline_info").glob("trace*.tsv"))
        return Results(self.folder / name, pd.read_csv(trace, sep="\t", keep_default_na=False))
