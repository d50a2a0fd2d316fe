"""Which cell of one table is which of another: the one rule for all second files, and what to say of other ids."""

import re
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from spatialimpute.errors import InputError

if TYPE_CHECKING:
    import pandas as pd

#: A long number as spreadsheets write it.
SHORTENED = r"\d([.,]\d+)?[eE]\+\d+"
#: What tools change in the ids of cells: what it is, its pattern, and what to put there to compare them.
DIFFERENCES = (
    ("upper and lower case alone", r"^\b$", ""),
    ("spaces or quotes around them", r"^[\s\"']+|[\s\"']+$", ""),
    ("'.0' at their ends, as numbers with decimals have it", r"\.0+$", ""),
    ("'.' in place of '-', as R writes it in names of columns", r"^X(?=\d)|[-_. ]", ""),
    ("their ending, such as '-1'", r"[-_.]\d+$", ""),
    ("what is in front of them, such as a sample's name", r"^.*[_:#|](?=.)", ""),
    ("what is in front of them and their ending", r"^.*[_:#|](?=.)|[-_.]\d+$", ""),
    ("what is behind them, such as a sample's name", r"(?<=.)[_:#|].*$", ""),
)


def match_cells(cells: "pd.Index", matrix: Path, rows: "pd.Index", table: Path) -> tuple[np.ndarray, list[str]]:
    """Where the cells with counts are among the rows of a table of cells: the one rule for all second files.

    Cells that one side alone has are left out. Where each side has cells that the other lacks, and the ids are numbers,
    which two exports would share by chance, the two are not of one another.

    Parameters
    ----------
    cells, rows : ids as text; matrix, table : where the two come from, for messages

    Returns
    -------
    position : array of int, shape (n_cells,), -1 for cells without a row; what a report should say of it

    Raises
    ------
    InputError
        Repeated ids, no cell in common, or two exports.
    """
    for path, ids, what in ((matrix, cells, "counts"), (table, rows, "rows")):
        if not ids.is_unique:
            several = int(ids.duplicated(keep=False).sum())
            if re.fullmatch(SHORTENED, ids[ids.duplicated()][0]):
                raise InputError(
                    f"{path}: {several} of {len(ids)} cells have ids such as {ids[ids.duplicated()][0]!r}, which a "
                    "spreadsheet has shortened, so that they cannot be told apart; take the file from before it"
                )
            raise InputError(
                f"{path}: cell {ids[ids.duplicated()][0]!r} has several rows; keep one row per cell ({several} of "
                f"{len(ids)} {what} share their id with another, so which place is whose cannot be told; of several "
                "captures or fields name the cells in both files with the capture's name in front)"
            )
    position = rows.get_indexer(cells)
    absent, unused = cells[position < 0], rows[~rows.isin(cells)]
    counted = (
        f"{len(absent)} of {len(cells)} cells with counts have no row here (first: {next(iter(absent), None)!r}), and "
        f"{len(unused)} of {len(rows)} rows have no counts (first: {next(iter(unused), None)!r})"
    )
    if len(absent) == len(cells):
        raise InputError(
            f"{table}: its cells are not those of {matrix.name}: no coordinates for cell {cells[0]!r} ({counted}); "
            f"{_difference(cells, rows) or 'give every cell a row under the same id'}"
        )
    if (
        len(absent)
        and len(unused)
        and (_are_numbers(absent) and _are_numbers(unused) or _shifted(absent, unused, cells))
    ):
        raise InputError(
            f"{table}: its cells are not those of {matrix.name}: {counted}; take both files from the same export, with "
            "cells numbered alike"
        )
    warnings = []
    if len(absent) > len(cells) / 2:
        warnings.append(f"more than half of the cells of {matrix.name} have no place in {table.name}: {counted}")
    if len(unused):
        warnings.append(
            f"{len(unused)} of {len(rows)} cells of {table.name} have no counts in {matrix.name} and are left "
            f"out (first: {unused[0]})"
        )
    return position, warnings


def _difference(cells: "pd.Index", rows: "pd.Index") -> str | None:
    """How the ids of most cells would match, if they were written alike; None where nothing is known that helps."""
    for what, pattern, put in DIFFERENCES:
        alike = [ids.str.replace(pattern, put, regex=True).str.casefold() for ids in (cells, rows)]
        if all(ids.is_unique for ids in alike) and alike[0].isin(alike[1]).mean() > 0.5:
            return f"they differ by {what} ({cells[0]!r} and {rows[0]!r}): write the ids alike in both files"
    return None


def _are_numbers(ids: "pd.Index") -> bool:
    return bool(ids.str.fullmatch(r"\d+([_.-]\d+)*").all())


def _shifted(absent: "pd.Index", unused: "pd.Index", cells: "pd.Index") -> bool:
    """Whether one side counts from 0 and the other from 1, as cell0 … cell9 and cell1 … cell10 do."""
    number = r"^(.*?)(\d+)$"
    parts = [ids.str.extract(number) for ids in (absent, unused, cells)]
    if len(absent) != len(unused) or any(part.isna().any(axis=None) for part in parts):
        return False
    if len({prefix for part in parts for prefix in part[0]}) != 1:
        return False
    low, high, own = (part[1].astype(float) for part in parts)
    shared = own[~own.isin(low)]
    return bool(
        low.max() < shared.min() and high.min() > shared.max() or low.min() > shared.max() and high.max() < shared.min()
    )
