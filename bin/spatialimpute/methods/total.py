"""The panel total alone: what a cell's library size explains by itself."""

from collections.abc import Sequence

import numpy as np

from spatialimpute.methods.base import MethodByFold, SpatialView
from spatialimpute.methods.reference_pool import ReferencePool


class Total(MethodByFold):
    """The reference's mean frequency in every cell; times the panel total, it is the total alone."""

    name = "total"

    def fit(self, view: SpatialView) -> None:
        self._pool = ReferencePool(self.references, view.genes)

    def predict(self, cells: np.ndarray, genes: Sequence[str]) -> np.ndarray:
        return np.tile(self._pool.frequency(genes).astype(np.float32), (len(cells), 1))
