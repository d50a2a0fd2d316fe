"""What all tests share."""

import os
import subprocess
from pathlib import Path
from unittest import mock

import pytest

ROOT = Path(__file__).resolve().parents[1]

# As the steps set it that run in this process: numba cannot change it once a test has made it start its threads.
os.environ["NUMBA_NUM_THREADS"] = "1"


def pytest_collection_modifyitems(items):
    """The quick tests first: those that run Nextflow come last, in their own order."""
    for item in items:
        if item.path.parent.name in ("pipeline", "cluster", "containers"):
            item.add_marker(pytest.mark.pipeline)
    items.sort(key=lambda item: item.get_closest_marker("pipeline") is not None)


@pytest.fixture(scope="session", autouse=True)
def own_garbage_collection():
    """Steps that run in this process leave Python's garbage collection, and so what is said at its end, alone."""
    with mock.patch("spatialimpute.cli.look_less_for_garbage"):
        yield


@pytest.fixture(scope="session")
def root() -> Path:
    """Root of the checkout."""
    return ROOT


@pytest.fixture(scope="module")
def tmpfs(tmp_path_factory):
    """`tmpfs("2m")` mounts a disk of that size and gives its folder; only root may."""
    mounted = []

    def mount(size: str) -> Path:
        folder = tmp_path_factory.mktemp("disk")
        done = subprocess.run(
            ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", folder], capture_output=True, text=True, check=False
        )
        if done.returncode != 0:
            pytest.skip(f"needs to mount a small disk: {done.stderr.strip()}")
        mounted.append(folder)
        return folder

    yield mount
    for folder in mounted:
        subprocess.run(["umount", "--lazy", folder], check=True)


@pytest.fixture
def full_disk(tmpfs) -> Path:
    """A disk with 0.3 MB left beside the file `filler`."""
    folder = tmpfs("1m")
    (folder / "filler").write_bytes(bytes(700_000))
    return folder
