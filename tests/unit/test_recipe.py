"""What is chosen of the estimator: a prior that stands unless something is clearly better on the other folds."""

import itertools

import numpy as np
import pytest
from held_out import FOLDS, OTHERS, World, made_graph
from samples import package_methods
from spatialimpute.cli import BLENDABLE
from spatialimpute.ensemble import Recipe, blend_moments, fit_blend
from spatialimpute.evaluation import recipe as recipes
from spatialimpute.evaluation.choice import paired_difference
from spatialimpute.evaluation.recipe import (
    ALPHAS,
    BETAS,
    GRID,
    MAX_SUM,
    PRIOR,
    PRIOR_GRAPH,
    Some,
    prior_unless_better,
    recipe_without_folds,
)
from spatialimpute.graph import CellGraph
from spatialimpute.methods.base import Component

GRAPHS = {name: made_graph(i) for i, name in enumerate("012")}


def test_who_may_take_a_share():
    """The command line, the grid and the prior name the same methods: those that TRAIN can store."""
    components = {name for name, method in package_methods().items() if issubclass(method, Component)}
    assert set(BLENDABLE) == set(GRID) == set(PRIOR) == components == set(OTHERS)
    assert all(PRIOR[name] in weights and min(weights) == 0.0 for name, weights in GRID.items())
    assert PRIOR_GRAPH[0] in ALPHAS and PRIOR_GRAPH[1] in BETAS and min(ALPHAS) == min(BETAS) == 0.0


# ---- the rule ----


def scores(*means_per_fold):
    """Scores of 15 genes whose fold means are as given."""
    return np.repeat(means_per_fold, [5, 4, 6]) + np.concatenate([np.linspace(-1, 1, n) for n in (5, 4, 6)]) * 0.01


@pytest.mark.parametrize(
    "better, chosen",
    [
        ((0.35, 0.35, 0.35), "other"),
        ((0.30, 0.35, 0.35), "other"),
        ((0.25, 0.35, 0.35), "prior"),  # better on average, but by less than its error
        ((0.3, 0.3, 0.3), "prior"),
        ((0.299, 0.3, 0.301), "prior"),
        ((0.301, 0.301, 0.301), "other"),  # by however little, where every fold says the same
        ((0.2, 0.2, 0.2), "prior"),
    ],
)
def test_the_prior_stands_unless_another_is_better_by_more_than_an_error(better, chosen):
    options = {"other": scores(*better), "prior": scores(0.3, 0.3, 0.3), "worse": scores(0.1, 0.1, 0.1)}
    difference, se = paired_difference(options["other"], options["prior"], FOLDS)
    assert (difference > se) == (chosen == "other")
    assert prior_unless_better("prior")(options, FOLDS) == chosen


def test_of_what_is_better_than_the_prior_only_the_best_counts():
    """Not the one with the least error: what is second best, and sure, does not take the place of a doubtful best."""
    options = {"sure": scores(0.31, 0.31, 0.31), "prior": scores(0.3, 0.3, 0.3), "best": scores(0.1, 0.2, 0.8)}
    assert prior_unless_better("prior")(options, FOLDS) == "prior"
    assert prior_unless_better("prior")({name: options[name] for name in ("sure", "prior")}, FOLDS) == "sure"


def chosen_share(difference: float, by_fold: float, n: int = 300) -> float:
    """How often an option that is better by `difference` takes the prior's place, of 35 genes in five folds."""
    rng, fold, chosen = np.random.default_rng(0), np.repeat(list("01234"), 7), 0
    for _ in range(n):
        prior = rng.normal(0.3, 0.15, 35)
        other = prior + difference + rng.normal(0, 0.02, 35) + np.repeat(rng.normal(0, by_fold, 5), 7)
        chosen += prior_unless_better("prior")({"prior": prior, "other": other}, fold) == "other"
    return chosen / n


def test_chance_seldom_moves_the_prior_and_what_is_clear_always_does():
    """By chance alone in one of five, t with four degrees of freedom."""
    assert 0.1 < chosen_share(0.0, 0.02) < 0.28
    assert chosen_share(-0.02, 0.02) < 0.03
    assert chosen_share(0.06, 0.02) > 0.97


