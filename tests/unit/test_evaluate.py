"""The evaluation of a sample: its truth, the final prediction, the table of scores, and the memory that takes."""

import tracemalloc
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import scipy.stats
from held_out import CELLS, FOLDS, GENES, N_CELLS, MadeTruth, World, prediction
from samples import write_sample
from spatialimpute.ensemble import Recipe, blend_moments, fit_blend
from spatialimpute.errors import InputError
from spatialimpute.evaluation.choice import KappaChoice
from spatialimpute.evaluation.evaluate import evaluate
from spatialimpute.evaluation.scores import COLUMNS, in_order, score_fold, summarize
from spatialimpute.evaluation.truth import FoldTruth, Truth
from spatialimpute.files.gene_sets import GeneSets
from spatialimpute.files.predictions import Predictions, PredictionsFile, open_folder, write_predictions
from spatialimpute.folds import fold_of, held_out_genes
from spatialimpute.methods.gimvi.method import GimVI
from tissue import SMALL, draw, make_counts

# ---- truth ----


@pytest.mark.parametrize("scored", [None, list(range(3, 120, 2))], ids=["all", "some"])
def test_truth_of_a_sample(scored, tmp_path):
    references, spatial, gene_sets = draw(depths=(60, 12))
    gene_sets = replace(gene_sets, scored_cells=scored)
    truth = Truth(write_sample(tmp_path, references, spatial, gene_sets))
    rows = np.arange(120) if scored is None else np.array(scored)
    dense = dict(zip(spatial.genes, spatial.X.toarray()[rows].T, strict=True))
    assert truth.cells.tolist() == spatial.cells[rows].tolist()
    assert truth.folds == ["0", "1", "2"]
    assert truth.genes.tolist() == [gene for fold in gene_sets.folds.values() for gene in fold]
    left_out = 0
    for name, held_out in gene_sets.folds.items():
        found = truth.of(name)
        assert found.genes.tolist() == held_out == truth.genes[truth.fold == name].tolist()
        in_use = np.stack([dense[gene] for gene in fold_of(gene_sets, name).in_use])
        total = in_use.sum(axis=0)
        known = total > 0
        left_out += (~known).sum()
        np.testing.assert_array_equal(found.known, known)
        np.testing.assert_array_equal(found.total, total[known])
        np.testing.assert_array_equal(found.n_detected, (in_use > 0).sum(axis=0)[known])
        np.testing.assert_array_equal(found.counts, np.stack([dense[gene][known] for gene in held_out], axis=1))
    assert left_out > 0


def test_partial_score_is_the_correlation_of_residual_ranks(tmp_path):
    """By regression of ranks on the total's ranks, gene by gene, over cells with counts on the genes in use."""
    references, spatial, gene_sets = draw(depths=(60, 12))
    truth, rng = Truth(write_sample(tmp_path, references, spatial, gene_sets)), np.random.default_rng(0)
    unknown = 0
    for name in truth.folds:
        of_fold = truth.of(name)
        mean = np.full((len(truth.cells), len(of_fold.genes)), np.nan)
        mean[of_fold.known] = of_fold.counts * 0.2 + rng.random(of_fold.counts.shape)
        unknown += np.isnan(mean[:, 0]).sum()
        expected = []
        for x, y in zip(of_fold.counts.T, mean[of_fold.known].T, strict=True):
            ranks = [scipy.stats.rankdata(values) for values in (x, y, of_fold.total)]
            line = np.column_stack([np.ones(len(x)), ranks[2]])
            rest = [r - line @ np.linalg.lstsq(line, r, rcond=None)[0] for r in ranks[:2]]
            expected.append(np.corrcoef(rest)[0, 1])
        np.testing.assert_allclose(of_fold.partial(mean), expected, atol=1e-10)
    assert unknown > 0


