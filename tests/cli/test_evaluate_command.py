"""The evaluation step as a command: tables, choices, verdicts, one-line errors."""

import json
import shutil

import anndata as ad
import numpy as np
import pandas as pd
import pytest
from spatialimpute.ensemble import Recipe
from spatialimpute.evaluation.choice import kappa_curve
from spatialimpute.evaluation.fold_graphs import FoldGraphs
from spatialimpute.evaluation.gene_table import COLUMNS as GENE_COLUMNS
from spatialimpute.evaluation.recipe import ALPHAS, BETAS, GRID, MAX_SUM, HeldOutEstimate
from spatialimpute.evaluation.scores import COLUMNS
from spatialimpute.evaluation.truth import Truth
from spatialimpute.files.counts import read_counts, write_counts
from spatialimpute.files.gene_sets import read_gene_sets, write_gene_sets
from spatialimpute.files.inputs import SampleInputs
from spatialimpute.files.predictions import PredictionsFile, open_folder, write_predictions
from spatialimpute.files.sealed import digest, read_json, seal, write_json

METHODS = {"gimvi", "knn", "linear", "celltype", "total", "spatialimpute"}
NOTHING = {"weights": {}, "alpha": 0.0, "beta": 0.0}


def table(path):
    return pd.read_csv(path, sep="\t", dtype={"fold": str})


def read(path):
    return PredictionsFile(path).read()


def members(folder):
    """Kappa and place of gimVI's predictions."""
    found = [PredictionsFile(path) for path in folder.glob("gimvi*.h5ad")]
    return sorted((one.kappa, one.place) for one in found)


def test_files_and_columns(evaluated):
    gene_sets = SampleInputs(evaluated / "inputs").gene_sets
    scores, genes = table(evaluated / "scores.tsv"), table(evaluated / "genes.tsv")
    assert list(scores.columns) == COLUMNS
    assert set(scores["method"]) == METHODS
    # gimVI's members, four other methods, the final prediction.
    assert len(members(evaluated / "all")) >= 4
    assert len(scores) == 24 * (len(members(evaluated / "all")) + 5)
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

    prediction = read(evaluated / "predictions" / "spatialimpute.h5ad")
    assert (prediction.method, prediction.sample) == ("spatialimpute", "s1")
    assert prediction.kappa is None and prediction.place is None
    assert prediction.mean.shape == prediction.sd.shape == (140, 24)


def test_evaluation_json(evaluated):
    evaluation = json.loads((evaluated / "evaluation.json").read_text())
    scores = table(evaluated / "scores.tsv")
    assert evaluation["schema_version"] == "3" and evaluation["sample"] == "s1"
    assert evaluation["kappa"] in (0.0, 5.0) and not {"knn_weight", "knn_weight_by_fold"} & set(evaluation)
    assert evaluation["headline"] in ("good", "limited", "do not use") and evaluation["headline_reason"]
    assert evaluation["headline_reason"].endswith("; warning: two species: mouse and human")
    low, high = evaluation["partial_ci"]
    chosen = scores.loc[scores["method"] == "spatialimpute", "spearman_partial"]
    assert low < chosen.mean() < high
    truth = Truth(SampleInputs(evaluated / "inputs"))
    prediction = read(evaluated / "predictions" / "spatialimpute.h5ad")
    left = [truth.of(f).partial(prediction.mean[:, truth.fold == f], given_detected=True) for f in truth.folds]
    left = np.concatenate(left).mean()
    assert evaluation["partial_given_detected"] == pytest.approx(left) != pytest.approx(chosen.mean(), abs=1e-4)
    assert evaluation["n_scored_cells"] == 140 and evaluation["missing"] == []
    # What kappa was chosen, and from what, stands where gimVI's step left it.
    choice = read_json(evaluated / "all/kappa.json")
    assert evaluation["kappa"] == choice["kappa"] and evaluation["kappa_by_fold"] == choice["by_fold"]
    assert evaluation["kappa_curve"] == choice["curve"]
    curve = pd.DataFrame(evaluation["kappa_curve"])
    assert curve["kappa"].tolist() == [0.0, 5.0] and curve["n_folds"].tolist() == [3, 3]
    first = scores[(scores["method"] == "gimvi") & (scores["place"] == 0)]
    by_kappa = {
        kappa: part.set_index("gene")["spearman_partial"][truth.genes] for kappa, part in first.groupby("kappa")
    }
    expected = kappa_curve({kappa: values.to_numpy() for kappa, values in by_kappa.items()}, truth.fold)
    np.testing.assert_allclose(curve, expected, atol=1e-4)
    for name in ("scores", "genes"):
        assert evaluation[f"{name}_digest"] == digest(evaluated / f"{name}.tsv")
    assert set(evaluation["methods"]) == METHODS
    own = evaluation["methods"]["knn"]
    knn = scores[scores["method"] == "knn"]
    assert own["n_genes"] == 24
    assert own["spearman_median"] == pytest.approx(knn["spearman"].median(), abs=1e-4)
    assert own["spearman_partial_mean"] == pytest.approx(knn["spearman_partial"].mean(), abs=1e-4)


