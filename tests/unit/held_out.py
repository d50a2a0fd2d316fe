"""Made-up predictions of held-out genes by two kappas and kNN, and counts that follow the one or the other."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from spatialimpute.evaluation.choice import KappaChoice, choose_kappas
from spatialimpute.evaluation.evaluate import Evaluation, evaluate
from spatialimpute.evaluation.truth import FoldTruth, Truth
from spatialimpute.files.predictions import Predictions, PredictionsFile, open_folder, write_predictions

N_CELLS, FOLDS = 150, np.array(["0"] * 5 + ["1"] * 4 + ["2"] * 6)
GENES = np.array([f"g{i}" for i in range(15)])
CELLS = np.array([f"c{i}" for i in range(N_CELLS)])


class MadeTruth(Truth):
    """Truth whose totals do not follow from its counts, so that a fold's genes can change and nothing else."""

    def __init__(self, counts: np.ndarray, total: dict[str, np.ndarray], fold: np.ndarray = FOLDS):
        self.cells, self.genes, self.fold, self.counts, self.total = CELLS, GENES, fold, counts, total

    @property
    def folds(self) -> list[str]:
        return list(dict.fromkeys(self.fold.tolist()))

    def of(self, name: str) -> FoldTruth:
        columns, total = self.fold == name, self.total[name]
        known = total > 0
        detected = np.zeros(known.sum())
        return FoldTruth(self.genes[columns], known, self.counts[known][:, columns], total[known], detected)

    def partial(self, mean: np.ndarray) -> np.ndarray:
        """Partial score of every gene."""
        return np.concatenate([self.of(name).partial(mean[:, self.fold == name]) for name in self.folds])


def prediction(kappa, place, mean, sd=None, method="gimvi", fold=FOLDS) -> Predictions:
    sd = np.full_like(mean, 0.1) if sd is None else sd
    about = (method, "s", kappa, place)
    return Predictions(
        mean.astype(np.float32), sd.astype(np.float32), CELLS, GENES, fold, *about, np.nanmean(mean, axis=0)
    )


@dataclass
class Outcome:
    """What was chosen and scored."""

    kappa: KappaChoice
    evaluation: Evaluation

    @property
    def prediction(self) -> Predictions:
        return self.evaluation.prediction


class World:
    """Two kappas of two places each, and kNN; counts follow the one, the other, or the third, as told per fold."""

    def __init__(self, folder: Path, *follows, fold: np.ndarray = FOLDS):
        rng = np.random.default_rng(3)
        self.folder, self.fold = folder, fold
        self.rates = {kind: rng.gamma(2, 1, (N_CELLS, 15)) for kind in (0.0, 5.0, "knn")}
        self.total = rng.integers(20, 60, N_CELLS)
        self.members = [
            prediction(k, s, self.rates[k] + 0.3 * rng.random((N_CELLS, 15)), fold=fold)
            for k in (0.0, 5.0)
            for s in (0, 1)
        ]
        self.knn = prediction(None, None, self.rates["knn"], method="knn", fold=fold)
        self.knn.sd = None
        self.truth = MadeTruth(self.counts(*follows), {name: self.total.copy() for name in "012"}, fold)

    def counts(self, *follows) -> np.ndarray:
        rng = np.random.default_rng(4)
        rate = np.empty((N_CELLS, 15))
        for fold, kind in zip(("0", "1", "2"), follows, strict=True):
            rate[:, fold == FOLDS] = self.rates[kind][:, fold == FOLDS]
        return rng.poisson(rate * self.total[:, None] / 30).astype(float)

    def files(self, knn: bool = True) -> list[PredictionsFile]:
        """All predictions as EVALUATE finds them."""
        for path in self.folder.glob("*.h5ad"):
            path.unlink()
        for one in self.members:
            write_predictions(self.folder / f"gimvi.kappa{one.kappa:g}.place{one.place}.h5ad", one)
        if knn:
            write_predictions(self.folder / "knn.h5ad", self.knn)
        return open_folder(self.folder, self.truth.cells, self.truth.genes)

    def choose(self, *follows, knn: bool = True, knn_share: bool = True) -> Outcome:
        truth = MadeTruth(self.counts(*follows), self.truth.total, self.fold) if follows else self.truth
        kappa = choose_kappas([one for one in self.members if one.place == 0], truth)
        return Outcome(kappa, evaluate(self.files(knn), kappa.kappa, kappa.by_fold, truth, knn_share))

    def ensemble(self, kappa: float) -> Sequence[Predictions]:
        """The places at this kappa."""
        return [one for one in self.members if one.kappa == kappa]
