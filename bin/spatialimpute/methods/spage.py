"""SpaGE (Abdelaal et al. 2020, Nucleic Acids Research, doi:10.1093/nar/gkaa740), written from the paper.

Both sides are depth-normalized, log1p, z-scored per gene. Of the principal components of each on the genes in use,
principal vectors are taken by the singular value decomposition of their cosine similarities (PRECISE, Mourragui et
al. 2019, doi:10.1093/bioinformatics/btz372); those of a similarity above 0.3 are kept, and both sides are projected
on the reference's. A spatial cell gets the weighted mean of its 50 nearest reference cells by cosine.
"""

from collections.abc import Sequence

import numpy as np
import scipy.sparse as sp
from sklearn.neighbors import NearestNeighbors

from spatialimpute.folds import blocks
from spatialimpute.methods.base import BLOCK, MethodByFold, SpatialView
from spatialimpute.methods.reference_pool import ReferencePool
from spatialimpute.normalize import ZScore

K = 50
MIN_SIMILARITY = 0.3
#: At most so many principal vectors, and at most so large a share of the genes in use: near the paper's 30 of 33.
MAX_VECTORS, VECTOR_SHARE = 50, 0.9


class SpaGE(MethodByFold):
    """Neighbors in the space of the principal vectors that both sides share."""

    name = "spage"

    def fit(self, view: SpatialView) -> None:
        self._counts, self._scale = view.counts, ZScore.fit(view.counts)
        self._pool = ReferencePool(self.references, view.genes)
        scales = [ZScore.fit(X) for X in self._pool.in_use]
        reference = np.concatenate([scale.transform(X) for scale, X in zip(scales, self._pool.in_use, strict=True)])
        n = min(MAX_VECTORS, max(1, int(VECTOR_SHARE * len(view.genes))))
        self._vectors = principal_vectors(components([reference], n), components(self._spatial_blocks(), n))
        self._search = NearestNeighbors(n_neighbors=min(K, len(reference)), metric="cosine", algorithm="brute")
        self._search.fit(reference @ self._vectors)

    def _spatial_blocks(self):
        for block in blocks(self._counts.shape[0], BLOCK):
            yield self._scale.transform(self._counts[block])

    def predict(self, cells: np.ndarray, genes: Sequence[str]) -> np.ndarray:
        projected = self._scale.transform(self._counts[cells]) @ self._vectors
        distances, nearest = self._search.kneighbors(projected)
        weights = neighbor_weights(distances)
        n, k = nearest.shape
        indptr = np.arange(0, n * k + 1, k)
        weights = sp.csr_matrix((weights.ravel(), nearest.ravel(), indptr), shape=(n, self._pool.n_cells))
        return self._pool.average(weights, genes)


def components(parts, n: int) -> np.ndarray:
    """The first `n` principal components (n, n_genes) of z-scores, given in blocks of cells."""
    product = sum(part.T @ part for part in parts)
    return np.linalg.eigh(product)[1][:, ::-1].T[:n]


def principal_vectors(reference: np.ndarray, spatial: np.ndarray) -> np.ndarray:
    """The reference's principal vectors (n_genes, v) whose similarity to the spatial side's is above MIN_SIMILARITY.

    At least one, so that there is a space to look for neighbors in.
    """
    rotation, similarities, _ = np.linalg.svd(reference @ spatial.T)
    return reference.T @ rotation[:, : max(1, np.count_nonzero(similarities > MIN_SIMILARITY))]


def neighbor_weights(distances: np.ndarray) -> np.ndarray:
    """Weights of neighbors by cosine distance (n, k): those at a right angle or beyond have no say, the others 1 minus
    their share of the summed distances (the paper's equation 4), rows summing to one where any has a say."""
    near = distances < 1
    distances = np.where(near, distances, 0)
    share = distances / np.maximum(distances.sum(axis=1, keepdims=True), 1e-12)
    weights = np.where(near, 1 - share, 0)
    return weights / np.maximum(weights.sum(axis=1, keepdims=True), 1e-12)
