"""Counts in CSV/TSV files, cells in rows."""

from collections.abc import Collection, Iterable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from spatialimpute.errors import InputError
from spatialimpute.sources.base import Header, Source
from spatialimpute.sources.cell_table import are_row_numbers, to_floats
from spatialimpute.sources.gene_columns import INDEX
from spatialimpute.sources.letters import LETTERS, letter_genes
from spatialimpute.sources.metadata_names import is_metadata
from spatialimpute.sources.orientation import refuse_genes_in_rows, refuse_molecules
from spatialimpute.sources.text import (
    SAFE_NUMBERS,
    is_mangled,
    is_number,
    number_advice,
    open_rows,
    table_header,
    table_separator,
    text_columns,
)
from spatialimpute.sources.vocabulary import (
    AXES,
    CELL_ID_COLUMNS,
    TABLE_SUFFIXES,
    UNNAMED_COLUMNS,
    coordinate_columns,
    find_name,
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
        refuse_molecules(self.path, columns)
        refuse_genes_in_rows(self.path, columns)
        return Header(columns, coordinate_columns(columns) is not None)

    def gene_columns(self) -> dict[str, list[str]]:
        return {INDEX: table_header(self.path)}

    def labels(self) -> dict[str, list[str]]:
        return text_columns(self.path)

    def _read(self, keys: Iterable[str]) -> "ad.AnnData":
        return read_counts_table(self.path, keys, self.others, not self.placed_elsewhere)


def read_counts_table(
    path: Path, keys: Iterable[str] = (), others: Collection[str] | None = None, with_places: bool = True
) -> "ad.AnnData":
    """Read a table of counts by blocks of rows.

    The first column names the cells if its header is empty or usual for that (`cell_id`, `barcode`, …), or
    its values are text; otherwise cells are numbered. Coordinates, known metadata, `keys` and columns of text
    go to `obs`, every other column is a gene (names may repeat).

    Parameters
    ----------
    keys : columns of the cells, whatever they are named
    others : names in the header that the other side's files do not know; all but these are genes, if they hold counts.
        None where that is unknown
    with_places : whether columns x and y may be the cells' places; they are elsewhere otherwise

    Raises
    ------
    InputError
        Genes in rows, no gene column, or text among a gene's counts.
    """
    import anndata as ad
    import pandas as pd
    import scipy.sparse as sp

    header = table_header(path)
    refuse_genes_in_rows(path, header)
    blocks = _blocks(path, header)
    first = next(blocks, None)
    if first is None or first.empty:
        raise InputError(f"{path}: no cells: the table has a header and no rows")
    known = set() if others is None else set(header) - set(others)
    ids = _names_cells(header, first)
    is_obs = _obs_columns(header, first, {*keys}, ids, known)
    genes = [i for i in range(len(header)) if not is_obs[i]]
    if not genes:
        raise InputError(f"{path}: no column of counts found; expected one column per gene, cells in rows")
    matrices, frames = [], []
    row = 2  # the first row after the header, as an editor counts lines
    for block in _chain(first, blocks):
        matrices.append(sp.csr_matrix(_numbers(path, block[genes], header, row)))
        frames.append(block[[i for i in range(len(header)) if is_obs[i]]])
        row += len(block)
    x, obs = sp.vstack(matrices, format="csr"), pd.concat(frames, ignore_index=True)
    index = pd.Index(numbered_cells(len(obs)) if ids is None else obs.pop(ids).astype(str).to_numpy())
    obs = obs.set_axis([header[i] for i in obs.columns], axis=1).set_axis(index, axis=0)
    obs = obs.loc[:, ~obs.columns.duplicated()].copy()
    letters = {name: to_floats(obs[name]).to_numpy() for name in obs.columns if name.casefold() in LETTERS}
    placed = not with_places or coordinate_columns(obs.columns.difference(letters)) is not None
    names = letter_genes(letters, known, placed) if letters else []
    if names:
        x = sp.hstack([x, *(sp.csr_matrix(letters[name][:, None]) for name in names)], format="csr")
    var = pd.DataFrame(index=pd.Index([header[i] for i in genes] + names))
    return ad.AnnData(X=x, obs=obs.drop(columns=names), var=var)


def _blocks(path: Path, header: list[str]):
    """Blocks of rows with columns numbered 0, 1, …; the library would rename repeated headers."""
    import pandas as pd

    try:
        with (
            open_rows(path, header) as rows,
            pd.read_csv(
                rows,
                sep=table_separator(path),
                header=None,
                names=range(len(header)),
                dtype=dict.fromkeys(_id_columns(header), str),
                index_col=False,
                chunksize=max(1, BLOCK_VALUES // len(header)),
                low_memory=False,
                **SAFE_NUMBERS,
            ) as reader,
        ):
            yield from reader
    except pd.errors.EmptyDataError:
        return


def _chain(first, rest):
    yield first
    yield from rest


def _id_columns(header: list[str]) -> list[int]:
    """Columns that may name the cells: the first, and where that is nameless another of a usual name."""
    named = find_name(header[1:], CELL_ID_COLUMNS) if header[0].casefold() in UNNAMED_COLUMNS else None
    return [0] if named is None else [0, header.index(named, 1)]


def _names_cells(header: list[str], first: "pd.DataFrame") -> int | None:
    """The column that names the cells."""
    *_, last = _id_columns(header)
    if last and are_row_numbers(first[0]) and first[last].is_unique:
        return last  # row numbers, as R and pandas write them, in front of the names
    return 0 if header[0].casefold() in (*UNNAMED_COLUMNS, *CELL_ID_COLUMNS) or _is_text(first[0]) else None


def _is_text(column: "pd.Series") -> bool:
    return bool(to_floats(column).notna().mean() < NUMERIC_SHARE)


def _are_mangled(column: "pd.Series") -> bool:
    """Whether a column holds numbers that are not written as numbers are: text that is kept would hide a gene."""
    texts = column.dropna().astype(str)
    return bool(texts.map(lambda text: is_mangled(text) or is_number(text)).mean() > NUMERIC_SHARE)


def _obs_columns(header: list[str], first: "pd.DataFrame", keys: set[str], ids: int | None, known: set) -> list[bool]:
    is_obs = []
    for i, name in enumerate(header):
        if i == ids or name in keys or name.casefold() in (*AXES, *LETTERS) or name not in known and is_metadata(name):
            is_obs.append(True)
        elif first[i].dtype == bool:
            is_obs.append(True)
        elif first[i].dtype == object:
            is_obs.append(_is_text(first[i]) and not first[i].isna().all() and not _are_mangled(first[i]))
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
                f"expected a count; {number_advice(str(block[i].iloc[position]))}, or remove the column"
            )
    return np.column_stack(columns)
