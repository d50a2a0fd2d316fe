"""The evaluation step as a command: tables, choices, verdicts, one-line errors."""

import json
import math

import anndata as ad
import numpy as np
import pandas as pd
import pytest
from spatialimpute.evaluation.reliability import GENE_COLUMNS
from spatialimpute.evaluation.scores import COLUMNS
from spatialimpute.evaluation.selection import Truth
from spatialimpute.files.counts import read_counts
from spatialimpute.files.gene_sets import read_gene_sets
from spatialimpute.files.predictions import read_predictions, write_predictions
from spatialimpute.files.sealed import seal

METHODS = {"gimvi", "knn", "celltype", "total", "spatialimpute"}


def table(path):
    return pd.read_csv(path, sep="\t", dtype={"fold": str})


def test_files_and_columns(evaluated):
    gene_sets = read_gene_sets(evaluated / "gene_sets.json")
    scores, genes = table(evaluated / "scores.tsv"), table(evaluated / "genes.tsv")
    assert list(scores.columns) == COLUMNS
    assert set(scores["method"]) == METHODS
    assert len(scores) == 24 * (4 + 4)  # four gimVI members, three baselines, the chosen prediction
    assert (scores["sample"] == "s1").all()
    assert scores["kappa"].notna().equals(scores["method"] == "gimvi")
    assert scores["place"].notna().equals(scores["method"] == "gimvi")
    assert not scores.duplicated(["method", "kappa", "place", "gene"]).any()
    # The total alone adds nothing to the total, and all methods are scored on the same cells.
    assert (scores.loc[scores["method"] == "total", "spearman_partial"] == 0).all()
    assert (scores.groupby("gene")["n_cells"].nunique() == 1).all()

    assert list(genes.columns) == GENE_COLUMNS
    assert genes["gene"].tolist() == gene_sets.targets
    assert genes["measured"].sum() == 24
    chosen = scores[scores["method"] == "spatialimpute"].set_index("gene").loc[gene_sets.shared]
    np.testing.assert_allclose(genes["spearman_partial"][:24], chosen["spearman_partial"], atol=1e-4)
    assert genes["fold"][:24].tolist() == chosen["fold"].tolist()
    expected = np.select(
        [chosen["spearman_partial"] >= 0.2, chosen["spearman_partial"] >= 0.1], ["pass", "warn"], "fail"
    )
    assert genes["verdict"].tolist() == [*expected, *["not assessed"] * 36]

    prediction = read_predictions(evaluated / "predictions" / "spatialimpute.h5ad")
    assert (prediction.method, prediction.sample) == ("spatialimpute", "s1")
    assert prediction.kappa is None and prediction.place is None
    assert prediction.mean.shape == prediction.sd.shape == (140, 24)


def test_evaluation_json(evaluated):
    evaluation = json.loads((evaluated / "evaluation.json").read_text())
    scores = table(evaluated / "scores.tsv")
    assert evaluation["schema_version"] == "1" and evaluation["sample"] == "s1"
    assert evaluation["kappa"] in (0.0, 5.0) and 0 <= evaluation["knn_weight"] <= 0.5
    assert evaluation["headline"] in ("good", "limited", "do not use") and evaluation["headline_reason"]
    low, high = evaluation["partial_ci"]
    chosen = scores.loc[scores["method"] == "spatialimpute", "spearman_partial"]
    assert low < chosen.mean() < high
    truth = Truth.of(read_counts(evaluated / "spatial.h5ad"), read_gene_sets(evaluated / "gene_sets.json"))
    prediction = read_predictions(evaluated / "predictions" / "spatialimpute.h5ad")
    left = truth.partial(prediction.mean, given_detected=True).mean()
    assert evaluation["partial_given_detected"] == pytest.approx(left) != pytest.approx(chosen.mean(), abs=1e-4)
    curve = pd.DataFrame(evaluation["kappa_curve"])
    assert list(curve.columns) == ["kappa", "mean", "se", "n_folds"]
    assert curve["kappa"].tolist() == [0.0, 5.0] and curve["n_folds"].tolist() == [3, 3]
    members = scores[(scores["method"] == "gimvi") & (scores["place"] == 0)]
    by_fold = members.groupby(["kappa", "fold"])["spearman_partial"].mean().groupby("kappa")
    np.testing.assert_allclose(curve["mean"], by_fold.mean(), atol=1e-4)
    np.testing.assert_allclose(curve["se"], by_fold.std() / math.sqrt(3), atol=1e-4)
    assert set(evaluation["methods"]) == METHODS
    own = evaluation["methods"]["knn"]
    knn = scores[scores["method"] == "knn"]
    assert own["n_genes"] == 24
    assert own["spearman_median"] == pytest.approx(knn["spearman"].median(), abs=1e-4)
    assert own["spearman_partial_mean"] == pytest.approx(knn["spearman_partial"].mean(), abs=1e-4)