def test_depth_that_the_total_hides_scores_until_detected_genes_are_given():
    """High genes make up most of a cell's total; what the low ones have of it tells its depth, not a gene."""
    rng = np.random.default_rng(0)
    depth, high = rng.gamma(2, 0.3, (500, 1)), rng.gamma(2, 40, (500, 1))
    counts, low = rng.poisson(depth * np.ones(15)), rng.poisson(depth * np.ones(40))
    total = low.sum(axis=1, keepdims=True) + high
    truth = FoldTruth(GENES, np.ones(500, bool), counts.astype(float), total[:, 0], (low > 0).sum(axis=1))
    guess = low.sum(axis=1, keepdims=True) / total * np.ones(15)
    assert truth.partial(guess).mean() > 0.3
    assert abs(truth.partial(guess, given_detected=True).mean()) < 0.05
    knows = truth.counts / total
    assert truth.partial(knows, given_detected=True).mean() > 0.8


# ---- the final prediction ----


def test_the_final_prediction_is_of_all_held_out_genes(tmp_path):
    outcome = World(tmp_path, 5.0, 5.0, 5.0).choose()
    found = outcome.prediction
    assert (found.method, found.sample, found.kappa, found.place) == ("spatialimpute", "s", None, None)
    assert found.genes.tolist() == GENES.tolist() and found.fold.tolist() == FOLDS.tolist()
    assert found.cells.tolist() == CELLS.tolist()
    assert found.mean.dtype == found.sd.dtype == np.float32


@pytest.mark.parametrize(
    "by_fold", [{"0": 5.0, "1": 5.0, "2": 5.0}, {"0": 5.0, "1": 0.0, "2": 5.0}], ids=["one", "two"]
)
def test_what_is_scored_is_what_is_shipped(by_fold, tmp_path):
    """A kappa that is not the grid's first: every place of the ensemble is trained at it, and all are blended."""
    references, spatial, gene_sets = draw(depths=(60, 12))
    inputs = write_sample(tmp_path / "inputs", references, spatial, gene_sets)
    given = []

    def choose(first):
        given.extend((one.kappa, one.place, len(one.genes)) for one in first)
        return KappaChoice(5.0, by_fold, pd.DataFrame())

    settings = replace(SMALL, max_steps=5, seeds=3)
    method = GimVI(settings, [0.0, 5.0], choose)
    predictions = method.predict_folds(inputs, "s")
    assert given == [(0.0, 0, 15), (5.0, 0, 15)]
    chosen = sorted({5.0, *by_fold.values()})
    expected = sorted({(0.0, 0), (5.0, 0), *((kappa, place) for kappa in chosen for place in range(3))})
    assert sorted((one.kappa, one.place) for one in predictions) == expected
    members = [(m.fold, m.kappa, m.place) for stack in method.stacks for m in stack.members]
    assert sorted(members) == sorted((fold, *one) for fold in "012" for one in expected)
    for one in predictions:
        write_predictions(tmp_path / f"gimvi.kappa{one.kappa:g}.place{one.place}.h5ad", one)
    truth = Truth(inputs)
    found = evaluate(open_folder(tmp_path, truth.cells, truth.genes), 5.0, by_fold, truth, ("knn",)).prediction
    for name, kappa in by_fold.items():
        columns = truth.fold == name
        places = [one for one in predictions if one.kappa == kappa]
        assert len(places) == 3
        blend = fit_blend(np.stack([one.mean_frequency[columns] for one in places]), {}, Recipe())
        means, sds = (np.stack([getattr(one, part)[:, columns] for one in places]) for part in ("mean", "sd"))
        mean, sd = blend_moments(means, sds, {}, blend)
        np.testing.assert_array_equal(found.mean[:, columns], mean)
        np.testing.assert_array_equal(found.sd[:, columns], sd)
        assert np.nanmax(np.abs(mean - places[0].mean[:, columns])) > 0


# ---- the table ----


@pytest.fixture
def scored(tmp_path):
    """A world of which one cell is unknown in fold 0, and its evaluation."""
    world = World(tmp_path, 0.0, 0.0, 0.0)
    world.truth.total["0"][7] = 0
    for one in [*world.members, world.others["knn"]]:
        one.mean[7, :5] = np.nan
    return world, world.choose().evaluation


