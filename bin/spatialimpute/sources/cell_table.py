"""Tables of cells as CSV or parquet, and the join of counts with their cells."""

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from spatialimpute.errors import InputError
from spatialimpute.sources.guard import require_memory
from spatialimpute.sources.text import SAFE_NUMBERS, open_text, table_header, table_separator

if TYPE_CHECKING:
    import anndata as ad
    import pandas as pd

#: Of a number or a pointer to a text.
VALUE_BYTES = 8


def column_names(path: Path) -> list[str]:
    """Columns of a CSV or parquet file.

    Raises
    ------
    InputError
        It is damaged or no such table.
    """
    if path.suffix != ".parquet":
        return table_header(path)
    import pyarrow.parquet as pq

    try:
        return pq.read_schema(path).names
    except (OSError, ValueError) as error:  # pyarrow's errors are ValueErrors
        raise InputError(f"{path}: damaged or no parquet file ({str(error).splitlines()[0]}); copy it again") from None


def read_cells(path: Path, ids: tuple[str, ...] = (), numeric: tuple[str, ...] = ()) -> "pd.DataFrame":
    """A CSV or parquet table of cells.

    Columns `ids` come as text whatever they are stored as (numbers, bytes), columns `numeric` as floats.

    Raises
    ------
    InputError
        The table is damaged, has no rows, or text among its numbers.
    """
    import pandas as pd

    try:
        if path.suffix == ".parquet":
            table = read_parquet(path, ignore_metadata=True)
        else:
            header = table_header(path)
            dtype = {name: str for name in ids}
            options = {"header": 0, "names": header, "index_col": False, "dtype": dtype, "low_memory": False}
            with open_text(path) as text:
                table = pd.read_csv(text, sep=table_separator(path), **options, **SAFE_NUMBERS)
    except (ValueError, OSError, EOFError) as error:  # the libraries' errors of parsing are ValueErrors
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise InputError(f"{path}: cannot be read as a table ({reason}); copy or export it again") from None
    if table.empty:
        raise InputError(f"{path}: no cells: the table has a header and no rows")
    for name in ids:
        texts = {value: value.decode() if isinstance(value, bytes) else str(value) for value in table[name].unique()}
        table[name] = table[name].map(texts)
    to_numbers(path, table, numeric)
    return table


