"""What is in the images, and what is not."""

import json
import os
import re
import sys
import venv
import zipfile
from pathlib import Path

import pytest
from container_runs import ROOT, UNKNOWN_USER, VERSION, call

CUDA = re.compile(r"^(nvidia-|cuda-|triton$)")


def locked() -> dict[str, set[str]]:
    """Versions that the lock allows, by package."""
    versions: dict[str, set[str]] = {}
    for line in (ROOT / "containers/local/requirements.lock").read_text().splitlines():
        if found := re.match(r"([a-z0-9-]+)==(\S+)", line):
            versions.setdefault(found[1], set()).add(found[2])
    return versions


@pytest.fixture(scope="module", params=["core", "gpu"])
def image(request):
    return request.getfixturevalue(f"{request.param}_image")


def inside(image: str, script: str) -> str:
    return call(
        "podman", "run", "--rm", "--network=none", "--read-only", "--cap-drop=ALL", "-u", UNKNOWN_USER, image,
        "bash", "-euc", script,
    ).stdout  # fmt: skip


def test_it_is_labeled_and_its_user_is_not_root(image):
    config = json.loads(call("podman", "image", "inspect", image).stdout)[0]["Config"]
    assert config["User"] == "1000:1000"
    labels = {key.removeprefix("org.opencontainers.image."): value for key, value in config["Labels"].items()}
    assert labels["title"] in image
    assert labels["version"] == VERSION
    assert labels["description"] and labels["base.name"]
    assert "ENTRYPOINT" not in config and not config.get("Entrypoint")


def test_it_has_what_nextflow_needs_and_no_compiler_installer_or_cache(image):
    found = inside(
        image, "for tool in bash ps python3 gcc cc c++ make git pip pip3 curl; do command -v $tool || true; done"
    )
    assert [Path(line).name for line in found.split()] == ["bash", "ps", "python3"]
    left = inside(image, "find /var/lib/apt/lists /var/cache/apt /build /tmp /var/tmp -type f 2>/dev/null || true")
    assert left == ""
    assert "cache" not in call("podman", "run", "--rm", "-u", "0", image, "find", "/root", "-type", "f").stdout


def test_its_packages_are_those_of_the_lock(image):
    listed = inside(image, f"python3 -c '{LIST_PACKAGES}'")
    packages = dict(line.split() for line in listed.splitlines())
    names = {re.sub(r"[-_.]+", "-", name).lower(): version for name, version in packages.items()}
    names.pop("setuptools", None)  # the one that made the environment
    allowed = locked()
    assert {name: version for name, version in names.items() if version not in allowed.get(name, ())} == {}
    assert names["torch"] in allowed["torch"]


LIST_PACKAGES = 'from importlib.metadata import distributions as d\nfor p in d(): print(p.metadata["Name"], p.version)'


def test_the_gpu_image_is_for_current_gpus_and_leaves_out_reports(gpu_image):
    assert inside(gpu_image, "command -v multiqc || true") == ""
    kinds = inside(gpu_image, "python3 -c 'import torch; print(torch._C._cuda_getArchFlags())'").split()
    assert {"sm_80", "sm_90"} <= set(kinds)  # A100, H100


def test_a_cpu_wheel_index_keeps_cuda_out(tmp_path):
    """pip's own choice, by the lists that the images are built from, where an index has a torch for CPUs."""
    version = next(iter(locked()["torch"]))
    index = tmp_path / "simple/torch"
    index.mkdir(parents=True)
    tag = f"cp{sys.version_info.major}{sys.version_info.minor}"
    wheel = index / f"torch-{version}+cpu-{tag}-{tag}-linux_{os.uname().machine}.whl"
    needs = ["filelock", "typing-extensions>=4.10.0", "sympy>=1.13.3", "networkx>=2.5.1", "jinja2", "fsspec>=0.8.5"]
    info = f"torch-{version}+cpu.dist-info"
    with zipfile.ZipFile(wheel, "w") as archive:
        metadata = [
            f"Metadata-Version: 2.1\nName: torch\nVersion: {version}+cpu",
            *(f"Requires-Dist: {x}" for x in needs),
        ]
        archive.writestr(f"{info}/METADATA", "\n".join(metadata) + "\n")
        archive.writestr(
            f"{info}/WHEEL", f"Wheel-Version: 1.0\nRoot-Is-Purelib: false\nTag: {tag}-{tag}-linux_x86_64\n"
        )
        archive.writestr(f"{info}/RECORD", "")
    (index / "index.html").write_text(f'<a href="{wheel.name.replace("+", "%2B")}">{wheel.name}</a>')

    venv.create(tmp_path / "venv", with_pip=True)

    call(
        tmp_path / "venv/bin/pip", "install", "--quiet", "--dry-run", "--ignore-installed",
        "--report", tmp_path / "report.json", "--extra-index-url", index.parent.as_uri(),
        "-r", ROOT / "containers/local/requirements.in", "-c", ROOT / "containers/local/requirements.lock",
    )  # fmt: skip
    packages = [entry["metadata"] for entry in json.loads((tmp_path / "report.json").read_text())["install"]]
    chosen = {re.sub(r"[-_.]+", "-", entry["name"]).lower(): entry["version"] for entry in packages}
    assert chosen["torch"] == f"{version}+cpu"
    assert [name for name in chosen if CUDA.match(name)] == []
    assert [name for name in locked() if CUDA.match(name)] != []  # which the lock has all the same


def test_memory_over_the_limit_ends_in_137(core_image):
    done = call(
        "podman", "run", "--rm", "--memory=200m", core_image, "python3", "-c", "bytearray(1 << 30)", check=False
    )
    assert done.returncode == 137


def test_the_definition_takes_the_same_base_and_lists_as_the_dockerfile():
    dockerfile = (ROOT / "containers/Dockerfile").read_text()
    definition = (ROOT / "containers/spatialimpute.def").read_text()
    base = re.search(r"^ARG BASE=(\S+)$", dockerfile, re.M)[1]
    assert f"Bootstrap: docker\nFrom: {base}\n" in definition
    copied = re.search(r"^COPY (.+) /build/$", dockerfile, re.M)[1].split()
    files = re.search(r"^%files\n((?:    .+\n)+)", definition, re.M)[1]
    expected = [f"containers/{name}" for name in copied]
    found = [line.rsplit(maxsplit=1)[0].strip() for line in files.splitlines()]
    assert [name.replace("{{ environment }}/*", "${ENVIRONMENT}/") for name in found] == expected
