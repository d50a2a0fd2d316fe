"""Columns x, y and z: places of the cells, or counts of the genes of these names (the fly has genes x, y and z).

A name does not tell them apart, what the columns hold does: places are many, counts are few whole numbers that recur.
"""

from collections.abc import Collection, Mapping

import numpy as np

from spatialimpute.sources.vocabulary import coordinate_columns

LETTERS = frozenset("xyz")
#: Of cells without a count of either gene, or with one each, there are always many.
COMMON_PAIR = 0.05
#: Of places, hardly two are the same.
DISTINCT_PAIRS = 0.9
#: Fewer rows tell nothing.
FEWEST_ROWS = 20


def letter_genes(columns: Mapping[str, np.ndarray], known: Collection[str], placed: bool) -> list[str]:
    """Which of these columns are genes.

    Parameters
    ----------
    columns : columns named x, y or z, in either case, as floats of shape (n_cells,)
    known : names of genes that the other side has
    placed : whether the cells' places are elsewhere, in other columns or in another file
    """
    counts = {name for name, values in columns.items() if _are_counts(values)}
    pair = coordinate_columns(columns)
    if pair is None:  # no set of coordinates
        return [name for name in columns if name in counts]
    axes = pair[0]
    as_genes = set(axes[:2]) <= counts and _recur(columns, axes[:2], placed or set(axes[:2]) <= set(known))
    genes = [name for name in columns if name not in axes and name in counts]
    if as_genes:
        return genes + [name for name in axes if name in counts]
    return genes + [name for name in axes[2:] if name in counts and name in known]


def _are_counts(values: np.ndarray) -> bool:
    return bool(np.isfinite(values).all() and (values >= 0).all() and (values % 1 == 0).all())


def _recur(columns: Mapping[str, np.ndarray], pair: list[str], expected: bool) -> bool:
    """Whether so many cells have the same numbers as others that these are no places; fewer do if it is expected."""
    values = np.column_stack([columns[name] for name in pair])
    if len(values) < FEWEST_ROWS:
        return False
    _, n = np.unique(values, axis=0, return_counts=True)
    return bool(n.max() > COMMON_PAIR * len(values) or expected and len(n) < DISTINCT_PAIRS * len(values))