def test_score_table(scored):
    world, evaluation = scored
    table = evaluation.scores
    assert list(table.columns) == COLUMNS
    assert len(table) == 6 * 15
    assert table["method"].value_counts().to_dict() == {"gimvi": 60, "spatialimpute": 15, "knn": 15}
    assert table["method"].tolist() == ["spatialimpute"] * 15 + ["gimvi"] * 60 + ["knn"] * 15
    assert (table["gene"].to_numpy().reshape(6, 15) == GENES).all() and (table["sample"] == "s").all()
    assert table.loc[table["method"] != "gimvi", ["kappa", "place"]].isna().all().all()
    gimvi = table[table["method"] == "gimvi"]
    assert gimvi["place"].tolist() == [s for s in (0, 1, 0, 1) for _ in range(15)]
    assert gimvi["kappa"].tolist() == [0.0] * 30 + [5.0] * 30
    assert (table["n_cells"] == np.where(table["fold"] == "0", N_CELLS - 1, N_CELLS)).all()
    assert np.isfinite(table[["spearman", "spearman_partial", "spearman_fraction", "pearson", "jsd"]]).all().all()
    first = gimvi.iloc[:15].set_index("gene").loc[GENES]
    np.testing.assert_allclose(first["spearman_partial"], world.truth.partial(world.members[0].mean))
    j, total = 3, world.truth.total["0"]
    cells = total > 0
    counts, total, mean = world.truth.counts[cells, j], total[cells], world.members[0].mean[cells, j]
    assert first["spearman"].iloc[j] == pytest.approx(scipy.stats.spearmanr(counts, mean * total)[0])
    assert first["spearman_fraction"].iloc[j] == pytest.approx(scipy.stats.spearmanr(counts / total, mean)[0])
    assert first["detected"].iloc[j] == (counts > 0).sum()
    # The final prediction's own score is that of what is written.
    final = table[table["method"] == "spatialimpute"]["spearman_partial"]
    np.testing.assert_allclose(final, world.truth.partial(evaluation.prediction.mean))


def test_genes_in_another_order_are_refused(scored):
    """Columns are read by position, so they have to be where the gene sets say."""
    world, _ = scored
    knn = world.others["knn"]
    backwards = replace(
        knn, mean=knn.mean[:, ::-1].copy(), genes=GENES[::-1], fold=FOLDS[::-1],
        mean_frequency=knn.mean_frequency[::-1],
    )  # fmt: skip
    write_predictions(world.folder / "knn.h5ad", backwards)
    with pytest.raises(InputError, match=r"knn.h5ad: predictions of other genes .*\(15, 15 expected, or in another or"):
        open_folder(world.folder, CELLS, GENES)
    some = replace(world.members[0], mean=world.members[0].mean[:, :9], sd=None, genes=GENES[:9], fold=FOLDS[:9])
    write_predictions(world.folder / "knn.h5ad", replace(some, mean_frequency=None))
    with pytest.raises(InputError, match=r"knn.h5ad: predictions of other genes .*\(9, 15 expected"):
        open_folder(world.folder, CELLS, GENES)
    write_predictions(world.folder / "knn.h5ad", replace(knn, cells=CELLS[::-1]))
    with pytest.raises(InputError, match="knn.h5ad: predictions of other cells"):
        open_folder(world.folder, CELLS, GENES)


def test_a_fold_is_read_alone(tmp_path):
    rng = np.random.default_rng(0)
    one = prediction(5.0, 1, rng.random((N_CELLS, 15)), rng.random((N_CELLS, 15)))
    write_predictions(tmp_path / "x.h5ad", one)
    file = PredictionsFile(tmp_path / "x.h5ad")
    assert (file.method, file.sample, file.kappa, file.place) == ("gimvi", "s", 5.0, 1)
    for fold in (None, "0", "2"):
        columns, found = np.ones(15, bool) if fold is None else fold == FOLDS, file.read(fold)
        for name in ("mean", "sd"):
            np.testing.assert_array_equal(getattr(found, name), getattr(one, name)[:, columns])
        for name in ("genes", "fold", "mean_frequency"):
            np.testing.assert_array_equal(getattr(found, name), getattr(one, name)[columns])
    with pytest.raises(KeyError):
        file.read("3")
    write_predictions(tmp_path / "y.h5ad", replace(one, sd=None, kappa=None, place=None, mean_frequency=None))
    found = PredictionsFile(tmp_path / "y.h5ad").read("1")
    assert found.sd is None and found.kappa is None and found.place is None and found.mean_frequency is None


