"""What cross-validation chooses: the rule, and kappa by it.

Every choice that a held-out gene's score depends on is made on the other folds' genes, so that no gene takes part
in choosing what it is scored with.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import pandas as pd

from spatialimpute.evaluation.truth import Truth
from spatialimpute.files.predictions import Predictions

Option = TypeVar("Option")


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
