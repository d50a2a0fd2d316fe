"""Launchers, and the simulated data that they run on."""

from pathlib import Path

import pytest
from nextflow_runs import Launcher


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
