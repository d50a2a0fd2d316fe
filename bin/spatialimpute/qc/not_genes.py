"""Columns among the counts that are no genes: told by their name, or by what they hold where no file of the other side
has a gene of that name.

A tool that reads a table takes whatever is a number for counts, so such columns are in h5ad files as well. The number
of a cell, a field of view or a cluster is the largest "gene" of all: cells' counts would grow with it.
"""

import re
from collections.abc import Collection
from dataclasses import dataclass, field

import anndata as ad
import numpy as np
import scipy.sparse as sp

from spatialimpute.sources.matrix import to_csr
from spatialimpute.sources.metadata_names import is_metadata

#: Cells from which on what a column holds tells something.
FEWEST_CELLS = 20
#: Of a column's numbers that are no counts, and of columns that may be so in a matrix of counts.
MOST = 0.5
#: A gene that so few cells lack is looked at.
RARELY_ZERO = 0.3
#: Of rows where a column changes, if it numbers fields of view, slices or clusters of cells that lie together.
FEW_CHANGES = 0.05
#: Numbers of clusters or regions: so many at most, each of them used, and no cell without.
MOST_CODES = 60
FEWEST_CELLS_FOR_CODES = 100
#: Of all counts, on one column.
LARGE_SHARE = 0.5
N_NAMED = 10


@dataclass
class Suspects:
    """Positions of columns that are no genes, and of those that may be none, each with the reason."""

    certain: dict[int, str] = field(default_factory=dict)
    doubtful: dict[int, str] = field(default_factory=dict)


def find_suspects(x: sp.csr_matrix, names: np.ndarray, asked: np.ndarray) -> Suspects:
    """Judge columns by name and content.

    Parameters
    ----------
    x : whole numbers, shape (n_cells, n_features), canonical
    names : of its columns; asked : boolean, which of them to judge
    """
    found = Suspects()
    for i in np.flatnonzero(asked):
        if is_metadata(names[i]):
            found.certain[i] = "named as tools name what they say of cells"
        elif re.search(r"\s", names[i].strip()):
            found.certain[i] = "no gene's name has a space"
    n = x.shape[0]
    if n < FEWEST_CELLS:
        return found
    columns = x.tocsc()
    present, total = np.diff(columns.indptr), np.asarray(x.sum(axis=0, dtype=np.float64)).ravel()
    looked_at = asked & ((present >= RARELY_ZERO * n) | (total > LARGE_SHARE * total.sum()))
    by_content = Suspects()
    for i in np.flatnonzero(looked_at):
        values = columns[:, [i]].toarray().ravel()
        if certain := _is_no_count(values):
            by_content.certain[i] = certain
        elif doubt := _may_be_no_count(values, total[i] / max(total.sum(), 1)):
            by_content.doubtful[i] = doubt
    if len(by_content.certain) <= MOST * x.shape[1]:  # else all counts are odd, and none of them the odd one
        found.certain = by_content.certain | found.certain
    found.doubtful = {i: reason for i, reason in by_content.doubtful.items() if i not in found.certain}
    return found


def _is_no_count(values: np.ndarray) -> str | None:
    n, steps = len(values), np.diff(values)
    if not steps.any():
        return "the same number in all cells"
    if (steps == 1).mean() > 0.9 or values.max() - values.min() + 1 == n == len(np.unique(values)):
        return "it numbers the cells"
    changes = np.count_nonzero(steps)
    if (values > 0).mean() > MOST and (changes < FEW_CHANGES * n or (steps >= 0).all()):
        return "one number for many cells in a row, as of fields or slices"
    return None


def _may_be_no_count(values: np.ndarray, share: float) -> str | None:
    if share > LARGE_SHARE:
        return f"{share:.0%} of all counts"
    codes = np.unique(values)
    consecutive = codes[0] == 1 and codes[-1] == len(codes) <= MOST_CODES
    if len(values) >= FEWEST_CELLS_FOR_CODES and consecutive and len(codes) > 1:
        return f"whole numbers from 1 to {len(codes)} and no zero, as of clusters"
    return None


def measures_aside(raw: ad.AnnData) -> tuple[ad.AnnData, str | None]:
    """Columns of fractions or negative numbers among columns of counts (areas, depths, scores) become the cells' own.

    Nothing is changed where most columns are so: then the matrix as a whole holds no counts.

    Returns
    -------
    the data; what a report should say of it
    """
    if raw.X is None or raw.raw is not None or "counts" in raw.layers or raw.n_obs < FEWEST_CELLS:
        return raw, None
    x = to_csr(raw.X)
    with np.errstate(invalid="ignore"):
        odd = ~((x.data >= 0) & (x.data == np.rint(x.data)))
    n_odd = np.bincount(x.indices[odd], minlength=x.shape[1])
    present = np.bincount(x.indices, minlength=x.shape[1])
    aside = (n_odd > MOST * present) & (present > MOST * x.shape[0])
    if not aside.any() or (n_odd > 0).mean() > MOST:
        return raw, None
    names = raw.var_names[aside].astype(str)
    obs = raw.obs.assign(
        **{name: x[:, [i]].toarray().ravel() for name, i in zip(names, np.flatnonzero(aside), strict=True)}
    )
    raw.X = x
    raw = raw[:, ~aside].copy()
    raw.obs = obs
    return raw, f"{listed(names)}: not whole numbers, so columns of the cells and no genes"


def features_aside(
    x: sp.csr_matrix, names: np.ndarray, asked: np.ndarray, others: Collection[str] | None
) -> tuple[np.ndarray, list[str]]:
    """Which features are no genes, and what a report should say.

    Parameters
    ----------
    x, names, asked : as of :func:`find_suspects`
    others : names that no file of the other side knows: all others are genes, and of these the doubtful ones are not.
        None where that is unknown: doubtful ones are then kept

    Returns
    -------
    aside : positions, ascending; warnings : texts that name them
    """
    if others is not None:
        asked = asked & np.isin(names, list(others))
    suspects = find_suspects(x, names, asked)
    dropped = suspects.certain | (suspects.doubtful if others is not None else {})
    warnings = [f"{text}: not taken for genes" for text in _by_reason(names, dropped)]
    if others is None:
        warnings += [
            f"{text}: taken for genes all the same; remove them if they are none"
            for text in _by_reason(names, suspects.doubtful)
        ]
    return np.array(sorted(dropped), dtype=int), warnings


def _by_reason(names: np.ndarray, reasons: dict[int, str]) -> list[str]:
    return [
        f"{listed([names[i] for i in sorted(reasons) if reasons[i] == reason])} ({reason})"
        for reason in dict.fromkeys(reasons.values())
    ]


def listed(names: Collection[str]) -> str:
    """Names for a message, the first of many."""
    names = [repr(str(name)) for name in names]
    more = f" and {len(names) - N_NAMED} more" if len(names) > N_NAMED else ""
    return ("columns " if len(names) > 1 else "column ") + ", ".join(names[:N_NAMED]) + more
