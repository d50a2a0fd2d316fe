"""Choices made by cross-validation: the one-standard-error rule on paired differences, and cross-fitting."""

import numpy as np
import pandas as pd
import pytest
import scipy.stats
import statsmodels.api
from held_out import FOLDS, World
from spatialimpute.ensemble import Recipe, blend_moments, fit_blend
from spatialimpute.evaluation.choice import choose_kappa, cross_fitted, kappa_curve, paired_difference
from spatialimpute.evaluation.recipe import GRID

# ---- the error of a paired difference ----


@pytest.mark.parametrize("seed", range(5))
def test_error_is_that_of_statsmodels_clustered_by_fold(seed):
    rng = np.random.default_rng(seed)
    fold = np.repeat(list("abcde"), rng.integers(3, 12, 5))
    shift = rng.normal(0, 0.02, 5)[np.unique(fold, return_inverse=True)[1]]
    other = rng.normal(0.3, 0.2, len(fold))
    better = other + 0.01 + shift + rng.normal(0, 0.02, len(fold))
    mean, se = paired_difference(better, other, fold)
    model = statsmodels.api.OLS(better - other, np.ones(len(fold)))
    theirs = model.fit(cov_type="cluster", cov_kwds={"groups": np.unique(fold, return_inverse=True)[1]})
    assert mean == pytest.approx(theirs.params[0])
    assert se == pytest.approx(theirs.bse[0])
    order = rng.permutation(len(fold))
    assert paired_difference(better[order], other[order], fold[order]) == pytest.approx((mean, se))


def test_error_against_loops_and_by_genes_where_there_is_one_fold():
    better, other = np.array([0.3, 0.5, 0.2, 0.9, 0.4]), np.array([0.2, 0.5, 0.3, 0.4, 0.2])
    mean, se = paired_difference(better, other, np.array(list("aabbb")))
    off = [(0.1 - 0.14) + (0.0 - 0.14), (-0.1 - 0.14) + (0.5 - 0.14) + (0.2 - 0.14)]
    assert mean == pytest.approx(0.14)
    assert se == pytest.approx(np.sqrt(2 / 1 * sum(value**2 for value in off)) / 5)
    mean, se = paired_difference(better, other, np.array(["a"] * 5))
    assert (mean, se) == pytest.approx((0.14, scipy.stats.sem(better - other)))
    assert paired_difference(better[:1], other[:1], np.array(["a"])) == pytest.approx((0.1, 0.0))


# ---- kappa ----


def scores(*means_per_fold):
    """Scores of 15 genes whose fold means are as given."""
    return np.repeat(means_per_fold, [5, 4, 6]) + np.concatenate([np.linspace(-1, 1, n) for n in (5, 4, 6)]) * 0.01


def test_kappa_curve():
    curve = kappa_curve({5.0: scores(0.1, 0.2, 0.6), 0.0: scores(0.3, 0.3, 0.3)}, FOLDS)
    assert list(curve.columns) == ["kappa", "mean", "difference", "se", "n_folds"]
    assert curve["kappa"].tolist() == [0.0, 5.0] and curve["n_folds"].tolist() == [3, 3]
    np.testing.assert_allclose(curve["mean"], [0.3, 4.9 / 15])  # over genes, of which the last fold has most
    np.testing.assert_allclose(curve["difference"], [0.4 / 15, 0], atol=1e-12)
    np.testing.assert_allclose(curve["se"][1], 0)
    assert curve["se"][0] == pytest.approx(paired_difference(scores(0.1, 0.2, 0.6), scores(0.3, 0.3, 0.3), FOLDS)[1])


