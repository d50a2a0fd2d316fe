"""The gene selection step as a command."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
from spatialimpute.files.counts import Counts, read_counts, write_counts
from spatialimpute.files.gene_sets import read_gene_sets

SCRIPT = Path(__file__).resolve().parents[2] / "bin" / "select_genes.py"
GENES = [f"Gene{i}" for i in range(30)]


def write(path, genes, n, seed):
    X = np.random.default_rng(seed).poisson(1.0, (n, len(genes)))
    cells = np.array([f"c{i}" for i in range(n)])
    counts = Counts(
        sp.csr_matrix(X, dtype=np.float32),
        np.array(genes),
        cells,
        pd.DataFrame(index=cells),
        info={"id": path.stem},
    )
    write_counts(path, counts)


@pytest.fixture
def folder(tmp_path):
    write(tmp_path / "spatial.in.h5ad", GENES[:15] + ["Alone"], 20, 0)
    write(tmp_path / "upper.h5ad", [gene.upper() for gene in GENES[:15]] + ["Alone"], 20, 0)
    write(tmp_path / "reference.h5ad", GENES, 50, 1)
    return tmp_path


def run(folder, *extra, spatial="spatial.in.h5ad"):
    command = [
        sys.executable,
        SCRIPT,
        "--sample",
        "s1",
        "--spatial",
        spatial,
        "--reference",
        "reference.h5ad",
        *extra,
    ]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True)


def test_panel(folder):
    result = run(folder, "--genes", "gene20,Gene21", "--cv-folds", "3")
    assert result.returncode == 0, result.stderr
    gene_sets = read_gene_sets(folder / "gene_sets.json")
    assert gene_sets.shared == GENES[:15]
    assert gene_sets.measured_only == ["Alone"]
    assert [len(fold) for fold in gene_sets.folds.values()] == [5, 5, 5]
    assert not (folder / "spatial.h5ad").exists()


def test_other_case_writes_renamed_counts(folder):
    assert run(folder, spatial="upper.h5ad").returncode == 0
    assert read_gene_sets(folder / "gene_sets.json").shared == GENES[:15]
    before, after = read_counts(folder / "upper.h5ad"), read_counts(folder / "spatial.h5ad")
    assert list(after.genes) == GENES[:15] + ["Alone"]
    assert (before.X != after.X).nnz == 0
    assert before.info == after.info


def test_gene_folds(folder):
    (folder / "folds.json").write_text(json.dumps({"s1": [["Gene0"], ["Gene1", "Gene2"]]}))
    assert run(folder, "--gene-folds", "folds.json").returncode == 0
    assert read_gene_sets(folder / "gene_sets.json").folds == {"0": ["Gene0"], "1": ["Gene1", "Gene2"]}
    (folder / "folds.json").write_text(json.dumps({"another": [["Gene0"]]}))
    assert run(folder, "--gene-folds", "folds.json").returncode == 0
    assert len(read_gene_sets(folder / "gene_sets.json").folds) == 5


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("[[", "not valid JSON"),
        ("[]", "found a list"),
        ('{"s1": {"folds": [["Gene0"]]}}', "for sample 's1'"),
        ('{"s1": []}', "for sample 's1'"),
        ('{"s1": [[1]]}', "for sample 's1'"),
        ('{"s1": [["Gene29"]]}', "gene_folds names 1 genes that are not among the 15 shared genes"),
    ],
)
def test_bad_gene_folds_are_input_errors(folder, content, message):
    (folder / "folds.json").write_text(content)
    result = run(folder, "--gene-folds", "folds.json")
    assert result.returncode == 65
    assert message in result.stderr
    assert "Traceback" not in result.stderr


def test_too_few_shared_genes(folder):
    result = run(folder, "--min-shared-genes", "16")
    assert result.returncode == 65
    assert "15 genes are shared" in result.stderr
