"""What cross-validation chooses: kappa, and the weight of the kNN estimate.

Every choice that a held-out gene's score depends on is made on the other folds' genes, so that no gene takes part
in choosing what it is scored with.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import pandas as pd

from spatialimpute.ensemble import blend_moments, fit_blend
from spatialimpute.evaluation.truth import FoldTruth, Truth
from spatialimpute.files.predictions import Predictions, PredictionsFile

KNN = "knn"
KNN_WEIGHTS = (0.0, 0.1, 0.2, 0.3, 0.4, 0.5)
Option = TypeVar("Option", float, int)


def paired_difference(better: np.ndarray, other: np.ndarray, fold: np.ndarray) -> tuple[float, float]:
    """Mean over genes of `better - other`, and its standard error clustered by fold, where one model gives all scores.

    se² = F / (F - 1) Σ_f (Σ_{g in f} (d_g - d̄))² / n²: Cameron & Miller 2015, doi:10.3368/jhr.50.2.317, eq. 11 for a
    mean. With one fold there is no cluster to compare with, and genes count as independent.

    Parameters
    ----------
    better, other : (n,) scores per gene; fold : (n,)
    """
    difference = better - other
    mean, n = float(difference.mean()), len(difference)
    names, cluster = np.unique(fold, return_inverse=True)
    if len(names) > 1:
        sums = np.bincount(cluster, weights=difference - mean)
        return mean, float(np.sqrt(len(names) / (len(names) - 1) * (sums**2).sum()) / n)
    return mean, float(difference.std(ddof=1) / np.sqrt(n)) if n > 1 else 0.0


def kappa_curve(scores: Mapping[float, np.ndarray], fold: np.ndarray) -> pd.DataFrame:
    """Mean score over genes per kappa, and how far it lies below the best one's.

    Returns
    -------
    DataFrame: kappa, mean, difference (to the best mean, at least 0) and its standard error se, n_folds
    """
    best = max(sorted(scores), key=lambda kappa: scores[kappa].mean())
    rows = []
    for kappa, score in sorted(scores.items()):
        difference, se = paired_difference(scores[best], score, fold)
        row = {"kappa": kappa, "mean": float(score.mean()), "difference": difference, "se": se}
        rows.append(row | {"n_folds": len(np.unique(fold))})
    return pd.DataFrame(rows)


def choose_kappa(scores: Mapping[float, np.ndarray], fold: np.ndarray) -> float:
    """The smallest kappa that is no worse than the best by more than the standard error of that difference.

    The one-standard-error rule (Hastie, Tibshirani & Friedman, The Elements of Statistical Learning, 2009, section
    7.10) with the error of the paired difference: genes differ far more among each other than kappas on a gene.
    """
    curve = kappa_curve(scores, fold)
    return float(curve.loc[curve["difference"] <= curve["se"], "kappa"].min())


def choose_weight(scores: Mapping[float, np.ndarray]) -> float:
    """The weight with the best mean score over genes; the smaller where they tie."""
    return max(sorted(scores), key=lambda weight: scores[weight].mean())


def cross_fitted(
    choose: Callable[[dict[Option, np.ndarray], np.ndarray], Option],
    scores: Mapping[Option, np.ndarray],
    fold: np.ndarray,
) -> tuple[Option, dict[str, Option]]:
    """The choice on all folds, and for each fold the choice on the others; a single fold has no others."""
    names = [str(name) for name in dict.fromkeys(fold.tolist())]
    by_fold = {}
    for name in names:
        others = fold != name if len(names) > 1 else np.ones(len(fold), dtype=bool)
        by_fold[name] = choose({option: score[others] for option, score in scores.items()}, fold[others])
    return choose(dict(scores), fold), by_fold


@dataclass(frozen=True)
class KappaChoice:
    """Kappa of the final models, kappa of each fold's models, and the curve it was read from."""

    kappa: float
    by_fold: dict[str, float]
    curve: pd.DataFrame


def choose_kappas(first: Sequence[Predictions], truth: Truth) -> KappaChoice:
    """Choose kappa from the predictions of the ensemble's first place, one per kappa, each of all held-out genes."""
    scores = {prediction.kappa: np.zeros(len(truth.genes)) for prediction in first}
    for name in truth.folds:
        columns = truth.fold == name
        for prediction in first:
            scores[prediction.kappa][columns] = truth.of(name).partial(prediction.mean[:, columns])
    kappa, by_fold = cross_fitted(choose_kappa, scores, truth.fold)
    return KappaChoice(kappa, by_fold, kappa_curve(scores, truth.fold))


class HeldOutEstimate:
    """The estimator that IMPUTE applies, of held-out genes: a fold's ensemble at one kappa, blended with kNN.

    Parameters
    ----------
    members : the ensemble's predictions; every place has every fold at each kappa that is chosen for any of them
    knn : the kNN estimate, or None where it takes no share
    """

    def __init__(self, members: Sequence[PredictionsFile], knn: PredictionsFile | None):
        self.members, self.knn = members, knn

    @property
    def weights(self) -> tuple[float, ...]:
        """The kNN weights to choose from."""
        return KNN_WEIGHTS if self.knn is not None else KNN_WEIGHTS[:1]

    def of(self, fold: str, kappa: float, weights: Sequence[float]) -> dict[float, tuple[np.ndarray, np.ndarray]]:
        """Mean and standard deviation (n_scored, H) of a fold's genes for each kNN weight, from one reading."""
        ensemble = [member.read(fold) for member in self.members if member.kappa == kappa]
        means = np.stack([member.mean for member in ensemble])
        sds = np.stack([member.sd for member in ensemble])
        member_means = np.stack([member.mean_frequency for member in ensemble])
        knn = None if self.knn is None else self.knn.read(fold)
        others, other_means = ({}, {}) if knn is None else ({KNN: knn.mean}, {KNN: knn.mean_frequency})
        return {
            weight: blend_moments(means, sds, others, fit_blend(member_means, other_means, {KNN: weight}))
            for weight in weights
        }

    def weight_scores(self, fold: str, kappa: float, truth: FoldTruth) -> dict[float, np.ndarray]:
        """Partial score of each of a fold's genes for each kNN weight."""
        return {weight: truth.partial(mean) for weight, (mean, _) in self.of(fold, kappa, self.weights).items()}


def choose_weights(
    estimate: HeldOutEstimate, kappa: float, kappa_by_fold: Mapping[str, float], truth: Truth
) -> tuple[float, dict[str, float]]:
    """The kNN weight of the final result, and each fold's, chosen on the others at the fold's own kappa.

    The others' own kappas were chosen on this fold's genes among others, so they must not enter here.
    """
    chosen = {}
    for option in {kappa, *kappa_by_fold.values()}:
        scores = {weight: np.zeros(len(truth.genes)) for weight in estimate.weights}
        for name in truth.folds:
            for weight, score in estimate.weight_scores(name, option, truth.of(name)).items():
                scores[weight][truth.fold == name] = score
        chosen[option] = cross_fitted(lambda given, _fold: choose_weight(given), scores, truth.fold)
    return chosen[kappa][0], {name: chosen[option][1][name] for name, option in kappa_by_fold.items()}
