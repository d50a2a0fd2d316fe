"""Where the cells are: in the file's usual places, or in a second file beside it."""

import os
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from spatialimpute.errors import InputError
from spatialimpute.sources.cell_ids import match_cells
from spatialimpute.sources.cell_table import add_columns, read_cells, to_floats
from spatialimpute.sources.text import is_number, number_advice, table_header
from spatialimpute.sources.vocabulary import (
    CELL_ID_COLUMNS,
    COORDINATE_KEYS,
    COORDINATE_UNITS,
    MISSING_LABELS,
    SIDECAR_SUFFIXES,
    base_name,
    coordinate_columns,
    find_name,
)

if TYPE_CHECKING:
    import anndata as ad
    import pandas as pd

#: Values that a message shows.
N_SHOWN = 6


def find_sidecar(path: str | Path) -> Path | None:
    """The file of coordinates that lies beside `x.csv` (or `x.h5ad`, folder `x`, …): `x.coords.csv`."""
    path = Path(path)
    for suffix in SIDECAR_SUFFIXES:
        sidecar = path.parent / f"{base_name(path)}{suffix}"
        if os.path.exists(sidecar):  # Path.exists raises where the longer name is too long
            return sidecar
    return None


def sidecar_columns(path: str | Path) -> tuple[str, list[str], str]:
    """Column of cell ids, columns of coordinates and their unit in a second file of coordinates.

    Raises
    ------
    InputError
        One of them is missing.
    """
    header = table_header(path)
    found = coordinate_columns(header)
    if found is None and len(header) > 2 and all(is_number(name) for name in header[1:]):
        raise InputError(
            f"{path}: its first line holds values ({', '.join(header[:N_SHOWN])}); expected a header above them that "
            "says which column is which, such as cell_id,x,y"
        )
    if found is None:
        raise InputError(f"{path}: no coordinates among {', '.join(header)}; name them x and y (and z)")
    columns, unit = found
    key = find_name(header, CELL_ID_COLUMNS) or (header[0] if header[0] not in columns else None)
    if key is None:
        raise InputError(f"{path}: no column of cell ids; add them as the first column, named cell_id")
    return key, columns, unit


def read_sidecar(data: "ad.AnnData", counts: Path, path: Path) -> None:
    """Set the places of cells from a table with a cell id column and x, y[, z], in any order of rows.

    `obsm['spatial']` becomes a float array of shape (n_cells, 2 or 3), NaN for cells without a row, and
    `uns['coordinate_unit']` "um", "px" or "unknown". The table's other columns are added to `obs`.

    Parameters
    ----------
    counts, path : where the cells and their places come from, for messages

    Raises
    ------
    InputError
        No coordinate columns, no cell ids, text for numbers, repeated ids on either side, or other cells' places.
    """
    key, columns, unit = sidecar_columns(path)
    table = read_cells(path, ids=(key,), numeric=tuple(columns))
    table = table.set_index(_column_of_cells(table, key, data.obs_names))
    table.index = table.index.astype(str)
    position, warnings = match_cells(data.obs_names, counts, table.index, path)
    places = np.full((len(position), len(columns)), np.nan)
    places[position >= 0] = table[columns].to_numpy(dtype=np.float64)[position[position >= 0]]
    data.obsm["spatial"], data.uns["coordinate_unit"] = places, unit
    data.uns["read_warnings"] = [*data.uns.get("read_warnings", []), *warnings]
    more = table.drop(columns=columns)
    add_columns(data, more.iloc[position] if (position >= 0).all() else more.reindex(data.obs_names), counts.name)


def _column_of_cells(table: "pd.DataFrame", key: str, cells: "pd.Index") -> str:
    """The column of ids: `key`, or where that holds none of the cells another column of texts that holds most."""
    texts = [] if table[key].isin(cells).any() else table.select_dtypes(["object", "string"]).columns.drop(key)
    return next((name for name in texts if cells.isin(table[name].astype(str)).mean() > 0.5), key)


def _numbers(column: "pd.Series") -> np.ndarray:
    """Floats, if the column holds nothing but numbers and names for what is missing; else as it is."""
    numbers = to_floats(column)
    missing = column.isna() | column.astype(str).str.strip().str.casefold().isin(MISSING_LABELS)
    return (column if (numbers.isna() & ~missing).any() else numbers).to_numpy()


def _first_text(values: np.ndarray) -> str:
    """The first value that is no number, and what to do with it, as the end of a message."""
    texts = [str(value) for value in values.ravel() if not is_number(str(value))]
    found = f" (found {texts[0]!r}; {number_advice(texts[0])})" if texts else ""
    return f"; write x and y as numbers{found}"


def find_places(data: "ad.AnnData", path: Path) -> None:
    """Set `obsm['spatial']` and `uns['coordinate_unit']` from the usual places, if there are any.

    Raises
    ------
    InputError
        What lies there is not numbers, or not 2 or 3 of them per cell; the message starts with `path`.
    """
    key, columns = find_name(data.obsm, COORDINATE_KEYS), coordinate_columns(data.obs.columns)
    if key is not None:
        values = data.obsm[key]
        unit = COORDINATE_UNITS.get(str(data.uns.get("coordinate_unit")).casefold(), "unknown")
        if (named := coordinate_columns(getattr(values, "columns", ()))) is not None:
            values, unit = values[named[0]], named[1] if unit == "unknown" else unit
        values = values.toarray() if hasattr(values, "toarray") else np.asarray(values)
        where = f"obsm[{key!r}]"
    elif columns is not None:
        values, unit = np.column_stack([_numbers(data.obs[name]) for name in columns[0]]), columns[1]
        where = f"columns {', '.join(columns[0])}"
    else:
        return
    try:
        values = values.astype(np.float64)
    except (TypeError, ValueError):
        raise InputError(f"{path}: coordinates in {where} are not numbers{_first_text(values)}") from None
    if values.ndim != 2 or values.shape[1] not in (2, 3):
        raise InputError(
            f"{path}: {where} has shape {values.shape}, expected (cells, 2) or (cells, 3); store x, y[, z] there"
        )
    for name in list(data.obsm):
        del data.obsm[name]
    data.obsm["spatial"], data.uns["coordinate_unit"] = values, unit
