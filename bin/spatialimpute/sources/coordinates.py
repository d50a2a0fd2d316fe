"""Where the cells are: in the file's usual places, or in a second file beside it."""

import os
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from spatialimpute.errors import InputError
from spatialimpute.sources.cell_table import read_cells
from spatialimpute.sources.text import table_header
from spatialimpute.sources.vocabulary import (
    CELL_ID_COLUMNS,
    COORDINATE_KEYS,
    COORDINATE_UNITS,
    SIDECAR_SUFFIXES,
    base_name,
    coordinate_columns,
    find_name,
)

if TYPE_CHECKING:
    import anndata as ad
    import pandas as pd


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
    if found is None:
        raise InputError(f"{path}: no coordinates among {', '.join(header)}; name them x and y (and z)")
    columns, unit = found
    key = find_name(header, CELL_ID_COLUMNS) or (header[0] if header[0] not in columns else None)
    if key is None:
        raise InputError(f"{path}: no column of cell ids; add them as the first column, named cell_id")
    return key, columns, unit


def read_sidecar(path: str | Path, cells: "pd.Index") -> tuple[np.ndarray, str]:
    """Coordinates of `cells` from a table with a cell id column and x, y[, z], in any order of rows.

    Returns
    -------
    coordinates : float array, shape (n_cells, 2 or 3); unit : "um", "px" or "unknown"

    Raises
    ------
    InputError
        No coordinate columns, no cell ids, text for numbers, repeated ids, or a cell without a row.
    """
    path = Path(path)
    key, columns, unit = sidecar_columns(path)
    table = read_cells(path, ids=(key,), numeric=tuple(columns)).set_index(key)
    ids = table.index
    if not ids.is_unique:
        raise InputError(f"{path}: cell {ids[ids.duplicated()][0]!r} has several rows; keep one row per cell")
    position = ids.get_indexer(cells)
    if (position < 0).any():
        raise InputError(
            f"{path}: no coordinates for cell {cells[position < 0][0]!r} ({int((position < 0).sum())} of "
            f"{len(cells)} cells are missing; this file's ids look like {ids[0]!r}); "
            "give every cell a row under the same id"
        )
    return table[columns].to_numpy(dtype=np.float64)[position], unit


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
        values = values.toarray() if hasattr(values, "toarray") else np.asarray(values)
        where = f"obsm[{key!r}]"
    elif columns is not None:
        values, unit = data.obs[columns[0]].to_numpy(), columns[1]
        where = f"columns {', '.join(columns[0])}"
    else:
        return
    try:
        values = values.astype(np.float64)
    except (TypeError, ValueError):
        raise InputError(f"{path}: coordinates in {where} are not numbers; write x and y as numbers") from None
    if values.ndim != 2 or values.shape[1] not in (2, 3):
        raise InputError(
            f"{path}: {where} has shape {values.shape}, expected (cells, 2) or (cells, 3); store x, y[, z] there"
        )
    for name in list(data.obsm):
        del data.obsm[name]
    data.obsm["spatial"], data.uns["coordinate_unit"] = values, unit
