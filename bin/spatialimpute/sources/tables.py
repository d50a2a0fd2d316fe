"""Counts and coordinates in CSV/TSV files, cells in rows."""

from collections.abc import Iterable
from pathlib import Path

import anndata as ad
import numpy as np
import pandas as pd
import scipy.sparse as sp

from spatialimpute.errors import InputError
from spatialimpute.sources.formats import (
    CELL_ID_COLUMNS,
    coordinate_columns,
    coordinate_table_columns,
    table_header,
    table_separator,
)
from spatialimpute.sources.text import SAFE_NUMBERS, open_text

BLOCK_VALUES = 8 << 20

#: Numeric columns that instruments and tools write beside the genes; compared without case.
METADATA_COLUMNS = frozenset(
    "fov volume cell_volume area cell_area nucleus_area n_counts n_genes total_counts ncount_rna "
    "nfeature_rna transcript_counts anisotropy transcript_count width height min_x max_x min_y max_y".split()
)
#: A first column of this name says that genes, not cells, are in rows.
GENE_COLUMNS = (
    "gene",
    "genes",
    "gene_name",
    "gene_names",
    "gene_symbol",
    "gene_id",
    "symbol",
    "feature",
    "features",
)
#: A column with at least this share of numbers is taken for a gene, and its texts for mistakes.
NUMERIC_SHARE = 0.5


def read_table(path: Path, keys: Iterable[str] = ()) -> ad.AnnData:
    """Read a table of counts by blocks of rows.

    The first column names the cells if its header is empty or usual for that (`cell_id`, `barcode`, …), or
    its values are text; otherwise cells are numbered. Coordinates, known metadata, `keys` and columns of text
    go to `obs`, every other column is a gene (names may repeat).

    Raises
    ------
    InputError
        Genes in rows, no gene column, or text among a gene's counts.
    """
    header = table_header(path)
    if header[0].casefold() in GENE_COLUMNS:
        raise InputError(
            f"{path}: the first column is {header[0]!r}, so genes seem to be in rows; "
            "expected cells in rows and genes in columns: transpose the table"
        )
    blocks = _blocks(path, len(header))
    first = next(blocks, None)
    if first is None or first.empty:
        raise InputError(f"{path}: no cells: the table has a header and no rows")
    has_ids = _names_cells(header, first)
    is_obs = _obs_columns(path, header, first, keys, has_ids)
    genes = [i for i in range(len(header)) if not is_obs[i]]
    if not genes:
        raise InputError(f"{path}: no column of counts found; expected one column per gene, cells in rows")
    matrices, frames = [], []
    row = 2  # the first row after the header, as an editor counts lines
    for block in _chain(first, blocks):
        matrices.append(sp.csr_matrix(_numbers(path, block[genes], header, row)))
        frames.append(block[[i for i in range(len(header)) if is_obs[i]]])
        row += len(block)
    obs = pd.concat(frames, ignore_index=True)
    if has_ids:
        index = pd.Index(obs.pop(0).astype(str).to_numpy())
    else:
        index = pd.Index([f"cell{i + 1}" for i in range(len(obs))])
    obs = obs.set_axis([header[i] for i in obs.columns], axis=1).set_axis(index, axis=0)
    var = pd.DataFrame(index=pd.Index([header[i] for i in genes]))
    return ad.AnnData(X=sp.vstack(matrices, format="csr"), obs=obs.loc[:, ~obs.columns.duplicated()], var=var)


