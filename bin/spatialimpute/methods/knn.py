"""Cosine nearest neighbors on the panel: a spatial cell gets the mean expression of its reference cells."""

from collections.abc import Mapping, Sequence

import numpy as np
import scipy.sparse as sp

from spatialimpute.folds import blocks
from spatialimpute.methods.base import Component, SpatialView
from spatialimpute.methods.reference_pool import ReferencePool
from spatialimpute.normalize import ZScore

#: Neighbors whose mean is taken.
K = 50
#: Spatial cells whose neighbors are looked up at once; the search itself needs no cells × cells array.
CHUNK = 16_384
#: Spatial cells from which the use of reference cells is estimated, where there are more.
MAX_QUERY_CELLS = 20_000


class Neighbors:
    """Nearest reference cells in the panel space, where each dataset is standardized by itself.

    Parameters
    ----------
    references : csr_matrix each, shape (n, P); raw counts, genes in use
    scale : the spatial cells' normalization
    """

    def __init__(self, references: Sequence[sp.csr_matrix], scale: ZScore, k: int = K):
        from sklearn.neighbors import NearestNeighbors

        reference = np.concatenate([ZScore.fit(X).unit(X) for X in references])
        self._scale = scale
        # Between unit vectors the Euclidean order is the cosine order, and its search is the faster one.
        self._search = NearestNeighbors(n_neighbors=min(k, len(reference)), algorithm="brute").fit(reference)

    def of(self, spatial: sp.csr_matrix) -> np.ndarray:
        """Indices into the stacked references, int (n, k), nearest first."""
        chunks = [
            self._search.kneighbors(self._scale.unit(spatial[chunk]), return_distance=False)
            for chunk in blocks(spatial.shape[0], CHUNK)
        ]
        return np.concatenate(chunks) if chunks else np.empty((0, self._search.n_neighbors), dtype=np.int64)


def neighbors(reference: sp.csr_matrix, spatial: sp.csr_matrix, k: int = K) -> np.ndarray:
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
    return kept[Neighbors([reference[kept]], ZScore.fit(spatial), k).of(spatial)]


def query_cells(n: int) -> slice:
    """Evenly spaced cells of n from which the use of reference cells is estimated, MAX_QUERY_CELLS to twice as many."""
    return slice(None, None, max(1, n // MAX_QUERY_CELLS))


def usage_weights(reference: sp.csr_matrix, spatial: sp.csr_matrix) -> np.ndarray:
    """What each reference cell counts: half uniform, half by how often it is a neighbor of spatial cells.

    0.5 + 0.5 min(c / mean c, 10), where c is how often a cell is among the K nearest neighbors of the spatial cells.

    Parameters
    ----------
    reference, spatial : csr_matrix, shapes (n_reference, P) and (n_spatial, P); raw counts, genes in use

    Returns
    -------
    float64 array, shape (n_reference,)
    """
    nearest = neighbors(reference, spatial)
    use = np.bincount(nearest.ravel(), minlength=reference.shape[0])
    return 0.5 + 0.5 * np.minimum(use / use.mean(), 10)


class KNN(Component):
    """Mean expression of the k nearest reference cells.

    The neighbors are those on which SpaGE (Abdelaal 2020, doi 10.1093/nar/gkaa740) and Seurat build, without
    their learned projection.
    """

    name = "knn"

    def __init__(self, k: int = K):
        self.k = k

    def learn(self, view: SpatialView) -> dict[str, np.ndarray]:
        return ZScore.fit(view.counts).as_arrays()

    def restore(self, learned: Mapping[str, np.ndarray], genes_in_use: Sequence[str]) -> None:
        self._pool = ReferencePool(self.references, genes_in_use)
        self._neighbors = Neighbors(self._pool.in_use, ZScore.from_arrays(learned), self.k)

    def estimate(self, counts: sp.csr_matrix, genes: Sequence[str]) -> np.ndarray:
        nearest = self._neighbors.of(counts)
        n, k = nearest.shape
        weights = sp.csr_matrix(
            (np.ones(n * k, dtype=np.float32), nearest.ravel(), np.arange(0, n * k + 1, k)),
            shape=(n, self._pool.n_cells),
        )
        return self._pool.average(weights, genes)