def test_the_recipe_is_one_of_the_grids(evaluated):
    evaluation = read_json(evaluated / "evaluation.json")
    assert list(evaluation["recipe_by_fold"]) == ["0", "1", "2"]
    for recipe in (evaluation["recipe"], *evaluation["recipe_by_fold"].values()):
        assert set(recipe) == {"weights", "alpha", "beta"} and set(recipe["weights"]) == set(GRID)
        assert all(weight in GRID[name] for name, weight in recipe["weights"].items())
        assert sum(recipe["weights"].values()) < MAX_SUM + 1e-9
        assert recipe["alpha"] in ALPHAS and recipe["beta"] in BETAS


def test_the_final_prediction_is_that_of_the_recipe(evaluated):
    """Of each fold's own kappa and recipe, as they are written, and the graph of its cells."""
    inputs, evaluation = SampleInputs(evaluated / "inputs"), read_json(evaluated / "evaluation.json")
    truth, found = Truth(inputs), read(evaluated / "predictions/spatialimpute.h5ad")
    files = open_folder(evaluated / "all", truth.cells, truth.genes)
    gimvi, others = ([file for file in files if (file.method == "gimvi") == want] for want in (True, False))
    estimate = HeldOutEstimate(gimvi, others, FoldGraphs(inputs).of, truth.scored)
    for fold, recipe in evaluation["recipe_by_fold"].items():
        mean, sd = estimate.of(fold, evaluation["kappa_by_fold"][fold], Recipe(**recipe))
        columns = truth.fold == fold
        np.testing.assert_array_equal(found.mean[:, columns], mean)
        np.testing.assert_array_equal(found.sd[:, columns], sd)


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
    """No other methods, one kappa, one place, no graph: the final prediction is the member's own."""
    folder = copy_of(crossvalidated)
    for path in (folder / "all").glob("*.h5ad"):
        if path.name != "gimvi.kappa5.place0.h5ad":
            path.unlink()
    choice = read_json(folder / "all/kappa.json")
    write_json(folder / "all/kappa.json", choice | {"kappa": 5.0, "by_fold": dict.fromkeys("012", 5.0)})
    assert step(folder, "evaluate", *inputs, "--predictions", "all", "--graph", "false").code == 0
    evaluation = json.loads((folder / "evaluation.json").read_text())
    assert evaluation["kappa"] == 5.0 and evaluation["recipe"] == NOTHING
    assert set(evaluation["methods"]) == {"gimvi", "spatialimpute"}
    member = read(folder / "all" / "gimvi.kappa5.place0.h5ad")
    chosen = read(folder / "predictions" / "spatialimpute.h5ad")
    np.testing.assert_allclose(chosen.mean, member.mean, rtol=1e-5)


def recipe_of(folder, step, inputs, *flags):
    """What is chosen for the final result, after the same names were found in every fold."""
    result = step(folder, "evaluate", *inputs, "--predictions", "all", *flags)
    assert result.code == 0, result.stderr
    evaluation = read_json(folder / "evaluation.json")
    names = {tuple(one["weights"]) for one in (evaluation["recipe"], *evaluation["recipe_by_fold"].values())}
    assert len(names) == 1
    return evaluation["recipe"]


def test_the_papers_model_takes_no_share_of_anything(crossvalidated, copy_of, step, inputs):
    folder = copy_of(crossvalidated)
    assert recipe_of(folder, step, inputs, "--preset", "paper") == NOTHING
    assert {"knn", "linear"} < set(table(folder / "scores.tsv")["method"])
    # Each of both can be had with it.
    shares = recipe_of(folder, step, inputs, "--preset", "paper", "--blend", "knn")
    assert set(shares["weights"]) == {"knn"} and (shares["alpha"], shares["beta"]) == (0.0, 0.0)
    shares = recipe_of(folder, step, inputs, "--preset", "paper", "--graph", "true")
    assert shares["weights"] == {} and shares["alpha"] in ALPHAS


def test_who_may_take_a_share(crossvalidated, copy_of, step, inputs):
    folder = copy_of(crossvalidated)
    assert recipe_of(folder, step, inputs, "--blend", "none", "--graph", "false") == NOTHING
    assert recipe_of(folder, step, inputs, "--blend", "none")["weights"] == {}
    assert set(recipe_of(folder, step, inputs, "--blend", "knn")["weights"]) == {"knn"}
    shares = recipe_of(folder, step, inputs, "--blend", "celltype, linear", "--graph", "false")
    assert set(shares["weights"]) == {"celltype", "linear"} and (shares["alpha"], shares["beta"]) == (0.0, 0.0)
    # They are all scored all the same.
    assert set(table(folder / "scores.tsv")["method"]) == METHODS


