"""What cross-validation chooses: kappa, the weight of the kNN estimate, and the prediction that results.

Every choice that a held-out gene's score depends on is made on the other folds' genes, so that no gene takes part
in choosing what it is scored with.
"""

from dataclasses import dataclass

import numpy as np
import pandas as pd

from spatialimpute.evaluation.metrics import spearman_partial
from spatialimpute.files.counts import Counts
from spatialimpute.files.gene_sets import GeneSets
from spatialimpute.files.predictions import Predictions

KNN_WEIGHTS = (0.0, 0.1, 0.2, 0.3, 0.4, 0.5)


@dataclass
class Truth:
    """Measured counts of the held-out genes (N, H), and by fold, of the panel genes in use, every cell's total (N,)
    and how many were detected (N,)."""

    genes: np.ndarray
    fold: np.ndarray
    counts: np.ndarray
    total: dict[str, np.ndarray]
    n_detected: dict[str, np.ndarray]

    @classmethod
    def of(cls, spatial: Counts, gene_sets: GeneSets) -> "Truth":
        """The truth of every held-out gene of a panel."""
        genes = [gene for held_out in gene_sets.folds.values() for gene in held_out]
        fold = np.array([name for name, held_out in gene_sets.folds.items() for _ in held_out])
        total, n_detected = {}, {}
        for name in gene_sets.folds:
            in_use = spatial.select(gene_sets.genes_in_use(name))
            total[name] = np.asarray(in_use.sum(1), dtype=np.float64).ravel()
            n_detected[name] = np.asarray((in_use > 0).sum(1)).ravel()
        counts = spatial.select(genes).toarray().astype(np.float64)
        return cls(np.array(genes), fold, counts, total, n_detected)

    def partial(self, mean: np.ndarray, given_detected: bool = False) -> np.ndarray:
        """Partial Spearman of a prediction (N, H) per gene, over the cells with counts on the genes in use.

        With `given_detected`, given both the total and the number of genes detected. A few high genes make up most
        of a total, so it is a poor measure of a cell's depth, and a model that finds a better one scores on every
        gene, knowing nothing of it.
        """
        score = np.zeros(len(self.genes))
        for name in np.unique(self.fold):
            columns = np.flatnonzero(self.fold == name)
            total = self.total[name]
            cells = total > 0
            given = np.stack([total, self.n_detected[name]], axis=1) if given_detected else total
            score[columns] = spearman_partial(
                self.counts[np.ix_(cells, columns)], mean[np.ix_(cells, columns)], given[cells]
            )
        return score


def kappa_curve(scores: dict[float, np.ndarray], fold: np.ndarray) -> pd.DataFrame:
    """Mean and standard error over folds of each kappa's score; columns kappa, mean, se, n_folds."""
    rows = []
    for kappa, score in sorted(scores.items()):
        means = np.array([score[fold == name].mean() for name in np.unique(fold)])
        se = means.std(ddof=1) / np.sqrt(len(means)) if len(means) > 1 else 0.0
        rows.append({"kappa": kappa, "mean": means.mean(), "se": se, "n_folds": len(means)})
    return pd.DataFrame(rows)


def choose_kappa(scores: dict[float, np.ndarray], fold: np.ndarray) -> float:
    """The one-standard-error rule: the smallest kappa whose score is within one standard error of the best.

    Hastie, Tibshirani & Friedman, The Elements of Statistical Learning (2009), section 7.10.
    """
    curve = kappa_curve(scores, fold)
    best = curve.loc[curve["mean"].idxmax()]
    return float(curve.loc[curve["mean"] >= best["mean"] - best["se"], "kappa"].min())


def choose_knn_weight(scores: dict[float, np.ndarray]) -> float:
    """The weight with the best mean score over genes; the smaller where they tie."""
    return max(sorted(scores), key=lambda weight: scores[weight].mean())


@dataclass
class Choice:
    """What cross-validation chose for the final model, and the prediction it stands for.

    `prediction` holds every held-out gene as predicted with the kappa and the kNN weight chosen on other folds.
    """

    kappa: float
    curve: pd.DataFrame
    knn_weight: float
    prediction: Predictions


def choose(members: list[Predictions], knn: Predictions | None, truth: Truth) -> Choice:
    """Choose kappa and the kNN weight, and combine the predictions accordingly.

    Parameters
    ----------
    members : gimVI's cross-validated predictions, one per (kappa, place)
    knn : the kNN baseline's, or None where it was not run; the weight is then 0
    """
    by_kappa: dict[float, list[Predictions]] = {}
    for member in sorted(members, key=lambda member: (member.kappa, member.place)):
        by_kappa.setdefault(member.kappa, []).append(member)
    # Compared on the first place, which every kappa has.
    kappa_scores = {kappa: truth.partial(group[0].mean) for kappa, group in by_kappa.items()}
    averages = {kappa: average(group) for kappa, group in by_kappa.items()}
    mixes = {
        kappa: {weight: mix(group, knn, weight) for weight in (KNN_WEIGHTS if knn is not None else KNN_WEIGHTS[:1])}
        for kappa, group in averages.items()
    }
    weight_scores = {
        kappa: {weight: truth.partial(mixed[0]) for weight, mixed in group.items()} for kappa, group in mixes.items()
    }

    def choices(genes: np.ndarray) -> tuple[float, float]:
        kappa = choose_kappa({k: score[genes] for k, score in kappa_scores.items()}, truth.fold[genes])
        return kappa, choose_knn_weight({w: score[genes] for w, score in weight_scores[kappa].items()})

    mean, sd = np.full_like(members[0].mean, np.nan), np.full_like(members[0].mean, np.nan)
    folds = np.unique(truth.fold)
    for name in folds:
        columns = truth.fold == name
        kappa, weight = choices(~columns if len(folds) > 1 else columns)
        mean[:, columns] = mixes[kappa][weight][0][:, columns]
        sd[:, columns] = mixes[kappa][weight][1][:, columns]
    kappa, weight = choices(np.ones(len(truth.genes), dtype=bool))
    first = members[0]
    prediction = Predictions(mean, sd, first.cells, first.genes, first.fold, "spatialimpute", first.sample)
    return Choice(kappa, kappa_curve(kappa_scores, truth.fold), weight, prediction)


def average(members: list[Predictions]) -> tuple[np.ndarray, np.ndarray]:
    """Mean and standard deviation of an ensemble, each member on its own mean per gene; both (N, H)."""
    means = [np.nanmean(member.mean, axis=0) for member in members]
    overall = np.mean(means, axis=0)
    scales = [overall / np.maximum(mean, 1e-12) for mean in means]
    scaled = [member.mean * scale for member, scale in zip(members, scales, strict=True)]
    second = [(member.sd * scale) ** 2 + part**2 for member, scale, part in zip(members, scales, scaled, strict=True)]
    mean = np.mean(scaled, axis=0)
    return mean, np.sqrt(np.maximum(np.mean(second, axis=0) - mean**2, 0))


def mix(
    ensemble: tuple[np.ndarray, np.ndarray], knn: Predictions | None, weight: float
) -> tuple[np.ndarray, np.ndarray]:
    """(1 - weight) * ensemble + weight * kNN, the latter on the ensemble's mean per gene; mean and sd."""
    mean, sd = ensemble
    if weight == 0:
        return mean, sd
    scale = np.nanmean(mean, axis=0) / np.maximum(np.nanmean(knn.mean, axis=0), 1e-12)
    return (1 - weight) * mean + weight * knn.mean * scale, (1 - weight) * sd
