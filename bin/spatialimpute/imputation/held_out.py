"""What cross-validation predicted of measured genes, beside what the final models, which saw their counts, say."""

from pathlib import Path

import numpy as np
import pandas as pd

from spatialimpute.files.counts import Counts
from spatialimpute.files.gene_sets import GeneSets
from spatialimpute.files.predictions import PredictionsFile
from spatialimpute.folds import in_use_mask, scored_cells
from spatialimpute.imputation.precision import to_mantissa


class WithoutOwnCount:
    """Expected counts of measured genes on the panel's depth, from all genes but those of their own fold.

    Parameters
    ----------
    path : EVALUATE's final prediction of the held-out genes, in the scored cells
    spatial : the cells to impute
    first : index of its first cell among all the sample's spatial cells

    Raises
    ------
    DamagedError
        The file is not what was written.
    """

    def __init__(self, path: str | Path, spatial: Counts, first: int, n_cells: int, gene_sets: GeneSets):
        self._file, self._first = PredictionsFile(path), first
        self._counts, self._n_genes = spatial.select(gene_sets.shared), len(gene_sets.targets)
        self._scored = scored_cells(gene_sets, n_cells)
        self._column = pd.Index(gene_sets.targets).get_indexer(self._file.genes)
        names, self._fold = np.unique(self._file.fold, return_inverse=True)
        #: (shared genes, folds), 1 where a gene is in use.
        self._in_use = np.stack([in_use_mask(gene_sets, name) for name in names], axis=1)

    def of(self, rows: slice) -> np.ndarray:
        """Of some rows of these cells, (B, targets) float32; NaN for other genes, and in cells that are not scored."""
        out = np.full((rows.stop - rows.start, self._n_genes), np.nan, dtype=np.float32)
        begin, end = np.searchsorted(self._scored, (rows.start + self._first, rows.stop + self._first))
        cells = self._scored[begin:end] - self._first
        frequency = self._file.read_rows(slice(int(begin), int(end)))
        totals = self._counts[cells] @ self._in_use.astype(np.float32)
        target = self._column >= 0
        expected = (frequency * totals[:, self._fold])[:, target].astype(np.float32)
        out[np.ix_(cells - rows.start, self._column[target])] = to_mantissa(expected)
        return out