def _blocks(path: Path, n_columns: int):
    """Blocks of rows with columns numbered 0 … n_columns - 1; the library would rename repeated headers."""
    rows = max(1, BLOCK_VALUES // n_columns)
    try:
        with (
            open_text(path) as text,
            pd.read_csv(
                text,
                sep=table_separator(path),
                header=None,
                names=range(n_columns),
                dtype={0: str},
                index_col=False,
                skiprows=1,
                chunksize=rows,
                low_memory=False,
                on_bad_lines="error",
                **SAFE_NUMBERS,
            ) as reader,
        ):
            yield from reader
    except pd.errors.EmptyDataError:
        return
    except pd.errors.ParserError as error:
        raise InputError(
            f"{path}: a row has another number of columns than the header ({n_columns}): {error}; fix that row"
        ) from None


def _chain(first, rest):
    yield first
    yield from rest


def _names_cells(header: list[str], first: pd.DataFrame) -> bool:
    return header[0].casefold() in ("", "unnamed: 0", *CELL_ID_COLUMNS) or _is_text(first[0])


def _is_text(column: pd.Series) -> bool:
    return bool(to_floats(column).notna().mean() < NUMERIC_SHARE)


def _obs_columns(path, header, first, keys, has_ids) -> list[bool]:
    found = coordinate_columns(header)
    keys = {*keys, *(found[0] if found else ())}
    is_obs = []
    for i, name in enumerate(header):
        if (i == 0 and has_ids) or name in keys or name.casefold() in METADATA_COLUMNS | set(CELL_ID_COLUMNS):
            is_obs.append(True)
        elif first[i].dtype == bool:
            is_obs.append(True)
        elif first[i].dtype == object:
            is_obs.append(_is_text(first[i]) and not first[i].isna().all())
        else:
            is_obs.append(False)
    return is_obs


def _numbers(path: Path, block: pd.DataFrame, header: list[str], row: int) -> np.ndarray:
    columns = {}
    for i in block.columns:
        columns[i] = numbers = to_floats(block[i])
        bad = numbers.isna() & block[i].notna()
        if bad.any():
            position = int(np.flatnonzero(bad)[0])
            raise InputError(
                f"{path}: row {row + position}, column {header[i]!r}: found {block[i].iloc[position]!r}, "
                "expected a count; correct the value or remove the column"
            )
    return pd.DataFrame(columns).to_numpy(dtype=np.float64)


def to_floats(column: pd.Series) -> pd.Series:
    """The column as floats, NaN for what is no number. `pd.to_numeric` crashes on texts like 1e9999999999."""
    if pd.api.types.is_numeric_dtype(column):
        return column.astype(np.float64)
    return column.astype(object).map(_float).astype(np.float64)


def _float(value) -> float:
    try:
        return float(value) if "_" not in str(value) else np.nan  # to Python 1_000 is a number
    except (TypeError, ValueError):
        return np.nan


def read_coordinates(path: str | Path, cells: pd.Index) -> tuple[np.ndarray, str]:
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
    key, columns, unit = coordinate_table_columns(path)
    header = table_header(path)
    try:
        with open_text(path) as text:
            table = pd.read_csv(
                text,
                sep=table_separator(path),
                header=0,
                names=header,
                index_col=False,
                dtype={key: str},
                **SAFE_NUMBERS,
            )
    except (ValueError, OSError) as error:  # pandas' parser errors are ValueErrors
        raise InputError(f"{path}: cannot be read as a table ({error}); export it again") from None
    if table.empty:
        raise InputError(f"{path}: no cells: the table has a header and no rows")
    ids = pd.Index(table[key].astype(str))
    if not ids.is_unique:
        raise InputError(f"{path}: cell {ids[ids.duplicated()][0]!r} has several rows; keep one row per cell")
    position = ids.get_indexer(cells)
    if (position < 0).any():
        raise InputError(
            f"{path}: no coordinates for cell {cells[position < 0][0]!r} ({int((position < 0).sum())} of "
            f"{len(cells)} cells are missing; this file's ids look like {ids[0]!r}); "
            "give every cell a row under the same id"
        )
    for column in columns:
        numbers = to_floats(table[column])
        bad = numbers.isna() & table[column].notna()
        if bad.any():
            at = int(np.flatnonzero(bad)[0])
            raise InputError(
                f"{path}: row {at + 2}, column {column!r}: found {table[column].iloc[at]!r}, expected a number"
            )
    return table[columns].to_numpy(dtype=np.float64)[position], unit
