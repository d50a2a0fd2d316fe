"""Tables of cells as CSV or parquet, and the join of counts with their cells."""

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from spatialimpute.errors import InputError
from spatialimpute.sources.cell_ids import match_cells
from spatialimpute.sources.guard import require_memory
from spatialimpute.sources.text import SAFE_NUMBERS, number_advice, open_rows, table_header, table_separator

if TYPE_CHECKING:
    import anndata as ad
    import pandas as pd

#: What QC's account calls cells that are left out since they are nowhere.
NO_PLACE = "cells without a place"
#: Key of a table's `attrs`: its columns of several values per row, which are not read.
NESTED = "nested"
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
            options = {"header": None, "names": header, "index_col": False, "dtype": dtype, "low_memory": False}
            with open_rows(path, header) as rows:
                table = pd.read_csv(rows, sep=table_separator(path), **options, **SAFE_NUMBERS)
    except pd.errors.EmptyDataError:
        table = pd.DataFrame()
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
    frame.attrs[NESTED] = [field.name for field in schema if field not in columns]
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


def are_row_numbers(column: "pd.Series") -> bool:
    """Whether a column numbers the rows from 0 or 1, as R and pandas write in front of a table."""
    numbers = to_floats(column).to_numpy()
    return numbers[0] in (0, 1) and bool((np.diff(numbers) == 1).all())


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
                f"expected a number; {number_advice(str(table[column].iloc[at]))}"
            )
        table[column] = values


def join(data: "ad.AnnData", matrix: Path, cells: "pd.DataFrame", table: Path) -> "ad.AnnData":
    """Counts with their cells' rows of `cells` (index: the cells' ids) as `obs`.

    Cells that one side alone has are left out and said so, by the rule of :func:`match_cells`.

    Parameters
    ----------
    data : counts, with the ids as `obs_names`; matrix, table : where the two come from, for messages

    Raises
    ------
    InputError
        As :func:`match_cells`.
    """
    cells.index = cells.index.astype(str)
    data.obs_names = data.obs_names.astype(str)
    position, warnings = match_cells(data.obs_names, matrix, cells.index, table)
    placed = position >= 0
    joined = keep(data, placed, NO_PLACE, f"no row in {table.name}")
    of_matrix, joined.obs = joined.obs, cells.iloc[position[placed]]
    joined.uns["read_warnings"] = [*joined.uns.get("read_warnings", []), *warnings]
    add_columns(joined, of_matrix, table.name)
    if nested := cells.attrs.get(NESTED):
        add_step(joined, "nested columns", f"several values per cell in {table.name}", nested)
    return joined


def add_columns(data: "ad.AnnData", more: "pd.DataFrame", kept: str) -> None:
    """Add columns of the same cells to `obs`; accounted for where it has others of their names, those of `kept`."""
    names = [str(name) for name in more if name in data.obs and not _same_texts(data.obs[name], more[name])]
    if names:
        reason = f"two tables of the cells have them, with other values; those of {kept} are kept"
        add_step(data, "columns of one name", reason, names)
    for name in more.columns.difference(data.obs.columns, sort=False):
        data.obs[name] = more[name].to_numpy()


def add_step(data: "ad.AnnData", name: str, reason: str, columns) -> None:
    """Account for columns of `obs` or `var` that are not kept."""
    data.uns["read_steps"] = [*data.uns.get("read_steps", []), step(name, reason, columns, axis="columns")]


def _same_texts(one: "pd.Series", other: "pd.Series") -> bool:
    numbers = to_floats(one).to_numpy(), to_floats(other).to_numpy()
    if not np.isnan(numbers[0]).all():
        return bool(np.array_equal(*numbers, equal_nan=True))
    return one.astype(str).tolist() == other.astype(str).tolist()


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
