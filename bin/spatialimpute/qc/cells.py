"""Which cells repeat another one, and which are unlike the others."""

import numpy as np
import pandas as pd
import scipy.sparse as sp

#: A profile of at least this many genes and counts does not recur by chance: without coordinates, only such
#: cells are called duplicates (two cells of a 33-gene panel with one molecule each are not).
DISTINCTIVE_GENES, DISTINCTIVE_COUNTS = 5, 50


def find_duplicates(
    x: sp.csr_matrix, coords: np.ndarray | None, batch: pd.Series | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Cells that repeat an earlier cell exactly.

    Two cells are the same when counts of all genes *and* coordinates (and batch, if given) are equal. Counts
    alone would not do on a small gene_sets, where poor cells coincide by chance, nor place alone where slices
    share a grid. Without coordinates (references) counts must agree and be distinctive: at least
    :data:`DISTINCTIVE_GENES` genes and :data:`DISTINCTIVE_COUNTS` counts.

    Parameters
    ----------
    x : csr_matrix in canonical form, shape (n_cells, n_genes); coords : shape (n_cells, 2 or 3), or None

    Returns
    -------
    duplicate : boolean, shape (n_cells,); False for the first of each group
    elsewhere : boolean, shape (n_cells,): distinctive counts equal an earlier cell's, coordinates do not
    """
    same_counts = _repeats(x, pd.DataFrame(index=pd.RangeIndex(x.shape[0])))
    totals = np.asarray(x.sum(axis=1)).ravel()
    distinctive = (np.diff(x.indptr) >= DISTINCTIVE_GENES) & (totals >= DISTINCTIVE_COUNTS)
    if coords is None:
        return same_counts & distinctive, np.zeros(x.shape[0], bool)
    place = pd.DataFrame(np.asarray(coords))
    if batch is not None:
        place["batch"] = np.asarray(batch)
    duplicate = _repeats(x, place)
    return duplicate, same_counts & distinctive & ~duplicate


def _repeats(x: sp.csr_matrix, place: pd.DataFrame) -> np.ndarray:
    """Rows of `x` and `place` equal to an earlier row: grouped by a 64-bit hash, then compared exactly."""
    weights = np.random.default_rng(0).integers(0, 1 << 64, x.shape[1], dtype=np.uint64, endpoint=False)
    whole = sp.csr_matrix((x.data.astype(np.uint64), x.indices, x.indptr), shape=x.shape)
    keys = place.assign(hash=whole @ weights)
    group = keys.groupby(list(keys), sort=False, observed=True).ngroup().to_numpy()
    _, first = np.unique(group, return_index=True)
    earlier = first[group]
    candidates = np.flatnonzero(earlier != np.arange(len(group)))
    different = np.diff((x[candidates] != x[earlier[candidates]]).tocsr().indptr) > 0
    repeats = np.zeros(len(group), bool)
    repeats[candidates[~different]] = True
    return repeats


def find_outliers(obs: pd.DataFrame, max_mad: float) -> np.ndarray:
    """Cells whose log counts or log detected genes are off their batch's median by more than `max_mad` MADs.

    The median absolute deviation is not scaled, as in Germain et al. 2020 (doi:10.1186/s13059-020-02136-7),
    who take 5. A MAD of 0 calls no outlier.
    """
    outlier = np.zeros(len(obs), bool)
    if max_mad <= 0:
        return outlier
    batch = obs["batch"] if "batch" in obs else pd.Series("all", index=obs.index)
    for column in ("n_counts", "n_genes"):
        values = np.log1p(obs[column])
        deviation = (values - values.groupby(batch, observed=True).transform("median")).abs()
        mad = deviation.groupby(batch, observed=True).transform("median")
        outlier |= ((deviation > max_mad * mad) & (mad > 0)).to_numpy()
    return outlier
