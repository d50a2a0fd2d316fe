"""Choices made by cross-validation: the one-standard-error rule, cross-fitting, averages and mixtures."""

from dataclasses import replace

import numpy as np
import pytest
import scipy.stats
from spatialimpute.evaluation import selection
from spatialimpute.evaluation.scores import COLUMNS, score_table, summarize
from spatialimpute.evaluation.selection import (
    Truth,
    average,
    choose,
    choose_kappa,
    choose_knn_weight,
    kappa_curve,
    mix,
)
from spatialimpute.files.predictions import Predictions
from tissue import draw

N_CELLS, FOLDS = 150, np.array(["0"] * 5 + ["1"] * 4 + ["2"] * 6)
GENES = np.array([f"g{i}" for i in range(15)])


# ---- kappa ----


def scores(*means_per_fold):
    """Scores of 15 genes whose fold means are as given."""
    return np.repeat(means_per_fold, [5, 4, 6]) + np.concatenate([np.linspace(-1, 1, n) for n in (5, 4, 6)]) * 0.01


def test_kappa_curve():
    curve = kappa_curve({5.0: scores(0.1, 0.2, 0.6), 0.0: scores(0.3, 0.3, 0.3)}, FOLDS)
    assert list(curve.columns) == ["kappa", "mean", "se", "n_folds"]
    assert curve["kappa"].tolist() == [0.0, 5.0] and curve["n_folds"].tolist() == [3, 3]
    np.testing.assert_allclose(curve["mean"], [0.3, 0.3])
    np.testing.assert_allclose(curve["se"], [0, scipy.stats.sem([0.1, 0.2, 0.6])], atol=1e-12)


@pytest.mark.parametrize(
    "best, other, chosen",
    [
        # Best 0.3 with standard error sem(.2, .3, .4) = 0.0577
        ((0.2, 0.3, 0.4), (0.25, 0.25, 0.25), 1.0),
        ((0.2, 0.3, 0.4), (0.243, 0.243, 0.243), 1.0),
        ((0.2, 0.3, 0.4), (0.242, 0.242, 0.242), 5.0),
        ((0.3, 0.3, 0.3), (0.29, 0.29, 0.29), 5.0),  # no error, no indulgence
        ((0.3, 0.3, 0.3), (0.3, 0.3, 0.3), 1.0),
    ],
)
def test_one_standard_error_rule(best, other, chosen):
    """The smallest kappa within one standard error of the best; the others' errors do not matter."""
    assert choose_kappa({5.0: scores(*best), 1.0: scores(*other)}, FOLDS) == chosen
    # What is larger than the best is never taken for being within its error.
    assert choose_kappa({5.0: scores(*best), 9.0: scores(*best) - 0.001, 1.0: scores(*other)}, FOLDS) == chosen


def test_one_fold_has_no_standard_error():
    one = np.array(["0"] * 15)
    assert choose_kappa({0.0: scores(0.1, 0.2, 0.3), 5.0: scores(0.11, 0.21, 0.31)}, one) == 5.0
    assert kappa_curve({0.0: scores(0.1, 0.2, 0.3)}, one)["se"].tolist() == [0.0]


def test_knn_weight_is_the_best_on_average_over_genes():
    assert choose_knn_weight({0.0: np.array([0.1, 0.3]), 0.2: np.array([0.5, 0.0]), 0.1: np.array([0.2, 0.3])}) == 0.1
    assert choose_knn_weight({0.3: np.ones(2), 0.1: np.ones(2), 0.2: np.zeros(2)}) == 0.1


# ---- truth ----


def test_truth_of_a_panel():
    _, spatial, gene_sets = draw(depths=(60, 12))
    truth = Truth.of(spatial, gene_sets)
    dense = dict(zip(spatial.genes, spatial.X.toarray().T, strict=True))
    assert truth.genes.tolist() == [gene for fold in gene_sets.folds.values() for gene in fold]
    for j, (gene, fold) in enumerate(zip(truth.genes, truth.fold, strict=True)):
        assert gene in gene_sets.folds[fold]
        np.testing.assert_array_equal(truth.counts[:, j], dense[gene])
        in_use = np.stack([dense[g] for g in gene_sets.genes_in_use(fold)])
        np.testing.assert_array_equal(truth.total[fold], in_use.sum(axis=0))
        np.testing.assert_array_equal(truth.n_detected[fold], (in_use > 0).sum(axis=0))


