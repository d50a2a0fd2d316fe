"""The panel total alone: what a cell's library size explains by itself."""

from collections.abc import Sequence

import numpy as np
import scipy.sparse as sp

from spatialimpute.files.counts import Counts
from spatialimpute.methods.base import Baseline, ReferencePool


class Total(Baseline):
    """The reference's mean frequency in every cell; times the panel total, it is the total alone."""

    name = "total"

    def fit(self, references: Sequence[Counts], spatial: sp.csr_matrix, genes_in_use: Sequence[str]) -> "Total":
        self._pool = ReferencePool(references, genes_in_use)
        return self

    def predict(self, genes: Sequence[str], spatial: sp.csr_matrix) -> np.ndarray:
        return np.tile(self._pool.frequency(genes).astype(np.float32), (spatial.shape[0], 1))
