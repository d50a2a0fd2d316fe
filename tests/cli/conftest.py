"""A small sample that has passed the steps one after another, and a way to run a step without a new process."""

import contextlib
import io
import logging
import runpy
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path
from unittest import mock

import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
from spatialimpute.files.counts import Counts
from spatialimpute.files.gene_sets import GeneSets
from spatialimpute.files.inputs import write_inputs
from spatialimpute.gene_facts import gene_facts
from spatialimpute.genes import draw_folds
from spatialimpute.simulation.tissue import Tissue

BIN = Path(__file__).resolve().parents[2] / "bin"
#: numba ends with an error where the number of threads changes once they run.
SAME_THREADS = mock.patch("spatialimpute.cli.set_threads")


@dataclass
class Result:
    """How a command ended."""

    code: int
    stderr: str


@pytest.fixture(scope="session")
def step():
    """`step(folder, "train", "--flag", value, …)` runs a script of bin/ in a folder, in this process."""

    def run(folder: Path, name: str, *arguments) -> Result:
        stderr, code, argv = io.StringIO(), 0, sys.argv
        handler = logging.StreamHandler(stderr)
        logging.getLogger().addHandler(handler)
        sys.argv = [name, *map(str, arguments)]
        try:
            with contextlib.chdir(folder), contextlib.redirect_stderr(stderr), SAME_THREADS:
                runpy.run_path(str(BIN / f"{name}.py"), run_name="__main__")
        except SystemExit as end:
            code = end.code or 0
        finally:
            sys.argv = argv
            logging.getLogger().removeHandler(handler)
        return Result(code, stderr.getvalue())

    return run


INPUTS = ["--sample", "s1", "--inputs", "inputs"]
QUICK = ["--max-steps", 20, "--batch-size", 32, "--n-hidden", 16, "--n-latent", 4]


@pytest.fixture(scope="session")
def inputs():
    """Flags that every step takes."""
    return INPUTS


@pytest.fixture(scope="session")
def quick():
    """Flags of a training that takes a second."""
    return QUICK


@pytest.fixture(scope="session")
def prepared(tmp_path_factory):
    """A folder with the inputs of a simulated sample: 24 genes in three folds, 36 unmeasured ones; `nofolds` has none.

    Two cells are unlike the rest: one has no counts at all, one has them in the first fold's genes alone.
    """
    folder, tissue = tmp_path_factory.mktemp("sample"), Tissue(n_genes=60, n_panel=24, seed=0)
    sides = {}
    for i, (side, share) in enumerate({"spatial": tissue.share, "reference": tissue.reference_share}.items()):
        rng = np.random.default_rng(i)
        cells = tissue.cells(140 - 10 * i, rng, share, 140)
        X = tissue.spatial_counts(cells, rng)[:, :24] if side == "spatial" else tissue.reference_counts(cells, rng)
        sides[side] = Counts(
            X=sp.csr_matrix(X, dtype=np.float32),
            genes=tissue.genes[tissue.panel] if side == "spatial" else tissue.genes,
            cells=np.array([f"{side}{c}" for c in range(len(X))]),
            obs=pd.DataFrame({"celltype": pd.Categorical(cells.celltype)}),
            coords=cells.coords if side == "spatial" else None,
            info={"role": side, "id": side, "technology": "osmFISH" if side == "spatial" else "scRNA-seq"},
        )
    spatial, references = sides["spatial"], [sides["reference"]]
    shared = spatial.genes.tolist()
    modeled = shared + [gene for gene in tissue.genes.tolist() if gene not in shared]
    folds = draw_folds(shared, references, 3, 0)
    silent = np.ones((140, 24), dtype=np.float32)
    silent[7], silent[9] = 0, np.isin(shared, folds["0"])
    spatial.X = sp.csr_matrix(spatial.X.multiply(silent))
    for name, given in (("inputs", folds), ("nofolds", {})):
        gene_sets = GeneSets(modeled, shared, [], modeled, given, warnings=["two species: mouse and human"])
        write_inputs(folder / name, spatial, references, gene_sets, gene_facts(spatial, references, gene_sets))
    return folder


@pytest.fixture(scope="session")
def crossvalidated(prepared, step, tmp_path_factory):
    """That folder after cross-validation by gimVI (two kappas, three places) and by all other methods: `all/`."""
    folder = shutil.copytree(prepared, tmp_path_factory.mktemp("cv") / "s")
    for method in ("gimvi", "knn", "linear", "celltype", "total"):
        flags = ["--kappa", "0,5", *QUICK] if method == "gimvi" else []
        result = step(folder, "predict", *INPUTS, "--method", method, *flags)
        assert result.code == 0, result.stderr
    (folder / "models").rename(folder / "models_cv")
    (folder / "predictions").rename(folder / "all")
    return folder


@pytest.fixture(scope="session")
def evaluated(crossvalidated, step, tmp_path_factory):
    """That folder after the evaluation."""
    folder = shutil.copytree(crossvalidated, tmp_path_factory.mktemp("evaluated") / "s")
    result = step(folder, "evaluate", *INPUTS, "--predictions", "all")
    assert result.code == 0, result.stderr
    return folder


@pytest.fixture(scope="session")
def final(evaluated, step, tmp_path_factory):
    """That folder after the final training."""
    folder = shutil.copytree(evaluated, tmp_path_factory.mktemp("final") / "s")
    result = step(folder, "train", *INPUTS, "--evaluation", "evaluation.json", *QUICK)
    assert result.code == 0, result.stderr
    return folder


@pytest.fixture
def copy_of(tmp_path):
    """`copy_of(prepared)` is a copy to write into."""
    return lambda folder: shutil.copytree(folder, tmp_path / "copy")