# ---- the options ----


@pytest.mark.parametrize("n", range(4))
def test_options_are_the_grid_of_those_that_are_there(n, tmp_path):
    estimate = World(tmp_path, 0.0, 0.0, 0.0).estimate(OTHERS[:n])
    names = [file.method for file in estimate.others]
    assert sorted(names) == sorted(OTHERS[:n])
    expected = {
        tuple(zip(names, weights, strict=True))
        for weights in itertools.product(*(GRID[name] for name in names))
        if round(10 * sum(weights)) <= round(10 * MAX_SUM)
    }
    assert set(estimate.options) == expected and len(estimate.options) == len(expected)
    assert estimate.prior in expected and dict(estimate.prior) == {name: PRIOR[name] for name in names}
    sums = [round(sum(weight for _, weight in option), 9) for option in estimate.options]
    assert min(sums) == 0 and max(sums) == min(MAX_SUM, sum(max(GRID[name]) for name in names))


def test_a_method_without_a_grid_takes_no_share(tmp_path):
    world = World(tmp_path, 0.0, 0.0, 0.0)
    world.others["knn"].method = "total"
    assert world.estimate().options == [()] and world.estimate().prior == ()


@pytest.mark.parametrize(
    "blend, graph, expected",
    [
        (("knn", "linear", "celltype"), True, Recipe({"knn": 0.1}, 0.4, 0.1)),
        (("linear", "celltype"), True, Recipe({}, 0.4, 0.1)),
        (("knn",), False, Recipe({"knn": 0.1}, 0.0, 0.0)),
        ((), False, Recipe()),
    ],
)
def test_without_folds(blend, graph, expected):
    assert recipe_without_folds(blend, graph) == expected


def test_a_recipe_in_words():
    assert Recipe().in_words() == "shares of other methods: none; of neighbors 0, around 0"
    mixed = Recipe({"knn": 0.2, "linear": 0.0, "celltype": 0.1}, 0.4, 0.1)
    assert mixed.in_words() == "shares of other methods: knn 0.2, celltype 0.1; of neighbors 0.4, around 0.1"
    assert mixed.own == pytest.approx(0.5) and Recipe().own == 1.0


# ---- the scores by which it is chosen ----


@pytest.mark.parametrize("some_cells", [2500, 40])
def test_scores_are_those_of_the_estimate(some_cells, tmp_path, monkeypatch):
    """Of every choice of weights, then of every choice of the graph's shares: what `of` gives, scored on some cells."""
    monkeypatch.setattr(recipes, "CHOICE_CELLS", some_cells)
    monkeypatch.setattr(recipes, "CHOICE_GENES", 4)
    world = World(tmp_path, 0.0, "knn", "linear")
    world.truth.total["2"][6] = 0
    for one in [*world.members, *world.others.values()]:
        one.mean[6, FOLDS == "2"] = np.nan
    estimate, truth = world.estimate(("knn", "linear"), GRAPHS.get), world.truth.of("2")
    some = Some(truth)
    assert len(some.rows) == min(149, some_cells) and len(some.genes) == 4 and 6 not in some.rows

    def score(recipe):
        mean, _ = estimate.of("2", 5.0, recipe)
        rows = np.isin(np.flatnonzero(truth.known), some.rows)
        part = type(truth)(truth.genes, np.ones(rows.sum(), bool), truth.counts[rows], truth.total[rows], None)
        return part.partial(mean[some.rows])[some.genes]

    found = estimate.weight_scores("2", 5.0, some)
    assert set(found) == set(estimate.options)
    for option in estimate.options[::5]:
        np.testing.assert_allclose(found[option], score(Recipe(dict(option))), atol=1e-4)
    weights = estimate.prior
    found = estimate.graph_scores("2", 5.0, weights, some)
    assert set(found) == set(itertools.product(ALPHAS, BETAS))
    for shares in found:
        np.testing.assert_allclose(found[shares], score(Recipe(dict(weights), *shares)), atol=1e-4)


