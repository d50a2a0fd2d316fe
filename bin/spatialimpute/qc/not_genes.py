"""Columns among the counts that are no genes: told by their name, or by what they hold where no file of the other side
has a gene of that name.

A tool that reads a table takes whatever is a number for counts, so such columns are in h5ad files as well. The number
of a cell, a field of view or a cluster is the largest "gene" of all: cells' counts would grow with it.
"""

import re
from collections.abc import Callable, Collection, Iterator
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
#: Numbers of clusters or regions: so many at most, and where there is a 0, which counts have too, so many at least.
MOST_CODES, FEWEST_CODES_WITH_ZERO = 200, 4
#: Of the cells that each would have if all had as many, the last has so many at least.
LAST_CODE = 0.2
FEWEST_CELLS_FOR_CODES = 100
#: Of all counts, on one column: where no reference has a gene of that name, and where nothing is known of it; and so
#: many times as much as a column has on average.
LARGE_SHARE, LARGE_SHARE_UNKNOWN, TIMES_AVERAGE = 0.2, 0.5, 5
#: A column of such a share that rises and falls with all others is their sum: cells' total, written beside their genes.
SHARE_OF_SUM, LIKE_THE_SUM = 0.25, 0.98
N_NAMED = 10
#: Counts that are looked at in one go.
BLOCK = 1 << 22


@dataclass
class Suspects:
    """Positions of columns that are no genes, and of those that may be none, each with the reason."""

    certain: dict[int, str] = field(default_factory=dict)
    doubtful: dict[int, str] = field(default_factory=dict)


def find_suspects(x: sp.csr_matrix, names: np.ndarray, asked: np.ndarray, large_share: float = LARGE_SHARE) -> Suspects:
    """Judge columns by name and content.

    Parameters
    ----------
    x : whole numbers, shape (n_cells, n_features), canonical
    names : of its columns; asked : boolean, which of them to judge
    large_share : of all counts, that casts doubt on a column
    """
    found = Suspects()
    for i in np.flatnonzero(asked):
        if is_metadata(names[i]):
            found.certain[i] = "named as tools name what they say of cells"
        elif re.search(r"\s", names[i].strip()):
            found.doubtful[i] = "a space in the name"
    if x.shape[0] < FEWEST_CELLS or not asked.any():
        return found
    total = np.asarray(x.sum(axis=0, dtype=np.float64)).ravel()
    share = total / max(total.sum(), 1)
    large = max(large_share, TIMES_AVERAGE / x.shape[1])
    present = sum(np.bincount(x.indices[block], minlength=x.shape[1]) for block in _blocks(x.nnz))
    looked_at = np.flatnonzero(asked & ((present >= RARELY_ZERO * x.shape[0]) | (share > large)))
    by_content = Suspects()
    some, cells = x[:, looked_at], np.asarray(x.sum(axis=1, dtype=np.float64)).ravel()
    for i, column in zip(looked_at, _columns(some), strict=True):
        if certain := _is_no_count(column) or share[i] >= SHARE_OF_SUM and _is_sum(column, cells):
            by_content.certain[i] = certain
        elif share[i] > large:
            by_content.doubtful[i] = f"{share[i]:.0%} of all counts"
        elif doubt := _may_be_codes(column):
            by_content.doubtful[i] = doubt
    if len(by_content.certain) <= MOST * x.shape[1]:  # else all counts are odd, and none of them the odd one
        found.certain = by_content.certain | found.certain
    doubtful = found.doubtful | by_content.doubtful
    found.doubtful = {i: reason for i, reason in doubtful.items() if i not in found.certain}
    return found


@dataclass
class _Column:
    """What one pass over the rows says of a column; its values are taken out only if these do not tell."""

    n: int
    present: int
    largest: float
    changes: int
    ups_by_one: int
    downs: int
    values: Callable[[], np.ndarray]


