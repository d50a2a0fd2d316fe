"""Scores of predicted genes against measured counts, vectorized over genes.

Every function takes arrays of shape (n_cells, n_genes) and gives an array of shape (n_genes,). Correlations
with a constant vector are undefined and count as 0, as a prediction that says nothing; the error scores say at
each function what they make of one.

The benchmark scores (Pearson, SSIM, RMSE of z-scores, Jensen-Shannon) are those of Li et al. 2022, Nature
Methods 19:662-670, doi 10.1038/s41592-022-01480-9, section "Evaluation metrics" and its released code.
"""

from collections.abc import Callable

import numpy as np
import pandas as pd
import scipy.sparse as sp
from scipy.spatial import cKDTree
from scipy.special import rel_entr
from scipy.stats import rankdata

#: Stabilizers of the structural similarity: (0.01 L)² and (0.03 L)² for data of range L = 1.
SSIM_C1, SSIM_C2 = 0.01**2, 0.03**2

#: Cells × genes handled at once; the working memory is a few arrays of this size.
BLOCK_FLOATS = 2_000_000


def pearson(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Pearson correlation per column; 0 where a column is constant."""
    x, y = _center(x), _center(y)
    norm = np.sqrt((x * x).sum(axis=0) * (y * y).sum(axis=0))
    return np.divide((x * y).sum(axis=0), norm, out=np.zeros(x.shape[1]), where=norm > 0)


def spearman(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Spearman correlation per column: Pearson of average ranks; 0 where a column is constant."""
    return pearson(rankdata(x, axis=0), rankdata(y, axis=0))


def spearman_partial(x: np.ndarray, y: np.ndarray, given: np.ndarray) -> np.ndarray:
    """Rank partial correlation of x and y given variables of the cells, shape (n_cells,) or (n_cells, n_given).

    The correlation of what linear regression on the ranks of `given` leaves of the ranks of x and y; given one g,
    (r_xy - r_xg r_yg) / sqrt((1 - r_xg²)(1 - r_yg²)) of Spearman correlations. 0 where x or y is constant or its
    ranks follow from those of `given`.
    """
    return partial_scorer(x, given)(y)


def partial_scorer(x: np.ndarray, given: np.ndarray) -> Callable[[np.ndarray], np.ndarray]:
    """:func:`spearman_partial` as a function of y, for many of them."""
    x = _center(rankdata(x, axis=0))
    axes, length, _ = np.linalg.svd(_center(rankdata(given.reshape(len(x), -1), axis=0)), full_matrices=False)
    axes = axes[:, length > 1e-9 * len(x)]
    rest_x = x - axes @ (axes.T @ x)
    whole_x, left_x = (x**2).sum(axis=0), (rest_x**2).sum(axis=0)

    def score(y: np.ndarray) -> np.ndarray:
        y = _center(rankdata(y, axis=0))
        rest_y = y - axes @ (axes.T @ y)
        left = left_x * (rest_y**2).sum(axis=0)
        enough = left > 1e-12 * whole_x * (y**2).sum(axis=0)
        return np.divide((rest_x * rest_y).sum(axis=0), np.sqrt(left), out=np.zeros(len(left)), where=enough)

    return score


def rmse_z(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Root mean squared difference of z-scored columns (population sd); a constant column is all zeros."""
    return np.sqrt(np.mean((_z(x) - _z(y)) ** 2, axis=0))


def ssim(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Structural similarity over the whole gene (one window), each column first divided by its maximum.

    (2 μx μy + C1)(2 σxy + C2) / ((μx² + μy² + C1)(σx² + σy² + C2)), C1 = 0.01², C2 = 0.03², population
    moments; 1 is best. A column whose maximum is 0 stays 0.
    """
    x, y = _divide(x, x.max(axis=0)), _divide(y, y.max(axis=0))
    mean_x, mean_y = x.mean(axis=0), y.mean(axis=0)
    covariance = ((x - mean_x) * (y - mean_y)).mean(axis=0)
    above = (2 * mean_x * mean_y + SSIM_C1) * (2 * covariance + SSIM_C2)
    return above / ((mean_x**2 + mean_y**2 + SSIM_C1) * (x.var(axis=0) + y.var(axis=0) + SSIM_C2))


def jsd(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Jensen-Shannon divergence (natural logarithm, 0 to log 2) of columns taken as distributions over cells.

    A column without any value has no distribution; it is as far as can be (log 2) from one that has, and 0
    from another without.
    """
    sum_x, sum_y = x.sum(axis=0), y.sum(axis=0)
    p, q = _divide(x, sum_x), _divide(y, sum_y)
    middle = (p + q) / 2
    divergence = (rel_entr(p, middle).sum(axis=0) + rel_entr(q, middle).sum(axis=0)) / 2
    return np.where((sum_x > 0) == (sum_y > 0), divergence, np.log(2))


def promised(counts: np.ndarray, expected: np.ndarray, total: np.ndarray) -> np.ndarray:
    """The correlation given the total that counts would have with the prediction if it were true.

    That of Poisson counts whose means are `expected`, brought to the counts' own mean: sqrt(V / (V + m)), with their
    mean m and the variance V that they have at a given total; 0 for a prediction that follows from the total.
    """
    expected = expected * _divide(counts.mean(axis=0), expected.mean(axis=0))
    centered, of_total = _center(expected), _center(np.asarray(total, dtype=np.float64)[:, None])
    slope = (of_total * centered).sum(axis=0) / max((of_total**2).sum(), 1e-12)
    variance = ((centered - of_total * slope) ** 2).mean(axis=0)
    return np.sqrt(_divide(variance, variance + expected.mean(axis=0)))


def score_genes(counts: np.ndarray, prediction: np.ndarray, total: np.ndarray) -> pd.DataFrame:
    """All scores of each gene, with the one treatment of library size that every method gets.

    Parameters
    ----------
    counts : shape (n_cells, n_genes); measured raw counts of held-out genes
    prediction : shape (n_cells, n_genes); predicted frequencies, without the library size
    total : shape (n_cells,); counts of the panel genes in use, positive

    Returns
    -------
    DataFrame, one row per gene: `n_cells`, `detected` (cells with a count), `promised` by the prediction of itself;
    `spearman`, `pearson`, `rmse_z`, `ssim`, `jsd` of counts against prediction × total, `spearman_fraction` of counts /
    total against the prediction, `spearman_partial` of counts and prediction given the total.
    """
    total = np.asarray(total, dtype=np.float64)
    parts, width = [], _genes_at_once(len(total))
    for start in range(0, counts.shape[1], width):
        columns = slice(start, start + width)
        x = np.asarray(counts[:, columns], dtype=np.float64)
        y = np.asarray(prediction[:, columns], dtype=np.float64)
        expected = y * total[:, None]
        part = {
            "n_cells": len(x),
            "detected": (x > 0).sum(axis=0),
            "promised": promised(x, expected, total),
            "spearman": spearman(x, expected),
            "spearman_fraction": spearman(x / total[:, None], y),
            "spearman_partial": spearman_partial(x, y, total),
            "pearson": pearson(x, expected),
            "rmse_z": rmse_z(x, expected),
            "ssim": ssim(x, expected),
            "jsd": jsd(x, expected),
        }
        parts.append(pd.DataFrame(part))
    return pd.concat(parts, ignore_index=True)


def moran_i(values: np.ndarray, coords: np.ndarray, k: int = 6) -> np.ndarray:
    """Moran's I of each column over the graph of k nearest neighbors, each cell's weights summing to one.

    I = Σᵢⱼ wᵢⱼ (xᵢ - x̄)(xⱼ - x̄) / Σᵢ (xᵢ - x̄)²; 0 where a column is constant.
    Moran 1950, doi 10.2307/2332142.

    Parameters
    ----------
    values : shape (n_cells, n_genes), dense or sparse
    coords : shape (n_cells, 2 or 3)
    """
    n = len(coords)
    k = min(k, n - 1)
    if k < 1:
        return np.zeros(values.shape[1])
    nearest = cKDTree(coords).query(coords, k + 1)[1]
    # A cell is not its own neighbor, also where cells lie at one place and it does not come first.
    own = nearest == np.arange(n)[:, None]
    own[~own.any(axis=1), -1] = True
    graph = sp.csr_matrix((np.full(n * k, 1 / k), nearest[~own], np.arange(0, n * k + 1, k)), shape=(n, n))
    values = values.tocsc() if sp.issparse(values) else values
    out, width = [], _genes_at_once(n)
    for start in range(0, values.shape[1], width):
        chunk = values[:, start : start + width]
        x = _center(chunk.toarray() if sp.issparse(chunk) else chunk)
        square = (x * x).sum(axis=0)
        cross = (x * (graph @ x)).sum(axis=0)
        out.append(np.divide(cross, square, out=np.zeros_like(cross), where=square > 0))
    return np.concatenate(out) if out else np.zeros(0)


def _genes_at_once(n_cells: int) -> int:
    return max(1, BLOCK_FLOATS // n_cells)


def _center(x: np.ndarray) -> np.ndarray:
    """Columns without their mean; exactly zero where a column is constant, however its mean is rounded."""
    x = np.asarray(x, dtype=np.float64)
    return np.where(x.min(axis=0) == x.max(axis=0), 0.0, x - x.mean(axis=0))


def _z(x: np.ndarray) -> np.ndarray:
    centered = _center(x)
    return _divide(centered, centered.std(axis=0))


def _divide(x: np.ndarray, by: np.ndarray) -> np.ndarray:
    return np.divide(x, by, out=np.zeros(x.shape), where=by > 0)
