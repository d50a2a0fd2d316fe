"""Real tissue through the command lines: the mouse hypothalamus, all folds, above a stated score."""

import json
import subprocess
import sys
import warnings
from pathlib import Path

import anndata as ad
import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp

ROOT = Path(__file__).resolve().parents[1]
DATA = ROOT.parent / "shared" / "data"

#: Of the default preset on the given folds. The goals are .375 and .265; seeds, and processors, spread by .005.
RAW_MEDIAN, PARTIAL_MEAN = 0.375, 0.26


def pair():
    if not DATA.is_dir():
        warnings.warn(f"REAL DATA ABSENT: no {DATA}; the scores on real tissue were not checked", stacklevel=1)
        pytest.skip(f"REAL DATA ABSENT: no {DATA}")
    return json.loads((DATA / "gene_folds.json").read_text())["hypothalamus"]


def crossvalidate(folder, folds, spatial, reference, *options):
    """Take the sample through QC, gene selection on the given folds, every method's predictions and evaluation."""
    (folder / "folds.json").write_text(json.dumps({"hypothalamus": folds}))
    sample = ["--sample", "hypothalamus"]

    def step(name, *arguments, into="."):
        (folder / into).mkdir(exist_ok=True)
        command = [sys.executable, ROOT / "bin" / f"{name}.py", *arguments]
        result = subprocess.run(command, cwd=folder / into, capture_output=True, text=True)
        assert result.returncode == 0, result.stderr

    for role, technology, path in (("spatial", "MERFISH", spatial), ("reference", "scRNA-seq", reference)):
        step("qc", "--id", role, "--role", role, "--technology", technology, "--input", path, into=role)
    counts = ["--spatial", "spatial/counts.h5ad", "--reference", "reference/counts.h5ad"]
    step("select_genes", *sample, *counts, "--gene-folds", "folds.json", "--score-cells", "0")
    sample += ["--inputs", folder / "inputs"]
    step("predict", *sample, "--method", "gimvi", "--kappa", "0", "--threads", "2", *options, into="heldout")
    for method in ("knn", "total"):
        step("predict", *sample, "--method", method, into="heldout")
    step("evaluate", *sample, "--predictions", "heldout/predictions")
    return folder


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """The sample after its evaluation."""
    files = pair()
    spatial, reference = (DATA / f"{files[role]}.h5ad" for role in ("spatial", "reference"))
    return crossvalidate(tmp_path_factory.mktemp("hypothalamus"), files["folds"], spatial, reference)


@pytest.mark.realdata
def test_hypothalamus_above_the_stated_score_and_the_baselines(folder):
    gene_sets = json.loads((folder / "inputs" / "gene_sets.json").read_text())
    given = json.loads((folder / "folds.json").read_text())["hypothalamus"]
    assert list(gene_sets["folds"].values()) == given
    evaluation = json.loads((folder / "evaluation.json").read_text())
    own = evaluation["methods"]["spatialimpute"]
    assert own["n_genes"] == sum(map(len, given))
    raw, partial = own["spearman_median"], own["spearman_partial_mean"]
    said = f"raw median {raw:.3f} (at least {RAW_MEDIAN}), partial mean {partial:.3f} (at least {PARTIAL_MEAN})"
    print(said)
    assert raw >= RAW_MEDIAN and partial >= PARTIAL_MEAN, said
    for name in ("knn", "total"):
        other = evaluation["methods"][name]
        said = f"{name}: raw median {other['spearman_median']:.3f}, partial mean {other['spearman_partial_mean']:.3f}"
        assert raw > other["spearman_median"] + 0.02 and partial > other["spearman_partial_mean"] + 0.02, said
    # Paired over genes, against neighbors alone.
    scores = pd.read_csv(folder / "scores.tsv", sep="\t").pivot_table(
        index="gene", columns="method", values="spearman_partial", aggfunc="first"
    )
    assert (scores["spatialimpute"] > scores["knn"]).mean() > 0.6
    assert evaluation["headline"] in ("good", "limited")
    assert evaluation["partial_given_detected"] > 0.15


@pytest.mark.realdata
def test_a_shuffled_reference_is_not_to_be_used(tmp_path):
    """Each gene's counts are shuffled over the cells: no gene tells anything of another, and the report must say so."""
    files = pair()
    reference = ad.read_h5ad(DATA / f"{files['reference']}.h5ad")
    counts = reference.X.toarray()
    np.random.default_rng(0).permuted(counts, axis=0, out=counts)
    ad.AnnData(sp.csr_matrix(counts), var=reference.var[[]]).write_h5ad(tmp_path / "shuffled.h5ad")
    spatial = DATA / f"{files['spatial']}.h5ad"
    crossvalidate(tmp_path, files["folds"], spatial, tmp_path / "shuffled.h5ad", "--seeds", "1")
    evaluation = json.loads((tmp_path / "evaluation.json").read_text())
    assert evaluation["headline"] == "do not use", evaluation["headline_reason"]
    assert evaluation["partial_given_detected"] < 0.05