def test_partial_score_is_the_correlation_of_residual_ranks():
    """By regression of ranks on the total's ranks, gene by gene, over cells with counts on the genes in use."""
    _, spatial, gene_sets = draw(depths=(60, 12))
    truth = Truth.of(spatial, gene_sets)
    rng = np.random.default_rng(0)
    mean = truth.counts * 0.2 + rng.random(truth.counts.shape)
    total = np.stack([truth.total[fold] for fold in truth.fold], axis=1)
    mean[total == 0] = np.nan
    assert np.isnan(mean).any()
    expected = []
    for j in range(len(truth.genes)):
        cells = total[:, j] > 0
        ranks = [scipy.stats.rankdata(v[cells]) for v in (truth.counts[:, j], mean[:, j], total[:, j])]
        line = np.column_stack([np.ones(cells.sum()), ranks[2]])
        rest = [r - line @ np.linalg.lstsq(line, r, rcond=None)[0] for r in ranks[:2]]
        expected.append(np.corrcoef(rest)[0, 1])
    np.testing.assert_allclose(truth.partial(mean), expected, atol=1e-10)


def test_depth_that_the_total_hides_scores_until_detected_genes_are_given():
    """High genes make up most of a cell's total; what the low ones have of it tells its depth, not a gene."""
    rng = np.random.default_rng(0)
    depth, high = rng.gamma(2, 0.3, (500, 1)), rng.gamma(2, 40, (500, 1))
    counts, low = rng.poisson(depth * np.ones(15)), rng.poisson(depth * np.ones(40))
    total = low.sum(axis=1, keepdims=True) + high
    truth = Truth(GENES, np.array(["0"] * 15), counts.astype(float), {"0": total[:, 0]}, {"0": (low > 0).sum(axis=1)})
    guess = low.sum(axis=1, keepdims=True) / total * np.ones(15)
    assert truth.partial(guess).mean() > 0.3
    assert abs(truth.partial(guess, given_detected=True).mean()) < 0.05
    knows = truth.counts / total
    assert truth.partial(knows, given_detected=True).mean() > 0.8


# ---- averages ----


def member(kappa, seed, mean, sd=None, method="gimvi"):
    cells = np.array([f"c{i}" for i in range(len(mean))])
    sd = np.full_like(mean, 0.1) if sd is None else sd
    return Predictions(mean.astype(np.float32), sd.astype(np.float32), cells, GENES, FOLDS, method, "s", kappa, seed)


def random_members(n=3, seed=0):
    rng = np.random.default_rng(seed)
    out = [member(0.0, i, rng.gamma(2, 1, (N_CELLS, 15)) * (i + 1), rng.random((N_CELLS, 15))) for i in range(n)]
    for one in out:
        one.mean[7, :5] = one.sd[7, :5] = np.nan  # a cell without counts on the genes in use of fold 0
    return out


def test_average_against_loops():
    members = random_members()
    mean, sd = average(members)
    assert np.isnan(mean[7, :5]).all() and not np.isnan(np.delete(mean, 7, 0)).any()
    for j in (0, 6, 14):
        own = [np.mean([v for v in one.mean[:, j] if not np.isnan(v)]) for one in members]
        overall = np.mean(own)
        for c in (0, 8, 99):
            # A mixture of the members' normal distributions, each scaled to the common mean.
            means = [one.mean[c, j] * overall / m for one, m in zip(members, own, strict=True)]
            sds = [one.sd[c, j] * overall / m for one, m in zip(members, own, strict=True)]
            assert mean[c, j] == pytest.approx(np.mean(means), rel=1e-5)
            variance = np.mean([s**2 + m**2 for s, m in zip(sds, means, strict=True)]) - np.mean(means) ** 2
            assert sd[c, j] == pytest.approx(np.sqrt(variance), rel=1e-4)
    np.testing.assert_allclose(np.nanmean(mean, 0), np.mean([np.nanmean(one.mean, 0) for one in members], 0), rtol=1e-5)


