"""What was measured of the held-out genes, fold by fold, in the cells that are scored."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from spatialimpute.evaluation.metrics import partial_scorer, spearman_partial
from spatialimpute.files.inputs import SampleInputs
from spatialimpute.folds import cell_totals, fold_of, held_out_genes, scored_cells


@dataclass(frozen=True)
class FoldTruth:
    """The held-out genes of one fold, in the scored cells that have counts on the genes in use.

    Attributes
    ----------
    genes : (H,), held out
    known : (n_scored,) bool, which of the scored cells these are: predictions have a row for every scored cell
    counts : (n, H) float64, measured
    total : (n,), each cell's counts over the genes in use
    n_detected : (n,), how many of them were detected
    """

    genes: np.ndarray
    known: np.ndarray
    counts: np.ndarray
    total: np.ndarray
    n_detected: np.ndarray

    def partial(self, mean: np.ndarray, given_detected: bool = False) -> np.ndarray:
        """Partial Spearman of a prediction (n_scored, H) per gene, given the total.

        With `given_detected`, given both the total and the number of genes detected. A few high genes make up most
        of a total, so it is a poor measure of a cell's depth, and a model that finds a better one scores on every
        gene, knowing nothing of it.
        """
        given = np.stack([self.total, self.n_detected], axis=1) if given_detected else self.total
        return spearman_partial(self.counts, mean[self.known], given)

    def scorer(self, cells: np.ndarray, genes: np.ndarray) -> Callable[[np.ndarray], np.ndarray]:
        """The partial score, given the total, of predictions of some genes in some of the known cells (indices)."""
        return partial_scorer(self.counts[np.ix_(cells, genes)], self.total[cells])


class Truth:
    """The truth of every held-out gene; counts of one fold at a time are dense.

    Attributes
    ----------
    scored, cells : (n_scored,) the scored cells, as indices among all and by name
    genes, fold : (H,), all held-out genes and the fold of each: the columns of predictions
    """

    def __init__(self, inputs: SampleInputs):
        self.gene_sets = inputs.gene_sets
        self.scored = scored_cells(self.gene_sets, inputs.n_cells)
        self._spatial = inputs.spatial(self.scored)
        self.cells = self._spatial.cells
        self.genes, self.fold = held_out_genes(self.gene_sets)
        self._last: tuple[str, FoldTruth] | None = None

    @property
    def folds(self) -> list[str]:
        """Names of the folds, in the order of the genes."""
        return list(self.gene_sets.folds)

    def of(self, name: str) -> FoldTruth:
        """The truth of one fold; that of the last one asked for is kept."""
        if self._last is None or self._last[0] != name:
            self._last = name, self._make(name)
        return self._last[1]

    def _make(self, name: str) -> FoldTruth:
        fold = fold_of(self.gene_sets, name)
        in_use = self._spatial.select(fold.in_use)
        total = cell_totals(in_use)
        known = total > 0
        counts = self._spatial.select(fold.held_out)[known].toarray().astype(np.float64)
        return FoldTruth(np.array(fold.held_out), known, counts, total[known], (in_use > 0).getnnz(axis=1)[known])
