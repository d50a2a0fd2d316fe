"""Matrices of counts as CSR, whatever they are stored as."""

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import scipy.sparse as sp

BLOCK_BYTES = 64 << 20


def to_csr(matrix) -> "sp.csr_matrix":
    """A matrix in memory or a dense HDF5 or zarr array as CSR; an array on disk is read by blocks of rows."""
    import scipy.sparse as sp

    if sp.issparse(matrix):
        # An index out of bounds would be read, and written, outside the matrix's memory.
        if hasattr(matrix, "check_format"):
            matrix.check_format(full_check=True)
        return sp.csr_matrix(matrix)
    if isinstance(matrix, np.ndarray):
        return sp.csr_matrix(np.atleast_2d(matrix))
    n_rows, n_columns = matrix.shape
    step = max(1, BLOCK_BYTES // max(1, n_columns * matrix.dtype.itemsize))
    blocks = [sp.csr_matrix(matrix[start : start + step]) for start in range(0, n_rows, step)]
    return sp.vstack(blocks, format="csr") if blocks else sp.csr_matrix(matrix.shape, dtype=np.float32)
