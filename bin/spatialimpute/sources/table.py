"""Counts in CSV/TSV files, cells in rows."""

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from spatialimpute.errors import InputError
from spatialimpute.sources.base import Header, Source
from spatialimpute.sources.cell_table import to_floats
from spatialimpute.sources.text import SAFE_NUMBERS, open_text, table_header, table_separator
from spatialimpute.sources.vocabulary import (
    CELL_ID_COLUMNS,
    GENE_COLUMNS,
    METADATA_COLUMNS,
    TABLE_SUFFIXES,
    UNNAMED_COLUMNS,
    coordinate_columns,
    numbered_cells,
)

if TYPE_CHECKING:
    import anndata as ad
    import pandas as pd

BLOCK_VALUES = 8 << 20
#: A column with at least this share of numbers is taken for a gene, and its texts for mistakes.
NUMERIC_SHARE = 0.5


class Table(Source):
    """A column per gene, among columns that say something else of the cells."""

    kind = "table"

    @classmethod
    def is_it(cls, path: Path) -> bool:
        return path.name.lower().endswith(TABLE_SUFFIXES)

    def header(self) -> Header:
        columns = table_header(self.path)
        return Header(columns, coordinate_columns(columns) is not None)

    def gene_names(self) -> list[str]:
        return table_header(self.path)

    def _read(self, keys: Iterable[str]) -> "ad.AnnData":
        return read_counts_table(self.path, keys)


def read_counts_table(path: Path, keys: Iterable[str] = ()) -> "ad.AnnData":
    """Read a table of counts by blocks of rows.

    The first column names the cells if its header is empty or usual for that (`cell_id`, `barcode`, …), or
    its values are text; otherwise cells are numbered. Coordinates, known metadata, `keys` and columns of text
    go to `obs`, every other column is a gene (names may repeat).

    Raises
    ------
    InputError
        Genes in rows, no gene column, or text among a gene's counts.
    """
    import anndata as ad
    import pandas as pd
    import scipy.sparse as sp

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
    index = pd.Index(obs.pop(0).astype(str).to_numpy() if has_ids else numbered_cells(len(obs)))
    obs = obs.set_axis([header[i] for i in obs.columns], axis=1).set_axis(index, axis=0)
    var = pd.DataFrame(index=pd.Index([header[i] for i in genes]))
    return ad.AnnData(X=sp.vstack(matrices, format="csr"), obs=obs.loc[:, ~obs.columns.duplicated()], var=var)


def _blocks(path: Path, n_columns: int):
    """Blocks of rows with columns numbered 0 … n_columns - 1; the library would rename repeated headers."""
    import pandas as pd

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


def _names_cells(header: list[str], first: "pd.DataFrame") -> bool:
    return header[0].casefold() in (*UNNAMED_COLUMNS, *CELL_ID_COLUMNS) or _is_text(first[0])


def _is_text(column: "pd.Series") -> bool:
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


def _numbers(path: Path, block: "pd.DataFrame", header: list[str], row: int) -> np.ndarray:
    columns = []
    for i in block.columns:
        columns.append(numbers := to_floats(block[i]))
        bad = numbers.isna() & block[i].notna()
        if bad.any():
            position = int(np.flatnonzero(bad)[0])
            raise InputError(
                f"{path}: row {row + position}, column {header[i]!r}: found {block[i].iloc[position]!r}, "
                "expected a count; correct the value or remove the column"
            )
    return np.column_stack(columns)