def read_parquet(path: Path, ignore_metadata: bool = False) -> "pd.DataFrame":
    """The columns of a parquet file that hold one value per row.

    A text that the file holds once for many rows is so in memory too: written out it may be any number of times the
    file's size.

    Raises
    ------
    MemoryError
        The values do not fit.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    with pq.ParquetFile(path) as file:
        about, schema = file.metadata, file.schema_arrow
    columns = [field for field in schema if not pa.types.is_nested(field.type)]
    kinds = (pa.string(), pa.large_string(), pa.string_view(), pa.binary(), pa.large_binary(), pa.binary_view())
    texts = [field.name for field in columns if field.type in kinds]
    fixed = [field.type.byte_width for field in columns if pa.types.is_fixed_size_binary(field.type)]
    groups = [about.row_group(i) for i in range(about.num_row_groups)]
    row_bytes = VALUE_BYTES * len(columns) + sum(fixed)
    needed = about.num_rows * row_bytes + sum(group.total_byte_size for group in groups)
    require_memory(needed, f"the content of {path}")
    table = pq.read_table(path, columns=[field.name for field in columns], read_dictionary=texts)
    frame = table.to_pandas(ignore_metadata=ignore_metadata)
    for name in frame.columns[frame.dtypes == "category"]:
        frame[name] = frame[name].astype(object)
    return frame


def to_floats(column: "pd.Series") -> "pd.Series":
    """The column as floats, NaN for what is no number. `pd.to_numeric` crashes on texts like 1e9999999999."""
    import pandas as pd

    if pd.api.types.is_numeric_dtype(column):
        return column.astype(np.float64)
    return column.astype(object).map(_float).astype(np.float64)


def _float(value) -> float:
    try:
        return float(value) if "_" not in str(value) else np.nan  # to Python 1_000 is a number
    except (TypeError, ValueError):
        return np.nan


def to_numbers(path: Path, table: "pd.DataFrame", columns: tuple[str, ...], first_row: int = 2) -> None:
    """Turn columns into floats; `first_row` is the line of the table's first row in the file, for the message.

    Raises
    ------
    InputError
        Text among them.
    """
    for column in columns:
        values = to_floats(table[column])
        bad = (values.isna() & table[column].notna()).to_numpy()
        if bad.any():
            at = int(bad.argmax())
            raise InputError(
                f"{path}: row {at + first_row}, column {column!r}: found {table[column].iloc[at]!r}, "
                "expected a number; export the file again"
            )
        table[column] = values


def join(data: "ad.AnnData", matrix: Path, cells: "pd.DataFrame", table: Path) -> "ad.AnnData":
    """Counts with their cells' rows of `cells` (index: the cells' ids) as `obs`.

    Either side may have cells that the other lacks; they are left out and said so.

    Parameters
    ----------
    data : counts, with the ids as `obs_names`; matrix, table : where the two come from, for messages

    Raises
    ------
    InputError
        Repeated ids, no cell in common, or cells on both sides that the other lacks.
    """
    cells.index = cells.index.astype(str)
    data.obs_names = data.obs_names.astype(str)
    for path, ids in ((matrix, data.obs_names), (table, cells.index)):
        if not ids.is_unique:
            raise InputError(f"{path}: cell {ids[ids.duplicated()][0]!r} has several rows; keep one row per cell")
    position = cells.index.get_indexer(data.obs_names)
    placed = position >= 0
    unused = ~cells.index.isin(data.obs_names)
    if not placed.all() and unused.any():
        raise InputError(
            f"{table}: its cells are not those of {matrix.name}: {int((~placed).sum())} of {len(placed)} cells with "
            f"counts have no row here (first: {data.obs_names[~placed][0]!r}), and {int(unused.sum())} of "
            f"{len(unused)} rows have no counts (first: {cells.index[unused][0]!r}); "
            "take both files from the same export"
        )
    steps, warnings = data.uns.get("read_steps", []), data.uns.get("read_warnings", [])
    if not placed.all():
        steps = steps + [step("cells without a row", f"no row in {table.name}", data.obs_names[~placed])]
    if unused.any():
        warnings = warnings + [
            f"{int(unused.sum())} of {len(unused)} cells of {table.name} have no counts in {matrix.name} and are left "
            f"out (first: {cells.index[unused][0]})"
        ]
    joined = data[placed].copy() if not placed.all() else data
    joined.obs = cells.iloc[position[placed]]
    joined.uns["read_steps"], joined.uns["read_warnings"] = steps, warnings
    return joined


def keep(data: "ad.AnnData", wanted: np.ndarray, name: str, reason: str) -> "ad.AnnData":
    """The wanted cells; the others are accounted for under this name."""
    if wanted.all():
        return data
    dropped = step(name, reason, data.obs_names[~wanted])
    data = data[wanted].copy()
    data.uns["read_steps"] = [*data.uns.get("read_steps", []), dropped]
    return data


def place(data: "ad.AnnData", columns: tuple[str, ...], unit: str) -> "ad.AnnData":
    """Take the coordinates from columns of `obs`; set their unit."""
    data.obsm["spatial"] = data.obs[list(columns)].to_numpy(dtype=np.float64)
    data.uns["coordinate_unit"] = unit
    return data


def to_microns(data: "ad.AnnData", um_per_pixel: float, origin: str) -> None:
    """Scale coordinates in pixels, accounted for with where the scale comes from."""
    reason = f"pixels x {um_per_pixel:.6g} um per pixel ({origin})"
    data.uns["read_steps"] = [
        *data.uns.get("read_steps", []),
        step("pixels to microns", reason, data.obs_names, axis="coordinates"),
    ]
    data.obsm["spatial"] = data.obsm["spatial"] * um_per_pixel
    data.uns["coordinate_unit"] = "um"


def step(name: str, reason: str, examples, axis: str = "cells") -> dict:
    """An entry of QC's account."""
    return {"step": name, "axis": axis, "reason": reason, "examples": list(examples)}
