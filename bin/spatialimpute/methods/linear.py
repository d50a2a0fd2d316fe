"""Ridge regression, learned on the reference, from the panel genes in use to every other gene."""

from collections.abc import Mapping, Sequence

import numpy as np
import scipy.sparse as sp

from spatialimpute.folds import blocks
from spatialimpute.methods.base import Component, SpatialView
from spatialimpute.methods.knn import query_cells, usage_weights
from spatialimpute.methods.reference_pool import ReferencePool
from spatialimpute.normalize import ZScore

#: Penalty beside a covariance matrix whose diagonal is 1 (weights of cells sum to 1).
RIDGE = 0.5
#: Slope of the log frequency in the standardized prediction.
SLOPE = 0.5
#: Cells that are dense at once.
BLOCK_CELLS = 8192


class Linear(Component):
    """Weighted ridge regression of standardized log expression on that of the panel genes in use.

    With B the reference's panel, T its log1p depth-normalized expression, both z-scored with the weights w of its
    cells (:func:`spatialimpute.methods.knn.usage_weights`, summing to 1), and A the spatial cells' panel z-scored
    within them:

        W = (Bᵀ w B + λ I)⁻¹ Bᵀ w T,    frequency_g = f_g exp(½ (A W)_g / sd (A W)_g - ⅛),

    f_g being the gene's frequency in the reference; the last term makes f_g the mean for normal A W. Hoerl & Kennard
    1970, doi:10.1080/00401706.1970.10488634. Of several references each is z-scored by itself, and a gene is learned
    from those that measure it.
    """

    name = "linear"

    def learn(self, view: SpatialView) -> dict[str, np.ndarray]:
        scale = ZScore.fit(view.counts)
        covariance = sum(
            _dense_product(view.counts[block], scale) for block in blocks(view.counts.shape[0], BLOCK_CELLS)
        )
        query = view.counts[query_cells(view.counts.shape[0])]
        weights = [
            usage_weights(in_use, query)
            for in_use in ReferencePool(self.references, view.genes).in_use
            if in_use.shape[0]
        ]
        return scale.as_arrays() | {
            "covariance": (covariance / view.counts.shape[0]).astype(np.float32),
            "usage": np.concatenate(weights).astype(np.float32),
        }

    def restore(self, learned: Mapping[str, np.ndarray], genes_in_use: Sequence[str]) -> None:
        self._pool = ReferencePool(self.references, genes_in_use)
        self._scale = ZScore.from_arrays(learned)
        self._covariance, self._usage = learned["covariance"], learned["usage"].astype(np.float64)
        self._cached: tuple[tuple[str, ...], np.ndarray, np.ndarray] | None = None

    def estimate(self, counts: sp.csr_matrix, genes: Sequence[str]) -> np.ndarray:
        coefficients, frequency = self._solved(tuple(genes))
        out = self._scale.transform(counts).astype(np.float32) @ coefficients
        return np.exp(out, out=out) * frequency

    def _solved(self, genes: tuple[str, ...]) -> tuple[np.ndarray, np.ndarray]:
        """½ W / sd (A W), (n_in_use, G), and f_g exp(-⅛), (G,); the last answer is kept."""
        if self._cached is None or self._cached[0] != genes:
            W = self._regress(genes)
            sd = np.sqrt(np.maximum(np.einsum("ig,ij,jg->g", W, self._covariance, W, optimize=True), 0))
            scaled = np.divide(SLOPE * W, sd, out=np.zeros_like(W), where=sd > 1e-9)
            frequency = self._pool.frequency(genes) * np.exp(-(SLOPE**2) / 2)
            self._cached = genes, scaled.astype(np.float32), frequency.astype(np.float32)
        return self._cached[1:]

    def _regress(self, genes: tuple[str, ...]) -> np.ndarray:
        """W, (n_in_use, G)."""
        measured = self._pool.measured(genes)
        products = [self._products(source, genes) for source in range(len(measured))]
        W = np.zeros((len(self._covariance), len(genes)))
        for pattern in np.unique(measured, axis=1).T:
            columns = (measured == pattern[:, None]).all(axis=0)
            used = [product for product, uses in zip(products, pattern, strict=True) if uses]
            share, gram = sum(one[0] for one in used), sum(one[1] for one in used)
            cross = sum(one[2][:, columns] for one in used)
            W[:, columns] = np.linalg.solve(gram / share + RIDGE * np.eye(len(gram)), cross / share)
        return W

    def _products(self, source: int, genes: tuple[str, ...]) -> tuple[float, np.ndarray, np.ndarray]:
        """Of one reference: the sum of its weights, Bᵀ w B, and Bᵀ w T."""
        weight = self._usage[self._pool.source == source]
        panel = self._pool.in_use[source]
        expression = self._pool.log_expression(genes)[self._pool.source == source].astype(np.float64)
        scale = ZScore.fit(panel, self._scale.depth, weight)
        gram, cross = np.zeros((panel.shape[1],) * 2), np.zeros((panel.shape[1], len(genes)))
        for block in blocks(panel.shape[0], BLOCK_CELLS):
            weighted = scale.transform(panel[block]) * np.sqrt(weight[block])[:, None]
            gram += weighted.T @ weighted
            cross += (expression[block].T @ (weighted * np.sqrt(weight[block])[:, None])).T
        share = weight.sum()
        mean = weight @ expression / max(share, 1e-12)
        variance = weight @ expression.power(2) / max(share, 1e-12) - mean**2
        # B has weighted mean 0, so that T need not be centered.
        return share, gram, np.divide(cross, np.sqrt(np.maximum(variance, 1e-10)))


def _dense_product(counts: sp.csr_matrix, scale: ZScore) -> np.ndarray:
    """Zᵀ Z of some cells' z-scores."""
    scaled = scale.transform(counts)
    return scaled.T @ scaled
