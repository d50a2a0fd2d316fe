"""What cross-validation chooses of the estimator: weights of the other methods, and of the graph.

A prior that did well on other tissues stands unless another choice is better by more than the standard error of that
difference. Every choice that a held-out gene's score depends on is made on the other folds' genes.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np

from spatialimpute.ensemble import Blend, Recipe, blend_moments, fit_blend, member_estimates
from spatialimpute.evaluation.choice import cross_fitted, paired_difference
from spatialimpute.evaluation.truth import FoldTruth, Truth
from spatialimpute.files.predictions import PredictionsFile
from spatialimpute.graph import CellGraph

#: The methods that may take a share, and the weights that each may have.
GRID = {
    "knn": (0.0, 0.1, 0.2, 0.3, 0.4, 0.5),
    "linear": (0.0, 0.1, 0.2, 0.3),
    "celltype": (0.0, 0.1, 0.2, 0.3, 0.4),
}
MAX_SUM = 0.8
PRIOR = {"knn": 0.2, "linear": 0.2, "celltype": 0.1}
ALPHAS, BETAS = (0.0, 0.2, 0.4, 0.6), (0.0, 0.1, 0.2)
PRIOR_GRAPH = (0.4, 0.1)
#: Without folds nothing can be chosen; linear regression and cell types are then left out, since on some tissues they
#: harm.
WITHOUT_FOLDS = {"knn": 0.1}
#: Cells, and genes of each fold, that choices are made on, at most.
CHOICE_CELLS, CHOICE_GENES = 2500, 100

Weights = tuple[tuple[str, float], ...]


def recipe_without_folds(blend: Sequence[str], graph: bool) -> Recipe:
    """The recipe where there is nothing to choose it by."""
    weights = {method: weight for method, weight in WITHOUT_FOLDS.items() if method in blend}
    return Recipe(weights, *(PRIOR_GRAPH if graph else (0.0, 0.0)))


def prior_unless_better(prior):
    """A rule for :func:`spatialimpute.evaluation.choice.cross_fitted`.

    The option with the best mean score over genes, if it is better than `prior` by more than the standard error of the
    paired difference; else `prior`.
    """

    def choose(scores: Mapping, fold: np.ndarray):
        best = max(scores, key=lambda option: (scores[option].mean(), option == prior))
        difference, se = paired_difference(scores[best], scores[prior], fold)
        return best if difference > se else prior

    return choose


@dataclass(frozen=True)
class Parts:
    """A fold's predictions of its genes, in all scored cells."""

    means: np.ndarray
    sds: np.ndarray
    member_means: np.ndarray
    others: dict[str, np.ndarray]
    other_means: dict[str, np.ndarray]

    def blend(self, recipe: Recipe) -> Blend:
        """The blend of these parts."""
        return fit_blend(self.member_means, self.other_means, recipe)


