"""Real tissue through the command lines: the mouse hypothalamus, all folds, above a stated score."""

import json
import subprocess
import sys
import warnings
from pathlib import Path

import pandas as pd
import pytest

ROOT = Path(__file__).resolve().parents[1]
DATA = ROOT.parent / "shared" / "data"

#: Of the default preset on the given folds. The goals are .375 and .265; seeds, and processors, spread by .005.
RAW_MEDIAN, PARTIAL_MEAN = 0.375, 0.26


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """The sample after QC, gene selection on the given folds, cross-validation, kNN and evaluation."""
    if not DATA.is_dir():
        warnings.warn(f"REAL DATA ABSENT: no {DATA}; the scores on real tissue were not checked", stacklevel=1)
        pytest.skip(f"REAL DATA ABSENT: no {DATA}")
    folder = tmp_path_factory.mktemp("hypothalamus")
    pair = json.loads((DATA / "gene_folds.json").read_text())["hypothalamus"]
    (folder / "folds.json").write_text(json.dumps({"hypothalamus": pair["folds"]}))
    inputs = ["--sample", "hypothalamus", "--spatial", "spatial/counts.h5ad"]
    inputs += ["--reference", "reference/counts.h5ad"]

    def step(name, *arguments, into="."):
        (folder / into).mkdir(exist_ok=True)
        command = [sys.executable, ROOT / "bin" / f"{name}.py", *arguments]
        result = subprocess.run(command, cwd=folder / into, capture_output=True, text=True)
        assert result.returncode == 0, result.stderr

    for role, technology in (("spatial", "MERFISH"), ("reference", "scRNA-seq")):
        path = DATA / f"{pair[role]}.h5ad"
        step("qc", "--id", role, "--role", role, "--technology", technology, "--input", path, into=role)
    step("select_genes", *inputs, "--gene-folds", "folds.json")
    inputs += ["--panel", "panel.json"]
    step("train", *inputs, "--stage", "crossvalidate", "--kappa", "0", "--threads", "2")
    step("baseline", *inputs, "--method", "knn")
    step("baseline", *inputs, "--method", "total")
    step("evaluate", *inputs, "--predictions", "predictions")
    return folder


@pytest.mark.realdata
def test_hypothalamus_above_the_stated_score_and_the_baselines(folder):
    panel = json.loads((folder / "panel.json").read_text())
    given = json.loads((folder / "folds.json").read_text())["hypothalamus"]
    assert list(panel["folds"].values()) == given
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