def test_without_places_nothing_is_averaged_around(tmp_path):
    world = World(tmp_path, 0.0, 0.0, 0.0)
    estimate = world.estimate(graph=lambda name: made_graph(places=False))
    found = estimate.graph_scores("1", 0.0, estimate.prior, Some(world.truth.of("1")))
    assert set(found) == {(alpha, 0.0) for alpha in ALPHAS}
    outcome = world.choose(graph=lambda name: made_graph(places=False))
    assert all(recipe.beta == 0.0 for recipe in [outcome.recipe, *outcome.evaluation.recipe_by_fold.values()])


# ---- the estimate with a graph ----


@pytest.mark.parametrize("places", [True, False])
def test_an_estimate_with_a_graph_equals_loops(places, tmp_path):
    """A cell's own, plus the mean over its neighbors, plus the mean of that over the cells around it."""
    world, graph = World(tmp_path, 0.0, 0.0, 0.0), made_graph(3, places)
    recipe = Recipe({"knn": 0.3, "linear": 0.1}, 0.4, 0.2)
    estimate = world.estimate(("knn", "linear"), lambda name: graph)
    columns, members = FOLDS == "1", world.ensemble(5.0)
    others = {name: world.others[name] for name in ("knn", "linear")}
    mean, sd = estimate.of("1", 5.0, recipe)
    overall = np.mean([one.mean_frequency[columns] for one in members], axis=0)
    scaled = {name: one.mean[:, columns] * (overall / one.mean_frequency[columns]) for name, one in others.items()}
    shared = 0.3 * scaled["knn"] + 0.1 * scaled["linear"]
    factor = [0.6 * overall / one.mean_frequency[columns] for one in members]
    own = [one.mean[:, columns] * f + shared for one, f in zip(members, factor, strict=True)]

    def near(values, cell):
        return np.mean([values[graph.anchors[a]] for a in graph.neighbors[cell]], axis=0)

    for cell in (0, 5, 60, 149):  # nobody is around the second
        there = [other for other in graph.around[cell] if other >= 0] if places else []
        smooth = [
            0.4 * own_[cell]
            + 0.4 * near(own_, cell)
            + 0.2 * (np.mean([near(own_, o) for o in there], axis=0) if there else near(own_, cell))
            for own_ in own
        ]
        np.testing.assert_allclose(mean[cell], np.mean(smooth, axis=0), rtol=1e-4)
        spread = [(0.4 * f * one.sd[cell, columns]) ** 2 for f, one in zip(factor, members, strict=True)]
        variance = np.mean(spread, axis=0) + np.var(smooth, axis=0)
        np.testing.assert_allclose(sd[cell], np.sqrt(variance), rtol=1e-3)


def test_no_share_of_the_graph_is_no_graph(tmp_path):
    world, weights = World(tmp_path, 0.0, 0.0, 0.0), {"knn": 0.2}

    def never(name):
        raise AssertionError("a graph that has no share is not made")

    found = world.estimate(graph=never).of("1", 0.0, Recipe(weights))
    parts = world.estimate().parts("1", 0.0)
    blend = fit_blend(parts.member_means, parts.other_means, Recipe(weights))
    for ours, theirs in zip(found, blend_moments(parts.means, parts.sds, parts.others, blend), strict=True):
        assert ours.tobytes() == theirs.tobytes()


# ---- choices of a sample ----


def test_where_nothing_is_clearly_better_the_prior_stands(tmp_path):
    """Counts that follow just what the prior gives."""
    world = World(tmp_path, (5.0, 5.0, 5.0, 5.0, "knn"), (5.0, 5.0, 5.0, 5.0, "knn"), (5.0, 5.0, 5.0, 5.0, "knn"))
    outcome = world.choose()
    assert outcome.recipe == Recipe({"knn": 0.2})
    assert outcome.evaluation.recipe_by_fold == dict.fromkeys("012", Recipe({"knn": 0.2}))