def test_average_of_one_is_itself():
    (one,) = random_members(1)
    mean, sd = average([one])
    np.testing.assert_allclose(mean, one.mean, rtol=1e-6)
    np.testing.assert_allclose(sd, one.sd, rtol=1e-3, atol=1e-3)


def test_mix_against_loops():
    members = random_members()
    knn = random_members(1, seed=9)[0]
    ensemble = average(members)
    for weight in (0.0, 0.2, 0.5):
        mean, sd = mix(ensemble, knn, weight)
        np.testing.assert_allclose(sd, (1 - weight) * ensemble[1])
        for j in (0, 14):
            scale = np.nanmean(ensemble[0][:, j]) / np.nanmean(knn.mean[:, j])
            expected = (1 - weight) * ensemble[0][:, j] + weight * scale * knn.mean[:, j]
            np.testing.assert_allclose(mean[:, j], expected, rtol=1e-5)
    assert mix(ensemble, None, 0)[0] is ensemble[0]


# ---- the choice ----


class World:
    """Two kappas and kNN, and counts that follow the one, the other, or the third, as told per fold."""

    def __init__(self, *follows):
        rng = np.random.default_rng(3)
        self.rates = {kind: rng.gamma(2, 1, (N_CELLS, 15)) for kind in (0.0, 5.0, "knn")}
        self.total = rng.integers(20, 60, N_CELLS)
        self.members = [
            member(k, s, self.rates[k] + 0.3 * rng.random((N_CELLS, 15))) for k in (0.0, 5.0) for s in (0, 1)
        ]
        self.knn = member(None, None, self.rates["knn"], method="knn")
        self.truth = Truth(GENES, FOLDS, self.counts(*follows), {fold: self.total.copy() for fold in "012"}, {})

    def counts(self, *follows):
        rng = np.random.default_rng(4)
        rate = np.empty((N_CELLS, 15))
        for fold, kind in zip(("0", "1", "2"), follows, strict=True):
            rate[:, fold == FOLDS] = self.rates[kind][:, fold == FOLDS]
        return rng.poisson(rate * self.total[:, None] / 30).astype(float)

    def choose(self, *follows):
        truth = replace(self.truth, counts=self.counts(*follows)) if follows else self.truth
        return choose(self.members, self.knn, truth)


def is_from(choice, world, fold, kappa):
    """Whether a fold's prediction is of this kappa's ensemble, without kNN."""
    columns = fold == FOLDS
    expected = average([one for one in world.members if one.kappa == kappa])[0][:, columns]
    return np.array_equal(choice.prediction.mean[:, columns], expected.astype(np.float32))


def test_every_fold_takes_what_the_others_choose():
    world = World(0.0, 5.0, 5.0)
    choice = world.choose()
    assert is_from(choice, world, "0", 5.0)  # though kappa 0 is far better on its own genes
    assert choice.curve["kappa"].tolist() == [0.0, 5.0]
    np.testing.assert_array_equal(choice.curve["mean"], kappa_curve(
        {k: world.truth.partial(world.members[i].mean) for k, i in ((0.0, 0), (5.0, 2))}, FOLDS
    )["mean"])  # fmt: skip
    everyone = World(5.0, 5.0, 5.0).choose()
    assert everyone.kappa == 5.0 and everyone.knn_weight == 0.0
    assert all(is_from(everyone, world, fold, 5.0) for fold in "012")
    assert everyone.prediction.method == "spatialimpute" and everyone.prediction.kappa is None
    assert everyone.prediction.genes.tolist() == GENES.tolist() and everyone.prediction.sample == "s"


@pytest.mark.parametrize("kind", [5.0, "knn"])
@pytest.mark.parametrize("fold", [0, 1, 2])
def test_a_folds_choice_ignores_its_own_genes(fold, kind):
    world = World(0.0, 0.0, 0.0)
    before = world.choose()
    follows = [0.0] * 3
    follows[fold] = kind
    after = world.choose(*follows)
    columns = FOLDS == str(fold)
    for name in ("mean", "sd"):
        old, new = getattr(before.prediction, name), getattr(after.prediction, name)
        assert old[:, columns].tobytes() == new[:, columns].tobytes()
    # The others see it: with two folds for it, the third takes it.
    follows = [kind] * 3
    follows[fold] = 0.0
    swayed = world.choose(*follows)
    assert not np.array_equal(before.prediction.mean[:, columns], swayed.prediction.mean[:, columns])