def test_summary_per_method():
    truth = MadeTruth(
        np.random.default_rng(0).poisson(3.0, (N_CELLS, 15)) * 1.0, dict.fromkeys("012", np.ones(N_CELLS))
    )
    rng = np.random.default_rng(1)
    members = [prediction(kappa, 0, truth.counts + rng.random((N_CELLS, 15))) for kappa in (0.0, 5.0)]
    parts = [
        score_fold(replace(one, mean=one.mean[:, one.fold == name], fold=one.fold[one.fold == name]), truth.of(name))
        for name in "012"
        for one in members
    ]
    table = in_order(parts)
    summary = summarize(table)
    assert list(summary) == ["gimvi"] and len(table) == 30
    genes = table.groupby("gene")[["spearman", "spearman_partial", "spearman_fraction"]].mean()
    assert summary["gimvi"] == {
        "spearman_median": pytest.approx(np.median(genes["spearman"])),
        "spearman_mean": pytest.approx(np.mean(genes["spearman"])),
        "spearman_partial_median": pytest.approx(np.median(genes["spearman_partial"])),
        "spearman_partial_mean": pytest.approx(np.mean(genes["spearman_partial"])),
        "spearman_fraction_median": pytest.approx(np.median(genes["spearman_fraction"])),
        "n_genes": 15,
    }


# ---- memory ----


def large_sample(folder: Path, n_cells: int, n_folds: int, genes_per_fold: int, kappas: list[float]):
    """Truth and predictions (three places a kappa, and kNN) of a sample that is large for its number of counts."""
    rng = np.random.default_rng(0)
    n_genes = n_folds * genes_per_fold
    names = [f"g{i}" for i in range(n_genes)]
    counts = make_counts(rng.poisson(0.5, (n_cells, n_genes)), names, "s")
    folds = {str(i): names[i * genes_per_fold : (i + 1) * genes_per_fold] for i in range(n_folds)}
    gene_sets = GeneSets(names, names, [], names, folds)
    inputs = write_sample(folder / "inputs", [make_counts(np.ones((2, n_genes)), names, "r")], counts, gene_sets)
    genes, fold = held_out_genes(gene_sets)
    members = [("gimvi", kappa, place) for kappa in kappas for place in range(3)]
    for method, kappa, place in [*members, ("knn", None, None)]:
        mean, sd = (rng.random((n_cells, n_genes), dtype=np.float32) for _ in range(2))
        one = Predictions(mean, sd, counts.cells, genes, fold, method, "s", kappa, place, mean.mean(axis=0))
        write_predictions(folder / f"{method}.{kappa}.{place}.h5ad", one)
    truth = Truth(inputs)
    return open_folder(folder, truth.cells, truth.genes), truth


def peak_of_evaluation(folder: Path, *shape) -> int:
    """Bytes that an evaluation takes at most, besides the final prediction that it makes."""
    files, truth = large_sample(folder, *shape)
    tracemalloc.start()
    made = evaluate(files, 0.0, dict.fromkeys(truth.folds, 0.0), truth, ("knn",)).prediction
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return peak - made.mean.nbytes - made.sd.nbytes


def test_memory_is_that_of_one_fold(tmp_path):
    """Not of kappas x weights x all genes: twenty double arrays of a fold's cells x genes, whatever else there is."""
    peak = peak_of_evaluation(tmp_path / "five", 4000, 5, 6, [0.0])
    assert peak < 20 * 8 * 4000 * 6
    assert peak_of_evaluation(tmp_path / "ten", 4000, 10, 6, [0.0]) < 1.15 * peak
    assert peak_of_evaluation(tmp_path / "kappas", 4000, 5, 6, [0.0, 1.0, 5.0]) < 1.15 * peak
