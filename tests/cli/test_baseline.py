"""The baseline step as a command: files in, predictions out, one-line errors."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
from spatialimpute.files.counts import Counts, write_counts
from spatialimpute.files.gene_sets import GeneSets, write_gene_sets
from spatialimpute.files.predictions import read_predictions

SCRIPT = Path(__file__).resolve().parents[2] / "bin" / "baseline.py"
GENES = [f"g{i}" for i in range(12)]


@pytest.fixture
def inputs(tmp_path):
    rng = np.random.default_rng(0)
    for name, n in (("spatial", 60), ("reference", 80)):
        counts = Counts(
            X=sp.csr_matrix(rng.poisson(2.0, (n, 12)), dtype=np.float32),
            genes=np.array(GENES),
            cells=np.array([f"{name}{i}" for i in range(n)]),
            obs=pd.DataFrame(index=range(n)),
            info={"role": name, "id": name},
        )
        write_counts(tmp_path / f"{name}.h5ad", counts)
    write_gene_sets(tmp_path / "gene_sets.json", GeneSets(GENES, GENES, [], GENES, {"0": GENES[:4], "1": GENES[4:6]}))
    return tmp_path


def run(folder, method, gene_sets="gene_sets.json"):
    command = [sys.executable, SCRIPT, "--method", method, "--sample", "s1", "--spatial", "spatial.h5ad"]
    command += ["--reference", "reference.h5ad", "--gene-sets", gene_sets]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True)


@pytest.mark.parametrize("method", ["knn", "celltype", "total"])
def test_writes_predictions(inputs, method):
    result = run(inputs, method)
    assert result.returncode == 0, result.stderr
    predictions = read_predictions(inputs / "predictions" / f"{method}.h5ad")
    assert predictions.method == method
    assert predictions.sample == "s1"
    assert list(predictions.genes) == GENES[:6]
    assert list(predictions.fold) == ["0"] * 4 + ["1"] * 2
    assert predictions.mean.shape == (60, 6)
    assert np.isfinite(predictions.mean).all()
    assert predictions.sd is None and predictions.kappa is None


def test_same_bytes_again(inputs):
    files = []
    for _ in range(2):
        assert run(inputs, "knn").returncode == 0
        files.append((inputs / "predictions" / "knn.h5ad").read_bytes())
    assert files[0] == files[1]


def test_panel_without_folds_is_an_input_error(inputs):
    write_gene_sets(inputs / "nofolds.json", GeneSets(GENES, GENES, [], GENES))
    result = run(inputs, "knn", "nofolds.json")
    assert result.returncode == 65
    assert "s1: the panel has no gene folds" in result.stderr
    assert "Traceback" not in result.stderr