@pytest.mark.parametrize(
    "best, other, chosen",
    [
        # Better by .05, .05 ± something per fold: the error of the difference counts, not that of the scores.
        ((0.2, 0.3, 0.4), (0.15, 0.25, 0.35), 5.0),
        ((0.2, 0.3, 0.4), (0.20, 0.25, 0.35), 5.0),
        ((0.2, 0.3, 0.4), (0.25, 0.25, 0.25), 1.0),
        ((0.2, 0.3, 0.4), (0.30, 0.20, 0.30), 1.0),
        ((0.3, 0.3, 0.3), (0.29, 0.29, 0.29), 5.0),  # no error, no indulgence
        ((0.3, 0.3, 0.3), (0.3, 0.3, 0.3), 1.0),
    ],
)
def test_one_standard_error_rule(best, other, chosen):
    """The smallest kappa within one standard error of the paired difference to the best."""
    mean, se = paired_difference(scores(*best), scores(*other), FOLDS)
    assert (mean <= se) == (chosen == 1.0)
    assert choose_kappa({5.0: scores(*best), 1.0: scores(*other)}, FOLDS) == chosen
    # What is larger than the best is never taken for being within its error.
    assert choose_kappa({5.0: scores(*best), 9.0: scores(*best) - 0.001, 1.0: scores(*other)}, FOLDS) == chosen


def chosen_share(difference: float, by_gene: float, by_fold: float, n: int = 400) -> float:
    """How often kappa 5 is chosen before 0, of 35 genes in 5 folds whose scores spread by .15 among each other."""
    rng, fold = np.random.default_rng(0), np.repeat(list("01234"), 7)
    chosen = 0
    for _ in range(n):
        small = rng.normal(0.3, 0.15, 35)
        large = small + difference + rng.normal(0, by_gene, 35) + np.repeat(rng.normal(0, by_fold, 5), 7)
        chosen += choose_kappa({0.0: small, 5.0: large}, fold) == 5.0
    return chosen / n


def test_a_clearly_better_kappa_is_chosen():
    """By eight paired errors, .016; the error of fold means, .025, would hide it in most samples."""
    assert chosen_share(8 * 0.012 / np.sqrt(35), by_gene=0.012, by_fold=0) > 0.99
    assert chosen_share(8 * 0.012 / np.sqrt(5), by_gene=0, by_fold=0.012) > 0.99


def test_equal_kappas_leave_the_smallest():
    """By chance alone the larger one is a standard error better in one of five, t with four degrees of freedom."""
    expected = scipy.stats.t(4).sf(1)
    for by_gene, by_fold in ((0.05, 0.0), (0.0, 0.05), (0.05, 0.05)):
        assert chosen_share(0.0, by_gene, by_fold) == pytest.approx(expected, abs=0.06)
    assert chosen_share(-0.02, 0.05, 0.0) < 0.01


def test_one_fold_chooses_by_genes():
    one = np.array(["0"] * 15)
    assert choose_kappa({0.0: scores(0.1, 0.2, 0.3), 5.0: scores(0.11, 0.21, 0.31)}, one) == 5.0
    assert choose_kappa({0.0: scores(0.1, 0.2, 0.3), 5.0: scores(0.0, 0.2, 0.42)}, one) == 0.0
    assert kappa_curve({0.0: scores(0.1, 0.2, 0.3)}, one)["se"].tolist() == [0.0]


def test_cross_fitting_hands_each_fold_the_others():
    seen = []

    def choose(scores, fold):
        seen.append(sorted(set(fold.tolist())))
        assert len(scores[1.0]) == len(fold)
        return float(scores[1.0].sum())

    found = cross_fitted(choose, {1.0: np.arange(15.0)}, FOLDS)
    assert found == (105.0, {"0": 95.0, "1": 79.0, "2": 36.0})
    assert seen == [["1", "2"], ["0", "2"], ["0", "1"], ["0", "1", "2"]]


# ---- choices of a sample ----