def test_cell_types_that_are_clusters_take_no_share(crossvalidated, copy_of, step, inputs):
    """The references have no labels, though there are predictions of the method."""
    folder = copy_of(crossvalidated)
    path = folder / "inputs/reference1.h5ad"
    reference = read_counts(path)
    reference.obs = reference.obs.drop(columns="celltype")
    write_counts(path, reference)
    assert set(recipe_of(folder, step, inputs)["weights"]) == {"knn", "linear"}
    assert "celltype" in set(table(folder / "scores.tsv")["method"])


def test_the_sample_goes_on_without_a_method_that_failed(crossvalidated, copy_of, step, inputs):
    folder = copy_of(crossvalidated)
    for name in ("knn", "celltype"):
        (folder / f"all/{name}.h5ad").unlink()
    assert set(recipe_of(folder, step, inputs, "--missing", "knn", "--missing", "celltype")["weights"]) == {"linear"}
    evaluation = read_json(folder / "evaluation.json")
    assert evaluation["missing"] == ["celltype", "knn"]
    assert set(evaluation["methods"]) == {"gimvi", "linear", "total", "spatialimpute"}
    assert len(table(folder / "genes.tsv")) == 60


def test_scored_cells_alone_are_scored(crossvalidated, copy_of, step, inputs, quick):
    folder, cells = copy_of(crossvalidated), list(range(10, 130, 2))
    gene_sets = read_gene_sets(folder / "inputs/gene_sets.json")
    gene_sets.scored_cells = cells
    write_gene_sets(folder / "inputs/gene_sets.json", gene_sets)
    result = step(folder, "evaluate", *inputs, "--predictions", "all")
    assert result.code == 65 and "predictions of other cells than the counts and the gene sets hold" in result.stderr
    shutil.rmtree(folder / "all")
    for method, flags in (("knn", []), ("gimvi", ["--seeds", 2, *quick])):
        assert step(folder, "predict", *inputs, "--method", method, *flags).code == 0
    (folder / "predictions").rename(folder / "all")
    assert step(folder, "evaluate", *inputs, "--predictions", "all").code == 0
    assert read_json(folder / "evaluation.json")["n_scored_cells"] == 60
    assert read(folder / "predictions/spatialimpute.h5ad").cells.tolist() == [f"spatial{cell}" for cell in cells]
    assert table(folder / "scores.tsv")["n_cells"].max() <= 60
    # What is known of a gene is of all cells.
    assert table(folder / "genes.tsv")["n_detected"].max() > 60


def test_errors_are_one_line(crossvalidated, copy_of, step, inputs):
    folder = copy_of(crossvalidated)

    def error(predictions="all", flags=inputs):
        result = step(folder, "evaluate", *flags, "--predictions", predictions)
        assert result.code == 65, result.stderr
        assert result.stderr.startswith("ERROR: ") and len(result.stderr.splitlines()) == 1
        assert not (folder / "scores.tsv").exists()
        return result.stderr

    (folder / "none").mkdir()
    assert "none: no predictions of gimVI" in error("none")
    path = folder / "all" / "knn.h5ad"
    knn = read(path)
    data = ad.read_h5ad(path)
    data.uns["spatialimpute"]["schema_version"] = "9"
    data.write_h5ad(path)
    seal(path)
    assert "knn.h5ad: expected predictions of schema version 2" in error()
    knn.cells = knn.cells[::-1]
    write_predictions(path, knn)
    assert "knn.h5ad: predictions of other cells" in error()
    knn.cells, knn.genes = knn.cells[::-1], np.char.add(knn.genes, "x")
    write_predictions(path, knn)
    assert "knn.h5ad: predictions of other genes" in error()
    assert "s1: the gene sets have no folds" in error(flags=["--sample", "s1", "--inputs", "nofolds"])
    assert step(folder, "evaluate", *inputs).code == 2


@pytest.mark.parametrize("command", ["evaluate", "train"])
@pytest.mark.parametrize(
    "flags, message",
    [
        (
            ["--blend", "knn,spage"],
            "'--blend': 'spage' may take no share; expected none, or some of knn, ",
        ),
        (["--blend", "none,knn"], "'--blend': 'none' may take no share"),
        (["--graph", "perhaps"], "'--graph': 'perhaps' is not a valid boolean"),
    ],
)
def test_a_share_that_there_is_not(command, flags, message, prepared, step, inputs):
    result = step(prepared, command, *inputs, *(["--predictions", "."] if command == "evaluate" else []), *flags)
    assert result.code == 2
    assert result.stderr.splitlines()[-1].startswith(f"Error: Invalid value for {message}")
