"""Find the raw counts in a file that may hold several matrices, and refuse what is not raw counts."""

import anndata as ad
import numpy as np
import pandas as pd
import scipy.sparse as sp

from spatialimpute.errors import InputError
from spatialimpute.sources.matrix import to_csr

#: Largest integer up to which float32 holds every integer.
MAX_COUNT = 1 << 24
_BLOCK = 1 << 22


def find_raw_counts(data: ad.AnnData, source: str) -> tuple[sp.csr_matrix, pd.DataFrame, str]:
    """The first of `X`, `layers['counts']` and `raw` that holds non-negative integers.

    Returns
    -------
    X : csr_matrix, float32, shape (n_cells, n_genes), canonical (sorted, no stored zeros)
    var : its genes; where : "X", "layers['counts']" or "raw"

    Raises
    ------
    InputError
        None does; the message names the first offending cell and gene of each.
    """
    candidates = [("X", data.X, data.var), ("layers['counts']", data.layers.get("counts"), data.var)]
    candidates.append(("raw", None, None) if data.raw is None else ("raw", data.raw.X, data.raw.var))
    complaints = []
    for where, matrix, var in candidates:
        if matrix is None:
            complaints.append(f"{where}: absent")
            continue
        matrix = to_csr(matrix)
        complaint = _complaint(matrix, data.obs_names, var.index)
        if complaint is None:
            matrix = matrix.astype(np.float32)
            matrix.sum_duplicates()
            matrix.eliminate_zeros()
            return matrix, var, where
        complaints.append(f"{where}: {complaint}")
    raise InputError(
        f"{source}: no raw counts found. {'; '.join(complaints)}. Expected non-negative whole numbers in X, "
        "layers['counts'] or raw; give the file as counted by the assay, before any normalization"
    )


def _complaint(x: sp.csr_matrix, cells: pd.Index, genes: pd.Index) -> str | None:
    """What keeps the matrix from being raw counts, or None."""
    if 0 in x.shape:
        return f"empty ({x.shape[0]} cells x {x.shape[1]} genes)"
    if not x.data.any():
        return "all counts are zero"
    for start in range(0, x.data.size, _BLOCK):
        block = x.data[start : start + _BLOCK]
        with np.errstate(invalid="ignore"):
            good = (block >= 0) & (block <= MAX_COUNT) & (block == np.rint(block))
        if not good.all():
            position = start + int(np.argmin(good))
            cell = cells[np.searchsorted(x.indptr, position, side="right") - 1]
            gene, judgment = genes[x.indices[position]], _judge(x.data[position], x)
            return f"gene {str(gene)!r}, cell {str(cell)!r} holds {judgment}"
    return None


def _judge(value, x: sp.csr_matrix) -> str:
    value = float(value)
    if not np.isfinite(value):
        return f"{value}, not a number"
    if value < 0:
        return f"{value:g}, a negative value (scaled or background-subtracted data?)"
    if value > MAX_COUNT:
        return f"{value:.0f}, more than the {MAX_COUNT:,} a count can be (intensities?)"
    hint = "log-transformed" if x.data.max() < 20 else "normalized"
    return f"{value:g}, not a whole number ({hint} data?)"