@pytest.mark.parametrize("best", OTHERS)
def test_what_predicts_best_takes_the_largest_share_that_it_may(best, tmp_path):
    world = World(tmp_path, best, best, best)
    weights = world.choose(others=OTHERS).recipe.weights
    assert weights[best] == max(GRID[best]) and set(weights) == set(OTHERS)
    others = tuple(name for name in OTHERS if name != best)
    assert set(world.choose(others=OTHERS, blend=others).recipe.weights) == set(others)


@pytest.mark.parametrize("fold", "012")
@pytest.mark.parametrize("kind", ["knn", "celltype"])
def test_a_folds_recipe_and_prediction_ignore_its_own_genes(fold, kind, tmp_path):
    """All methods and a graph; its counts change from following gimVI to following another method."""
    world = World(tmp_path, 5.0, 5.0, 5.0)
    follows = [5.0] * 3
    follows["012".index(fold)] = kind
    before, after = (world.choose(*given, others=OTHERS, graph=GRAPHS.get) for given in ([5.0] * 3, follows))
    assert before.evaluation.recipe_by_fold[fold] == after.evaluation.recipe_by_fold[fold]
    columns = fold == FOLDS
    for name in ("mean", "sd"):
        old, new = (getattr(one.prediction, name)[:, columns] for one in (before, after))
        assert old.tobytes() == new.tobytes()
    # The test can tell: where the other two folds follow it, the fold's recipe does too.
    swayed = world.choose(*[5.0 if name == fold else kind for name in "012"], others=OTHERS, graph=GRAPHS.get)
    assert swayed.evaluation.recipe_by_fold[fold] != before.evaluation.recipe_by_fold[fold]


def test_a_graph_that_harms_gets_no_share_and_one_that_helps_the_largest(tmp_path):
    """A neighbor at random; then neighbors that are copies of the cell but for the noise of its estimate."""
    world = World(tmp_path, 5.0, 5.0, 5.0)
    assert world.choose(others=(), graph=lambda name: made_graph(places=False, k=1)).recipe == Recipe()
    groups, rng = np.arange(150) // 15 * 15, np.random.default_rng(0)
    world.rates[5.0] = world.rates[5.0][groups]
    for one in world.members:
        one.mean = (world.rates[5.0] * rng.gamma(1, 1, one.mean.shape)).astype(np.float32)
        one.mean_frequency = one.mean.mean(axis=0)
    alike = CellGraph(np.arange(150), (groups[:, None] + np.arange(15)).astype(np.int32), None)
    assert world.choose(5.0, 5.0, 5.0, others=(), graph=lambda name: alike).recipe == Recipe({}, max(ALPHAS), 0.0)


def test_a_folds_share_of_the_graph_is_chosen_on_the_others(tmp_path):
    """Averaging helps with two folds' genes; with the third's it helps, or harms so much that it loses on all."""
    world, rng = World(tmp_path, 5.0, 5.0, 5.0), np.random.default_rng(0)
    groups = np.arange(150) // 15 * 15
    world.rates["group"] = world.rates[5.0][groups]
    world.rates["cell"] = world.rates["group"] * rng.gamma(1, 1, (150, 15))
    for one in world.members:
        one.mean = world.rates["cell"].astype(np.float32)
        one.mean_frequency = one.mean.mean(axis=0)
    alike = CellGraph(np.arange(150), (groups[:, None] + np.arange(15)).astype(np.int32), None)
    helps, harms = (
        world.choose(first, "group", "group", others=(), graph=lambda name: alike) for first in ("group", "cell")
    )
    assert helps.recipe.alpha == max(ALPHAS) > harms.recipe.alpha
    assert helps.evaluation.recipe_by_fold["0"].alpha == harms.evaluation.recipe_by_fold["0"].alpha == max(ALPHAS)
    columns = FOLDS == "0"
    assert helps.prediction.mean[:, columns].tobytes() == harms.prediction.mean[:, columns].tobytes()
    assert harms.evaluation.recipe_by_fold["1"].alpha < max(ALPHAS)  # which sees the first fold's