def test_same_bytes_again(evaluated, crossvalidated, copy_of, step, inputs):
    folder = copy_of(crossvalidated)
    assert step(folder, "evaluate", *inputs, "--predictions", "all").code == 0
    for name in ("scores.tsv", "genes.tsv", "evaluation.json", "predictions/spatialimpute.h5ad"):
        assert (folder / name).read_bytes() == (evaluated / name).read_bytes()


def test_thresholds(crossvalidated, copy_of, step, inputs):
    folder = copy_of(crossvalidated)
    flags = ["--predictions", "all", "--verdict-pass", "1.1", "--verdict-warn", "-1"]
    assert step(folder, "evaluate", *inputs, *flags).code == 0
    assert set(table(folder / "genes.tsv")["verdict"][:24]) == {"warn"}


def test_gimvi_alone(crossvalidated, copy_of, step, inputs):
    """No baselines, one kappa, one seed: the chosen prediction is the member's own."""
    folder = copy_of(crossvalidated)
    for path in (folder / "all").glob("*.h5ad"):
        if path.name != "gimvi.kappa5.place0.h5ad":
            path.unlink()
    assert step(folder, "evaluate", *inputs, "--predictions", "all").code == 0
    evaluation = json.loads((folder / "evaluation.json").read_text())
    assert evaluation["kappa"] == 5.0 and evaluation["knn_weight"] == 0.0
    assert set(evaluation["methods"]) == {"gimvi", "spatialimpute"}
    member = read_predictions(folder / "all" / "gimvi.kappa5.place0.h5ad")
    chosen = read_predictions(folder / "predictions" / "spatialimpute.h5ad")
    np.testing.assert_allclose(chosen.mean, member.mean, rtol=1e-5)


def test_the_papers_model_takes_no_share_of_neighbors(crossvalidated, copy_of, step, inputs):
    folder = copy_of(crossvalidated)
    assert step(folder, "evaluate", *inputs, "--predictions", "all", "--preset", "paper").code == 0
    assert json.loads((folder / "evaluation.json").read_text())["knn_weight"] == 0.0
    assert "knn" in set(table(folder / "scores.tsv")["method"])


def test_errors_are_one_line(crossvalidated, copy_of, step, inputs):
    folder = copy_of(crossvalidated)

    def error(predictions="all"):
        result = step(folder, "evaluate", *inputs, "--predictions", predictions)
        assert result.code == 65, result.stderr
        assert result.stderr.startswith("ERROR: ") and len(result.stderr.splitlines()) == 1
        assert not (folder / "scores.tsv").exists()
        return result.stderr

    (folder / "none").mkdir()
    assert "none: no predictions of gimVI" in error("none")
    path = folder / "all" / "knn.h5ad"
    knn = read_predictions(path)
    data = ad.read_h5ad(path)
    data.uns["spatialimpute"]["schema_version"] = "9"
    data.write_h5ad(path)
    seal(path)
    assert "knn.h5ad: expected predictions of schema version 1" in error()
    knn.cells = knn.cells[::-1]
    write_predictions(path, knn)
    assert "knn.h5ad: predictions of other cells" in error()
    knn.cells, knn.genes = knn.cells[::-1], np.char.add(knn.genes, "x")
    write_predictions(path, knn)
    assert "knn.h5ad: predictions of other genes" in error()
    (folder / "nofolds.json").rename(folder / "gene_sets.json")
    assert "s1: the panel has no gene folds" in error()
    assert step(folder, "evaluate", *inputs).code == 2