def _columns(x: sp.csr_matrix) -> Iterator[_Column]:
    n, width = x.shape
    changes, ones, downs = np.zeros((3, width), dtype=np.int64)
    step = max(1, BLOCK // max(1, x.nnz // n))
    for start in range(0, n - 1, step):
        stop = min(start + step, n - 1)
        steps = sp.csr_matrix(x[start + 1 : stop + 1] - x[start:stop])
        steps.eliminate_zeros()
        for count, which in ((changes, slice(None)), (ones, steps.data == 1), (downs, steps.data < 0)):
            count += np.bincount(steps.indices[which], minlength=width)
    present, largest = x.getnnz(axis=0), x.max(axis=0).toarray().ravel()
    together = max(1, BLOCK * width // max(1, x.nnz))
    for start in range(0, width, together):
        some = x[:, start : start + together].tocsc()  # one copy of few columns: out of rows, each would take a pass
        for i in range(start, start + some.shape[1]):
            values = lambda i=i - start, some=some: some[:, [i]].toarray().ravel()  # noqa: E731
            yield _Column(n, present[i], largest[i], changes[i], ones[i], downs[i], values)


def _is_no_count(column: _Column) -> str | None:
    n = column.n
    if not column.changes:
        return "the same number in all cells"
    numbers = column.ups_by_one > 0.9 * (n - 1)
    if not numbers and column.present >= n - 1 and column.largest >= n - 1:
        values = column.values()
        numbers = values.max() - values.min() + 1 == n == len(np.unique(values))
    if numbers:
        return "it numbers the cells"
    if column.present > MOST * n and (column.changes < FEW_CHANGES * n or not column.downs):
        return "one number for many cells in a row, as of fields or slices"
    return None


def _is_sum(column: _Column, cells: np.ndarray) -> str | None:
    values = column.values()
    rest = cells - values
    if rest.any() and np.ptp(rest) and np.corrcoef(values, rest)[0, 1] >= LIKE_THE_SUM:
        return "it rises and falls with all other columns, as their sum does"
    return None


def _may_be_codes(column: _Column) -> str | None:
    if column.n >= FEWEST_CELLS_FOR_CODES and 2 <= column.largest <= MOST_CODES:
        codes, cells = np.unique(column.values(), return_counts=True)
        first, last = codes[0], codes[-1]
        consecutive = first in (0, 1) and last - first + 1 == len(codes) >= (2 if first else FEWEST_CODES_WITH_ZERO)
        # The largest count is some cell's; the last cluster has its share of them.
        if consecutive and cells[-1] >= LAST_CODE * column.n / len(codes):
            return f"whole numbers from {first:g} to {last:g}, each as frequent as another, as of clusters"
    return None


def _blocks(n: int) -> Iterator[slice]:
    return (slice(start, start + BLOCK) for start in range(0, n, BLOCK))


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
    n_odd, present = np.zeros((2, x.shape[1]), dtype=np.int64)
    for block in _blocks(x.nnz):
        values, indices = x.data[block], x.indices[block]
        with np.errstate(invalid="ignore"):
            odd = ~((values >= 0) & (values == np.rint(values)))
        n_odd += np.bincount(indices[odd], minlength=x.shape[1])
        present += np.bincount(indices, minlength=x.shape[1])
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
    others : names that no file of the other side vouches for: of these the doubtful ones are no genes, and of all
        others what they hold is at most said. None where that is unknown: doubtful ones are then kept

    Returns
    -------
    aside : positions, ascending; warnings : texts that name them
    """
    odd: dict[int, str] = {}
    if others is not None:
        unknown = np.isin(names, list(others))
        found = find_suspects(x, names, asked & ~unknown, large_share=1)
        odd, asked = found.certain, asked & unknown
    suspects = find_suspects(x, names, asked, LARGE_SHARE_UNKNOWN if others is None else LARGE_SHARE)
    dropped = suspects.certain | (suspects.doubtful if others is not None else {})
    warnings = [f"{text}: not taken for genes" for text in _by_reason(names, dropped)]
    if others is None:
        warnings += [
            f"{text}: taken for genes all the same; remove them if they are none"
            for text in _by_reason(names, suspects.doubtful)
        ]
    warnings += [
        f"{text}: taken for genes, since the other side has such names too; remove them on both if they are none"
        for text in _by_reason(names, odd)
    ]
    return np.array(sorted(dropped), dtype=int), warnings


def _by_reason(names: np.ndarray, reasons: dict[int, str]) -> list[str]:
    return [
        f"{listed([names[i] for i in sorted(reasons) if reasons[i] == reason])} ({reason})"
        for reason in dict.fromkeys(reasons.values())
    ]


def listed(names: Collection[str], what: str = "column") -> str:
    """Names for a message, the first of many."""
    names = [repr(str(name)) for name in names]
    more = f" and {len(names) - N_NAMED} more" if len(names) > N_NAMED else ""
    return (f"{what}s " if len(names) > 1 else f"{what} ") + ", ".join(names[:N_NAMED]) + more