def test_a_better_knn_gets_the_largest_weight_and_no_knn_gets_none():
    world = World("knn", "knn", "knn")
    choice = world.choose()
    assert choice.knn_weight == max(selection.KNN_WEIGHTS)
    alone = choose(world.members, None, world.truth)
    assert alone.knn_weight == 0.0
    assert any(is_from(alone, world, "1", kappa) for kappa in (0.0, 5.0))


def test_one_fold_chooses_for_itself():
    world = World(5.0, 5.0, 5.0)
    truth = replace(world.truth, fold=np.array(["0"] * 15))
    choice = choose(world.members, world.knn, truth)
    assert choice.kappa == 5.0
    assert np.isfinite(choice.prediction.mean).all()


# ---- the table ----


def test_score_table():
    world = World(0.0, 0.0, 0.0)
    world.truth.total["0"][7] = 0
    backwards = replace(
        world.knn, mean=world.knn.mean[:, ::-1].copy(), genes=GENES[::-1], fold=FOLDS[::-1], kappa=None, place=None
    )
    for one in world.members:
        one.mean[7, :5] = np.nan
    choice = choose(world.members, world.knn, world.truth)
    table = score_table([choice.prediction, *world.members, backwards], world.truth)
    assert list(table.columns) == COLUMNS
    assert len(table) == 6 * 15
    assert table["method"].value_counts().to_dict() == {"gimvi": 60, "spatialimpute": 15, "knn": 15}
    assert table.loc[table["method"] != "gimvi", ["kappa", "place"]].isna().all().all()
    assert table.loc[table["method"] == "gimvi", "place"].tolist() == [s for s in (0, 1, 0, 1) for _ in range(15)]
    assert (table["n_cells"] == np.where(table["fold"] == "0", N_CELLS - 1, N_CELLS)).all()
    assert np.isfinite(table[["spearman", "spearman_partial", "spearman_fraction", "pearson", "jsd"]]).all().all()
    first = table[table["method"] == "gimvi"].iloc[:15].set_index("gene").loc[GENES]
    np.testing.assert_allclose(first["spearman_partial"], world.truth.partial(world.members[0].mean))
    # Genes are matched by name, whatever their order in the file.
    straight = score_table([world.knn], world.truth).set_index("gene")["spearman"]
    np.testing.assert_allclose(table[table["method"] == "knn"].set_index("gene")["spearman"][GENES], straight[GENES])
    j, total = 3, world.truth.total["0"]
    cells = total > 0
    counts, total, mean = world.truth.counts[cells, j], total[cells], world.members[0].mean[cells, j]
    assert first["spearman"].iloc[j] == pytest.approx(scipy.stats.spearmanr(counts, mean * total)[0])
    assert first["spearman_fraction"].iloc[j] == pytest.approx(scipy.stats.spearmanr(counts / total, mean)[0])
    assert first["detected"].iloc[j] == (counts > 0).sum()


def test_summary_per_method():
    world = World(0.0, 0.0, 0.0)
    table = score_table(world.members, world.truth)
    summary = summarize(table)
    assert list(summary) == ["gimvi"]
    genes = table.groupby("gene")[["spearman", "spearman_partial", "spearman_fraction"]].mean()
    assert summary["gimvi"] == {
        "spearman_median": pytest.approx(np.median(genes["spearman"])),
        "spearman_mean": pytest.approx(np.mean(genes["spearman"])),
        "spearman_partial_median": pytest.approx(np.median(genes["spearman_partial"])),
        "spearman_partial_mean": pytest.approx(np.mean(genes["spearman_partial"])),
        "spearman_fraction_median": pytest.approx(np.median(genes["spearman_fraction"])),
        "n_genes": 15,
    }
