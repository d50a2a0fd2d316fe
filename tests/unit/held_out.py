"""Made-up predictions of held-out genes by two kappas and other methods, and counts that follow one of them."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from spatialimpute.ensemble import Recipe
from spatialimpute.evaluation.choice import KappaChoice, choose_kappas
from spatialimpute.evaluation.evaluate import Evaluation, evaluate
from spatialimpute.evaluation.recipe import HeldOutEstimate
from spatialimpute.evaluation.truth import FoldTruth, Truth
from spatialimpute.files.predictions import Predictions, PredictionsFile, open_folder, write_predictions
from spatialimpute.graph import CellGraph

N_CELLS, FOLDS = 150, np.array(["0"] * 5 + ["1"] * 4 + ["2"] * 6)
GENES = np.array([f"g{i}" for i in range(15)])
CELLS = np.array([f"c{i}" for i in range(N_CELLS)])
OTHERS = ("knn", "linear", "celltype")


class MadeTruth(Truth):
    """Truth whose totals do not follow from its counts, so that a fold's genes can change and nothing else."""

    def __init__(self, counts: np.ndarray, total: dict[str, np.ndarray], fold: np.ndarray = FOLDS):
        self.cells, self.genes, self.fold, self.counts, self.total = CELLS, GENES, fold, counts, total
        self.scored = np.arange(N_CELLS)

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


def made_graph(seed: int = 0, places: bool = True, k: int = 4) -> CellGraph:
    """k neighbors among a third of the cells, and cells around, at random.

    Nobody is around cell 5. Cell 6 has no counts: it has no neighbors, and is in none.
    """
    rng = np.random.default_rng(seed)
    anchors = np.arange(1, N_CELLS, 3)
    neighbors = np.argsort(rng.random((N_CELLS, len(anchors))), axis=1)[:, :k].astype(np.int32)
    around = np.argsort(rng.random((N_CELLS, N_CELLS)), axis=1)[:, :6].astype(np.int32)
    around[(rng.random(around.shape) < 0.2) | (around == 6)] = -1
    around[[5, 6]] = neighbors[6] = -1
    return CellGraph(anchors, neighbors, around if places else None)


@dataclass
class Outcome:
    """What was chosen and scored."""

    kappa: KappaChoice
    evaluation: Evaluation

    @property
    def prediction(self) -> Predictions:
        return self.evaluation.prediction

    @property
    def recipe(self) -> Recipe:
        return self.evaluation.recipe


class World:
    """Two kappas of two places each, and other methods; counts follow the one or the other, as told per fold."""

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
        self.rates |= {kind: rng.gamma(2, 1, (N_CELLS, 15)) for kind in OTHERS[1:]}
        self.others = {name: prediction(None, None, self.rates[name], method=name, fold=fold) for name in OTHERS}
        for one in self.others.values():
            one.sd = None
        self.truth = MadeTruth(self.counts(*follows), {name: self.total.copy() for name in "012"}, fold)

    def counts(self, *follows) -> np.ndarray:
        """Counts of each fold's genes around the rates of one kind, or around the mean of several.

        Each fold's are drawn by themselves, so that they do not depend on what the others follow.
        """
        counts = np.empty((N_CELLS, 15))
        for fold, kinds in zip(("0", "1", "2"), follows, strict=True):
            kinds, columns = kinds if isinstance(kinds, tuple) else (kinds,), fold == FOLDS
            rate = np.mean([self.rates[kind][:, columns] for kind in kinds], axis=0)
            counts[:, columns] = np.random.default_rng([4, int(fold)]).poisson(rate * self.total[:, None] / 30)
        return counts

    def files(self, others: Sequence[str] = ("knn",)) -> list[PredictionsFile]:
        """All predictions as EVALUATE finds them."""
        for path in self.folder.glob("*.h5ad"):
            path.unlink()
        for one in self.members:
            write_predictions(self.folder / f"gimvi.kappa{one.kappa:g}.place{one.place}.h5ad", one)
        for name in others:
            write_predictions(self.folder / f"{name}.h5ad", self.others[name])
        return open_folder(self.folder, self.truth.cells, self.truth.genes)

    def estimate(self, others: Sequence[str] = ("knn",), graph: Callable[[str], CellGraph] | None = None):
        """The estimator of held-out genes that evaluates these methods."""
        files = self.files(others)
        members, rest = ([file for file in files if (file.method == "gimvi") == want] for want in (True, False))
        return HeldOutEstimate(members, rest, graph, self.truth.scored)

    def choose(self, *follows, others: Sequence[str] = ("knn",), blend=OTHERS, graph=None) -> Outcome:
        """Choose and score, with these predictions, of which those named by `blend` may take a share."""
        truth = MadeTruth(self.counts(*follows), self.truth.total, self.fold) if follows else self.truth
        kappa = choose_kappas([one for one in self.members if one.place == 0], truth)
        return Outcome(kappa, evaluate(self.files(others), kappa.kappa, kappa.by_fold, truth, blend, graph))

    def ensemble(self, kappa: float) -> Sequence[Predictions]:
        """The places at this kappa."""
        return [one for one in self.members if one.kappa == kappa]
