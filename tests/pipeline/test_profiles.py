"""Profiles alone and combined: what of them reaches the tasks, by both parsers of Nextflow."""

import re
import subprocess
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]


def config(*options: str, parser: str = "v1") -> str:
    """What `nextflow config` prints."""
    done = subprocess.run(
        ["env", f"NXF_SYNTAX_PARSER={parser}", ROOT / ".venv/bin/nextflow", "config", "-flat", *options, ROOT],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert "WARN" not in done.stdout + done.stderr
    return done.stdout


@pytest.mark.parametrize(
    ("parser", "profiles", "expected"),
    [
        ("v1", "slurm,singularity,gpu", ["process.executor = 'slurm'", "singularity.enabled = true"]),
        ("v2", "slurm,singularity,gpu", ["process.executor = 'slurm'", "singularity.enabled = true"]),
        ("v1", "gpu,lsf,mamba", ["process.executor = 'lsf'", "conda.useMamba = true"]),
        ("v2", "test,podman,sge,conda", ["process.executor = 'sge'", "podman.enabled = true", "conda.enabled = true"]),
        ("v1", "googlebatch,docker,gpu", ["process.executor = 'google-batch'", "n1-*"]),
        ("v2", "awsbatch,test_full", ["process.executor = 'awsbatch'", "assets/test_full/samplesheet.csv"]),
        ("v1", "k8s,apptainer", ["process.executor = 'k8s'", "apptainer.enabled = true"]),
        ("v2", "slurm,local,charliecloud", ["process.executor = 'slurm'", ".venv/bin", "charliecloud.enabled = true"]),
    ],
)
def test_profiles_are_combined(parser, profiles, expected):
    text = config("-profile", profiles, parser=parser)
    for part in expected:
        assert part in text
    assert ("params.accelerator = 'gpu'" in text) == ("gpu" in profiles.split(","))
    # A profile's own settings of GPU tasks come on top of what every scheduler needs, and do not replace it.
    for directive in ("accelerator", "clusterOptions"):
        assert f"process.'withLabel:process_gpu'.{directive} = " in text
    # What is killed is tried again, wherever it ran.
    assert "'retry'" in text


@pytest.mark.parametrize("name", ["core", "gpu"])
def test_conda_environments_follow_the_lock(name):
    """`package=1.2` matches the locked 1.2.3."""
    lock = (ROOT / "containers/local/requirements.lock").read_text()
    environment = yaml.safe_load((ROOT / f"containers/envs/{name}/conda.yml").read_text())
    pypi = {"pytorch-cpu": "torch", "pytorch-gpu": "torch", "matplotlib-base": "matplotlib", "python-igraph": "igraph"}
    pins = dict(pin.split("=") for pin in environment["dependencies"])
    assert pins.pop("python") == "3.11"
    for package, version in pins.items():
        locked = re.findall(rf"^{pypi.get(package, package)}==(\S+)(?: ; python_full_version < '3.12')?$", lock, re.M)
        assert any(f"{one}.".startswith(f"{version}.") for one in locked), f"{package}={version}, locked: {locked}"


def test_conda_environments_have_what_the_images_have():
    for name, torch, listed in (("core", "pytorch-cpu", "local"), ("gpu", "pytorch-gpu", "envs/gpu")):
        wanted = set((ROOT / f"containers/{listed}/requirements.in").read_text().split())
        environment = yaml.safe_load((ROOT / f"containers/envs/{name}/conda.yml").read_text())
        packages = {pin.split("=")[0] for pin in environment["dependencies"]} - {"python"}
        conda = {"torch": torch, "matplotlib": "matplotlib-base", "igraph": "python-igraph"}
        assert packages == {conda.get(package, package) for package in wanted}


def test_the_full_test_names_its_files_by_checksum():
    sheet = (ROOT / "assets/test_full/samplesheet.csv").read_text()
    named = [line.split("  ")[1] for line in (ROOT / "assets/test_full/SHA256SUMS").read_text().splitlines()]
    assert named and all(f"/{name}," in sheet or f"/{name};" in sheet for name in named)
