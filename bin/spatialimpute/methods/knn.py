"""Cosine nearest neighbors on the panel: a spatial cell gets the mean expression of its reference cells."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import scipy.sparse as sp

from spatialimpute.files.counts import Counts
from spatialimpute.methods.base import Baseline, ReferencePool

#: Spatial cells whose neighbors are looked up at once; the search itself needs no cells × cells array.
CHUNK = 16384


@dataclass
class PanelScale:
    """The panel space of one dataset: depth-normalized, log1p, z-scored per gene, of unit length per cell.

    Attributes
    ----------
    depth : the dataset's median panel total, to which every cell is normalized
    mean, sd : float arrays, shape (n_genes,), of the log expression; sd is 1 where a gene is constant
    """

    depth: float
    mean: np.ndarray
    sd: np.ndarray

    @classmethod
    def fit(cls, X: sp.csr_matrix) -> "PanelScale":
        """Statistics over the cells of X (n_cells, n_genes) that have at least one count."""
        total = np.asarray(X.sum(axis=1)).ravel()
        X = X[total > 0]
        depth = float(np.median(total[total > 0])) if X.shape[0] else 1.0
        log = log_normalize(X, depth)
        mean = np.asarray(log.sum(axis=0, dtype=np.float64)).ravel() / max(X.shape[0], 1)
        square = np.asarray(log.multiply(log).sum(axis=0, dtype=np.float64)).ravel() / max(X.shape[0], 1)
        variance = square - mean**2
        return cls(depth, mean, np.sqrt(np.where(variance > 1e-10, variance, 1.0)))

    def transform(self, X: sp.csr_matrix) -> np.ndarray:
        """Unit vectors, float32 (n, n_genes): their inner product is the cosine similarity."""
        scaled = (log_normalize(X, self.depth).toarray() - self.mean) / self.sd
        length = np.linalg.norm(scaled, axis=1, keepdims=True)
        return (scaled / np.maximum(length, 1e-12)).astype(np.float32)


def log_normalize(X: sp.csr_matrix, depth: float) -> sp.csr_matrix:
    """log1p of counts scaled to `depth` per cell; cells without counts stay zero."""
    total = np.asarray(X.sum(axis=1)).ravel()
    out = X.astype(np.float64)
    out.data = np.log1p(out.data * np.repeat(depth / np.maximum(total, 1), np.diff(X.indptr)))
    return out


class Neighbors:
    """Nearest reference cells in the panel space, where each dataset is standardized by itself."""

    def __init__(self, references: Sequence[sp.csr_matrix], spatial: sp.csr_matrix, k: int = 50):
        from sklearn.neighbors import NearestNeighbors

        reference = np.concatenate([PanelScale.fit(X).transform(X) for X in references])
        self._scale = PanelScale.fit(spatial)
        # Between unit vectors the Euclidean order is the cosine order, and its search is the faster one.
        self._search = NearestNeighbors(n_neighbors=min(k, len(reference)), algorithm="brute").fit(reference)

    def of(self, spatial: sp.csr_matrix) -> np.ndarray:
        """Indices into the stacked references, int (n, k), nearest first."""
        chunks = [
            self._search.kneighbors(self._scale.transform(spatial[start : start + CHUNK]), return_distance=False)
            for start in range(0, spatial.shape[0], CHUNK)
        ]
        return np.concatenate(chunks) if chunks else np.empty((0, self._search.n_neighbors), dtype=np.int64)


def neighbors(reference: sp.csr_matrix, spatial: sp.csr_matrix, k: int = 50) -> np.ndarray:
    """The k nearest reference cells of each spatial cell, by cosine in the panel space.

    Each side is normalized to its own median panel total, log1p, and z-scored per gene within the dataset.

    Parameters
    ----------
    reference, spatial : csr_matrix, shapes (n_reference, P) and (n_spatial, P); raw counts, genes in use

    Returns
    -------
    int array, shape (n_spatial, min(k, reference cells with counts)): rows of `reference`, nearest first
    """
    kept = np.flatnonzero(np.asarray(reference.sum(axis=1)).ravel())
    return kept[Neighbors([reference[kept]], spatial, k).of(spatial)]


class KNN(Baseline):
    """Mean expression of the k nearest reference cells.

    The neighbors are those on which SpaGE (Abdelaal 2020, doi 10.1093/nar/gkaa740) and Seurat build, without
    their learned projection.
    """

    name = "knn"

    def __init__(self, k: int = 50):
        self.k = k

    def fit(self, references: Sequence[Counts], spatial: sp.csr_matrix, genes_in_use: Sequence[str]) -> "KNN":
        self._pool = ReferencePool(references, genes_in_use)
        self._neighbors = Neighbors(self._pool.in_use, spatial, self.k)
        return self

    def predict(self, genes: Sequence[str], spatial: sp.csr_matrix) -> np.ndarray:
        nearest = self._neighbors.of(spatial)
        n, k = nearest.shape
        weights = sp.csr_matrix(
            (np.ones(n * k, dtype=np.float32), nearest.ravel(), np.arange(0, n * k + 1, k)),
            shape=(n, self._pool.n_cells),
        )
        return self._pool.average(weights, genes)