class HeldOutEstimate:
    """The estimator that IMPUTE applies, of held-out genes.

    Parameters
    ----------
    members : the ensemble's predictions; every place has every fold at each kappa that is chosen for any of them
    others : predictions of the methods that may take a share
    graph : the graph of a fold's cells; None where there is to be none
    scored : indices of the scored cells among all cells, ascending
    """

    def __init__(
        self,
        members: Sequence[PredictionsFile],
        others: Sequence[PredictionsFile],
        graph: Callable[[str], CellGraph] | None,
        scored: np.ndarray,
    ):
        self.members, self.others = members, [file for file in others if file.method in GRID]
        self.graph, self.scored = graph, scored

    @property
    def prior(self) -> Weights:
        """The prior's weights of the methods that are there."""
        return tuple((file.method, PRIOR[file.method]) for file in self.others)

    @property
    def options(self) -> list[Weights]:
        """The weights to choose from."""
        names = [file.method for file in self.others]
        choices = product(*(GRID[name] for name in names))
        return [tuple(zip(names, some, strict=True)) for some in choices if sum(some) <= MAX_SUM + 1e-9]

    def parts(self, fold: str, kappa: float) -> Parts:
        """A fold's predictions at one kappa."""
        ensemble = [member.read(fold) for member in self.members if member.kappa == kappa]
        others = {file.method: file.read(fold) for file in self.others}
        return Parts(
            np.stack([member.mean for member in ensemble]),
            np.stack([member.sd for member in ensemble]),
            np.stack([member.mean_frequency for member in ensemble]),
            {method: one.mean for method, one in others.items()},
            {method: one.mean_frequency for method, one in others.items()},
        )

    def of(self, fold: str, kappa: float, recipe: Recipe) -> tuple[np.ndarray, np.ndarray]:
        """Mean and standard deviation (n_scored, H) of a fold's genes."""
        parts = self.parts(fold, kappa)
        blend = parts.blend(recipe)
        nearby = None
        if recipe.own < 1:
            near = self.graph(fold).average(self.scored, recipe.alpha, recipe.beta)
            nearby = np.stack([near @ of_member for of_member in self._of_anchors(fold, parts, blend)])
        return blend_moments(parts.means, parts.sds, parts.others, blend, nearby)

    def _of_anchors(self, fold: str, parts: Parts, blend: Blend) -> np.ndarray:
        """Each member's estimate of the anchors, (M, A, H)."""
        rows = np.searchsorted(self.scored, self.graph(fold).anchors)
        others = {method: values[rows] for method, values in parts.others.items()}
        return member_estimates(parts.means[:, rows], others, blend)

    def weight_scores(self, fold: str, kappa: float, some: "Some") -> dict[Weights, np.ndarray]:
        """Scores of some of a fold's genes for every choice of weights, before the graph."""
        parts = self.parts(fold, kappa)
        blend = parts.blend(Recipe(dict.fromkeys(parts.others, 1.0)))
        where = np.ix_(some.rows, some.genes)
        ensemble = (parts.means * blend.member_scales[:, None]).mean(axis=0)[where]
        others = {method: (parts.others[method] * scale)[where] for method, scale in blend.scales.items()}
        return {
            option: some.score(
                (1 - sum(weight for _, weight in option)) * ensemble
                + sum((weight * others[method] for method, weight in option), start=0)
            )
            for option in self.options
        }

    def graph_scores(
        self, fold: str, kappa: float, weights: Weights, some: "Some"
    ) -> dict[tuple[float, float], np.ndarray]:
        """Scores of some of a fold's genes for every choice of the graph's shares."""
        parts, graph = self.parts(fold, kappa), self.graph(fold)
        blend = parts.blend(Recipe(dict(weights)))
        anchors = self._of_anchors(fold, parts, blend).mean(axis=0)[:, some.genes]
        rows = self.scored[some.rows]
        near, around = (graph.average(rows, *shares) @ anchors for shares in ((1.0, 0.0), (0.0, 1.0)))
        others = {method: values[some.rows] for method, values in parts.others.items()}
        own = member_estimates(parts.means[:, some.rows], others, blend).mean(axis=0)[:, some.genes]
        betas = BETAS if graph.around is not None else BETAS[:1]
        return {
            (alpha, beta): some.score((1 - alpha - beta) * own + alpha * near + beta * around)
            for alpha, beta in product(ALPHAS, betas)
        }


class Some:
    """Some cells and genes of a fold, evenly spaced, on which choices are made.

    Attributes
    ----------
    rows : indices of the cells among the scored ones
    genes : indices of the genes among the fold's
    score : partial score per gene of a prediction (cells, genes)
    """

    def __init__(self, truth: FoldTruth):
        known = np.flatnonzero(truth.known)
        cells = np.unique(np.linspace(0, len(known) - 1, CHOICE_CELLS).astype(int))
        self.rows = known[cells]
        self.genes = np.unique(np.linspace(0, len(truth.genes) - 1, CHOICE_GENES).astype(int))
        self.score = truth.scorer(cells, self.genes)


def choose_recipes(
    estimate: HeldOutEstimate, kappa: float, kappa_by_fold: Mapping[str, float], truth: Truth
) -> tuple[Recipe, dict[str, Recipe]]:
    """The recipe of the final result, and each fold's, chosen on the others at the fold's own kappa.

    The others' own kappas, and weights, were chosen on this fold's genes among others, so they must not enter here:
    first the weights are chosen, then with them the graph's shares, each time at one kappa for all.
    """
    some = {name: Some(truth.of(name)) for name in truth.folds}
    fold = np.concatenate([np.full(len(some[name].genes), name) for name in truth.folds])

    def chosen(score: Callable[[str], dict], prior) -> tuple:
        by_fold = [score(name) for name in truth.folds]
        scores = {option: np.concatenate([one[option] for one in by_fold]) for option in by_fold[0]}
        return cross_fitted(prior_unless_better(prior), scores, fold)

    weights = {
        option: chosen(lambda name, option=option: estimate.weight_scores(name, option, some[name]), estimate.prior)
        for option in {kappa, *kappa_by_fold.values()}
    }

    def graph_shares(option: float, of_weights: Weights) -> tuple:
        if estimate.graph is None:
            return (0.0, 0.0), dict.fromkeys(truth.folds, (0.0, 0.0))
        has_places = estimate.graph(truth.folds[0]).around is not None
        prior = PRIOR_GRAPH if has_places else (PRIOR_GRAPH[0], 0.0)
        return chosen(lambda name: estimate.graph_scores(name, option, of_weights, some[name]), prior)

    wanted = {(kappa, weights[kappa][0])} | {
        (option, weights[option][1][name]) for name, option in kappa_by_fold.items()
    }
    shares = {key: graph_shares(*key) for key in wanted}
    final = Recipe(dict(weights[kappa][0]), *shares[kappa, weights[kappa][0]][0])
    by_fold = {}
    for name, option in kappa_by_fold.items():
        of_fold = weights[option][1][name]
        by_fold[name] = Recipe(dict(of_fold), *shares[option, of_fold][1][name])
    return final, by_fold
