"""A Slurm cluster of one node, started for these tests, and runs of the pipeline on it."""

import os
import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import pytest

RECIPES = Path(__file__).resolve().parents[3] / "shared" / "recipes"


@dataclass
class Slurm:
    """A running Slurm: its folder, and the environment that its clients need."""

    folder: Path
    environment: dict[str, str]

    def jobs(self) -> list[dict[str, str]]:
        """What Slurm itself wrote of every job that ended: `Name`, `JobState`, `Partition`, `TimeLimit`, …"""
        lines = (self.folder / "jobcomp.txt").read_text().splitlines()
        return [dict(field.split("=", 1) for field in line.split() if "=" in field) for line in lines]


@pytest.fixture(scope="session")
def slurm():
    """A cluster of 8 CPUs and two pretended GPUs, partitions `main` and `gpu`; packages are installed if need be."""
    if not RECIPES.is_dir():
        pytest.skip(f"SLURM NOT TESTED: no {RECIPES}")
    if os.geteuid() != 0:
        pytest.skip("SLURM NOT TESTED: only root can start it")
    # Not below pytest's own folder, which only its user may enter: munge wants the whole path open.
    folder = Path(tempfile.mkdtemp(prefix="slurm-"))
    folder.chmod(0o755)
    environment = os.environ | {"SLURM_ROOT": str(folder / "state"), "SLURM_CONF": str(folder / "state/slurm.conf")}
    # Ports of their own, for a Slurm may be running already.
    environment |= {"SLURM_CTLD_PORT": str(20000 + os.getpid() % 9000), "SLURM_D_PORT": str(30000 + os.getpid() % 9000)}
    if not shutil.which("slurmctld"):
        waiting = folder / "apt.conf"
        waiting.write_text('DPkg::Lock::Timeout "300";\n')
        subprocess.run(["bash", RECIPES / "pkgs.sh"], check=True, env=environment | {"APT_CONFIG": str(waiting)})
    subprocess.run(["bash", RECIPES / "slurm.sh", "start"], check=True, env=environment, stdout=subprocess.DEVNULL)
    yield Slurm(folder / "state", environment)
    subprocess.run(["bash", RECIPES / "slurm.sh", "stop"], check=True, env=environment, stdout=subprocess.DEVNULL)
    shutil.rmtree(folder)


@dataclass
class Job:
    """A task as a scheduler saw it: the row of the trace, the script that was submitted, and what it printed."""

    row: dict
    script: str
    log: str


class Run:
    """A `nextflow run` on the cluster, begun at once and waited for when it is looked at."""

    def __init__(self, root: Path, slurm: Slurm, folder: Path, options: list[str], profile: str, config: str):
        self.folder, self.root = folder, root
        # What a site gives, and on top of it limits and patience of a test.
        (folder / "test.config").write_text(
            "executor { pollInterval = '1 sec'; queueStatInterval = '3 sec'; exitReadTimeout = '20 sec' }\n"
            "trace.fields = 'task_id,process,tag,name,native_id,status,exit,attempt,workdir'\n" + config
        )
        command = [root / ".venv/bin/nextflow", "run", root, "-ansi-log", "false", "-profile", profile]
        command += ["-c", root / "assets/conf/site_template.config", "-c", "test.config", "--outdir", "results"]
        self.process = subprocess.Popen(
            [*command, *options], cwd=folder, env=slurm.environment, text=True,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        )  # fmt: skip

    def wait(self) -> "Run":
        self.text = self.process.communicate(timeout=900)[0]
        (path,) = (self.folder / "results/pipeline_info").glob("trace*.tsv")
        trace = pd.read_csv(path, sep="\t", keep_default_na=False)
        trace["process"] = trace["process"].str.split(":").str[-1]
        self.jobs = [self._job(row) for row in trace.sort_values("attempt").to_dict("records")]
        return self

    def _job(self, row: dict) -> Job:
        workdir = Path(row["workdir"])
        log = workdir / ".command.log"
        return Job(row, (workdir / ".command.run").read_text(), log.read_text() if log.exists() else "")

    def of(self, process: str, tag: str | None = None) -> list[Job]:
        """Jobs of a process, first attempts first."""
        return [job for job in self.jobs if job.row["process"] == process and tag in (None, job.row["tag"])]


@pytest.fixture(scope="session")
def begin(root, slurm, tmp_path_factory):
    """Begins runs: `begin("name", "-option", config="…")`; what still runs at the end is stopped."""
    runs = []

    def make(name: str, *options: str, profile: str = "test,local,slurm", config: str = "") -> Run:
        runs.append(Run(root, slurm, tmp_path_factory.mktemp(name), list(options), profile, config))
        return runs[-1]

    yield make
    for run in runs:
        if run.process.poll() is None:
            run.process.terminate()
            run.process.wait(60)
