"""The interface of all methods. The base owns the loop over folds; most methods fill `prepare`, `fit`, `predict`."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import scipy.sparse as sp

from spatialimpute.errors import InputError
from spatialimpute.files.counts import Counts
from spatialimpute.files.inputs import SampleInputs
from spatialimpute.files.predictions import Predictions
from spatialimpute.folds import (
    Fold,
    all_folds,
    blocks,
    cell_totals,
    fold_columns,
    held_out_genes,
    scale_cells,
    scored_cells,
)

#: Spatial cells that are predicted at a time.
BLOCK = 16_384


@dataclass(frozen=True)
class SpatialView:
    """What a method may know of the spatial cells in one fold: there is physically nothing of a held-out gene in it.

    Attributes
    ----------
    counts : csr_matrix, shape (n_cells, n_in_use); raw counts of the cells that have any on the genes in use
    genes : the genes in use, its columns
    coords : (n_cells, 2 or 3), or None
    batch : (n_cells,) str, each cell's batch; one and the same where there are none
    panel_only : csr_matrix, shape (n_cells, n_only); raw counts of panel genes that a reference lacks, or None
    """

    counts: sp.csr_matrix
    genes: tuple[str, ...]
    coords: np.ndarray | None
    batch: np.ndarray
    panel_only: sp.csr_matrix | None = None

    @classmethod
    def of(
        cls, spatial: Counts, fold: Fold, panel_only: sp.csr_matrix | None = None
    ) -> tuple["SpatialView", np.ndarray]:
        """The view of one fold, and the indices of its cells among all spatial cells."""
        counts = spatial.select(fold.in_use)
        known = np.flatnonzero(cell_totals(counts))
        batch = (
            spatial.obs["batch"].astype(str).to_numpy() if "batch" in spatial.obs else np.full(len(spatial.cells), "")
        )
        coords = None if spatial.coords is None else spatial.coords[known]
        panel_only = None if panel_only is None else panel_only[known]
        return cls(counts[known], fold.in_use, coords, batch[known], panel_only), known


class Method(ABC):
    """A method that predicts genes in spatial cells from references.

    Predictions are frequencies: a gene's expected count divided by the cell's total over the genes in use, so that
    library size is in no method's prediction.
    """

    name: str

    @abstractmethod
    def predict_folds(self, inputs: SampleInputs, sample: str) -> list[Predictions]:
        """Every held-out gene in the scored cells, predicted without any spatial count of its fold.

        Returns
        -------
        one prediction or, of an ensemble, one per member; NaN where a cell has no counts on the fold's genes in use

        Raises
        ------
        InputError
            The gene sets have no folds.
        """


class MethodByFold(Method):
    """A method that learns each fold by itself."""

    def prepare(self, references: Sequence[Counts]) -> None:
        """What depends on the references alone, once per sample, before any fold.

        Parameters
        ----------
        references : raw counts of the modeled genes; each has all shared genes and `obs['depth']`
        """
        self.references = references

    @abstractmethod
    def fit(self, view: SpatialView) -> None:
        """Learn from the spatial cells of one fold, and fix every statistic of them that `predict` needs."""

    @abstractmethod
    def predict(self, cells: np.ndarray, genes: Sequence[str]) -> np.ndarray:
        """Frequencies of `genes` in some spatial cells, the same however they are cut into pieces.

        Parameters
        ----------
        cells : (n,) indices of cells of the view
        genes : genes that at least one reference has

        Returns
        -------
        float32 array, shape (n, len(genes)), non-negative and finite
        """

    def predict_folds(self, inputs: SampleInputs, sample: str) -> list[Predictions]:
        gene_sets, spatial = inputs.gene_sets, inputs.spatial()
        require_folds(sample, gene_sets)
        self.prepare(inputs.references())
        genes, fold_of = held_out_genes(gene_sets)
        scored = scored_cells(gene_sets, len(spatial.cells))
        mean = np.full((len(scored), len(genes)), np.nan, dtype=np.float32)
        columns = fold_columns(fold_of)
        for fold in all_folds(gene_sets):
            view, known = SpatialView.of(spatial, fold)
            self.fit(view)
            wanted, cells = np.isin(scored, known), np.flatnonzero(np.isin(known, scored))
            mean[wanted, columns[fold.name]] = self.predict_blocks(cells, fold.held_out)
        on_scale = np.isin(scored, scale_cells(gene_sets, len(spatial.cells)))
        return [
            Predictions(
                mean=mean,
                sd=None,
                cells=spatial.cells[scored],
                genes=genes,
                fold=fold_of,
                method=self.name,
                sample=sample,
                mean_frequency=mean_over_known(mean[on_scale]),
            )
        ]

    def predict_blocks(self, cells: np.ndarray, genes: Sequence[str]) -> np.ndarray:
        """As `predict`, of many cells."""
        out = np.empty((len(cells), len(genes)), dtype=np.float32)
        for block in blocks(len(cells), BLOCK):
            out[block] = self.predict(cells[block], genes)
        return out


class Component(MethodByFold):
    """A method that may take a share of the final estimate.

    What it learns from the spatial cells is a few arrays, which TRAIN stores, so that IMPUTE has the method again for
    any range of cells; all else follows from the references.
    """

    @abstractmethod
    def learn(self, view: SpatialView) -> dict[str, np.ndarray]:
        """Statistics of the spatial cells, arrays by name; scalars have shape ()."""

    @abstractmethod
    def restore(self, learned: Mapping[str, np.ndarray], genes_in_use: Sequence[str]) -> None:
        """Be as fitted, from what `learn` gave and the references."""

    @abstractmethod
    def estimate(self, counts: sp.csr_matrix, genes: Sequence[str]) -> np.ndarray:
        """As `predict`, for cells that are given by their counts of the genes in use, (n, n_in_use)."""

    def mean_frequency(self, counts: sp.csr_matrix, genes: Sequence[str]) -> np.ndarray:
        """Mean over cells of `estimate`, (len(genes),) float64, which takes a block of cells at a time."""
        parts = blocks(counts.shape[0], BLOCK)
        return sum(self.estimate(counts[part], genes).sum(axis=0, dtype=np.float64) for part in parts) / counts.shape[0]

    def fit(self, view: SpatialView) -> None:
        self._counts = view.counts
        self.restore(self.learn(view), view.genes)

    def predict(self, cells: np.ndarray, genes: Sequence[str]) -> np.ndarray:
        return self.estimate(self._counts[cells], genes)


def require_folds(sample: str, gene_sets) -> None:
    """Raise InputError where there is no held-out gene to predict."""
    if not gene_sets.folds:
        raise InputError(f"{sample}: the gene sets have no folds, so there is no held-out gene to predict or score")


def mean_over_known(values: np.ndarray) -> np.ndarray:
    """Mean per column over the cells that are known, float64; 0 where none is."""
    known = ~np.isnan(values)
    return np.where(known, values, 0).sum(axis=0, dtype=np.float64) / np.maximum(known.sum(axis=0), 1)