def is_from(outcome, world, fold, kappa):
    """Whether a fold's prediction is of this kappa's ensemble, without kNN."""
    columns = fold == world.fold
    members = world.ensemble(kappa)
    blend = fit_blend(np.stack([one.mean_frequency[columns] for one in members]), {}, Recipe())
    means, sds = (np.stack([getattr(one, name)[:, columns] for one in members]) for name in ("mean", "sd"))
    expected = blend_moments(means, sds, {}, blend)
    found = (outcome.prediction.mean[:, columns], outcome.prediction.sd[:, columns])
    return all(np.array_equal(ours, theirs) for ours, theirs in zip(found, expected, strict=True))


def test_every_fold_takes_what_the_others_choose(tmp_path):
    world = World(tmp_path, 0.0, 5.0, 5.0)
    outcome = world.choose()
    assert is_from(outcome, world, "0", 5.0)  # though kappa 0 is far better on its own genes
    assert outcome.kappa.by_fold["0"] == 5.0
    expected = kappa_curve({k: world.truth.partial(world.ensemble(k)[0].mean) for k in (0.0, 5.0)}, FOLDS)
    pd.testing.assert_frame_equal(outcome.kappa.curve, expected)
    everyone = World(tmp_path, 5.0, 5.0, 5.0)
    outcome = everyone.choose()
    assert outcome.kappa.kappa == 5.0 and outcome.recipe == Recipe({"knn": 0.0})
    assert all(is_from(outcome, everyone, fold, 5.0) for fold in "012")
    assert not any(is_from(outcome, everyone, fold, 0.0) for fold in "012")


@pytest.mark.parametrize("kind", [5.0, "knn"])
@pytest.mark.parametrize("fold", [0, 1, 2])
def test_a_folds_choice_ignores_its_own_genes(fold, kind, tmp_path):
    world = World(tmp_path, 0.0, 0.0, 0.0)
    before = world.choose()
    follows = [0.0] * 3
    follows[fold] = kind
    after = world.choose(*follows)
    columns = str(fold) == FOLDS
    for name in ("mean", "sd"):
        old, new = getattr(before.prediction, name), getattr(after.prediction, name)
        assert old[:, columns].tobytes() == new[:, columns].tobytes()
    # The others see it: with two folds for it, the third takes it.
    follows = [kind] * 3
    follows[fold] = 0.0
    swayed = world.choose(*follows)
    assert not np.array_equal(before.prediction.mean[:, columns], swayed.prediction.mean[:, columns])


@pytest.mark.parametrize("fold", [0, 1, 2])
def test_nor_do_its_genes_come_back_through_what_the_others_choose(fold, tmp_path):
    follows = [5.0] * 3
    world = World(tmp_path, *follows)
    before = world.choose()
    follows[fold] = 0.0
    after = world.choose(*follows)
    columns, others = str(fold) == FOLDS, [name for name in "012" if name != str(fold)]
    assert [before.kappa.by_fold[name] for name in others] != [after.kappa.by_fold[name] for name in others]
    assert before.kappa.by_fold[str(fold)] == after.kappa.by_fold[str(fold)] == 5.0
    assert before.evaluation.recipe_by_fold[str(fold)] == after.evaluation.recipe_by_fold[str(fold)]
    assert before.prediction.mean[:, columns].tobytes() == after.prediction.mean[:, columns].tobytes()


def test_a_better_knn_gets_the_largest_weight_and_no_knn_gets_none(tmp_path):
    world = World(tmp_path, "knn", "knn", "knn")
    assert world.choose().recipe == Recipe({"knn": max(GRID["knn"])})
    for alone in (world.choose(others=()), world.choose(blend=())):
        assert alone.recipe == Recipe()
        assert any(is_from(alone, world, "1", kappa) for kappa in (0.0, 5.0))


def test_one_fold_chooses_for_itself(tmp_path):
    world = World(tmp_path, 5.0, 5.0, 5.0, fold=np.array(["0"] * 15))
    outcome = world.choose()
    assert outcome.kappa.kappa == 5.0 and outcome.kappa.by_fold == {"0": 5.0}
    assert is_from(outcome, world, "0", 5.0)
    assert np.isfinite(outcome.prediction.mean).all()
