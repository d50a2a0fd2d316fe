"""Depth, log1p, z-score: the one way in which counts are normalized outside a model."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import scipy.sparse as sp


def log_normalize(X: sp.csr_matrix, depth: float, total: np.ndarray | None = None) -> sp.csr_matrix:
    """log1p of counts scaled to `depth` per cell; cells without counts stay zero.

    Parameters
    ----------
    X : csr_matrix, shape (n_cells, n_genes); raw counts
    depth : total that every cell is brought to
    total : (n_cells,), each cell's total; by default that of the columns of X

    Returns
    -------
    csr_matrix, float64
    """
    total = np.asarray(X.sum(axis=1)).ravel() if total is None else total
    factor = depth / np.maximum(total.astype(np.float64), 1)
    data = np.log1p(X.data * np.repeat(factor, np.diff(X.indptr)))
    return sp.csr_matrix((data, X.indices, X.indptr), shape=X.shape)


@dataclass(frozen=True)
class ZScore:
    """The panel space of one dataset: depth-normalized, log1p, z-scored per gene.

    Attributes
    ----------
    depth : the dataset's median panel total, to which every cell is normalized
    mean, sd : float arrays, shape (n_genes,), of the log expression; sd is 1 where a gene is constant
    """

    depth: float
    mean: np.ndarray
    sd: np.ndarray

    @classmethod
    def fit(cls, X: sp.csr_matrix, depth: float | None = None, weight: np.ndarray | None = None) -> "ZScore":
        """Statistics over the cells of X (n_cells, n_genes) that have at least one count.

        Parameters
        ----------
        depth : to normalize to; by default the median total of these cells
        weight : (n_cells,), what each cell counts; by default all the same
        """
        total = np.asarray(X.sum(axis=1)).ravel()
        if depth is None:
            depth = float(np.median(total[total > 0])) if (total > 0).any() else 1.0
        weight = np.where(total > 0, 1.0 if weight is None else weight, 0.0)
        weight /= max(weight.sum(), 1e-12)
        log = log_normalize(X, depth, total)
        mean = weight @ log
        log.data **= 2
        variance = weight @ log - mean**2
        return cls(depth, mean, np.sqrt(np.where(variance > 1e-10, variance, 1.0)))

    def as_arrays(self) -> dict[str, np.ndarray]:
        """Its three parts by name, as they are stored."""
        return {"depth": np.array(self.depth), "mean": self.mean, "sd": self.sd}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, np.ndarray]) -> "ZScore":
        """What :meth:`as_arrays` gave, among other arrays."""
        return cls(float(arrays["depth"]), arrays["mean"], arrays["sd"])

    def transform(self, X: sp.csr_matrix) -> np.ndarray:
        """Z-scores, float64 (n_cells, n_genes)."""
        return (log_normalize(X, self.depth).toarray() - self.mean) / self.sd

    def unit(self, X: sp.csr_matrix) -> np.ndarray:
        """Z-scores of unit length per cell, float32: their inner product is the cosine similarity."""
        scaled = self.transform(X)
        length = np.linalg.norm(scaled, axis=1, keepdims=True)
        return (scaled / np.maximum(length, 1e-12)).astype(np.float32)
