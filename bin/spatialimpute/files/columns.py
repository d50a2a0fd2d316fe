"""What a file says of its cells and genes beside the counts, under its own names, as our files can hold it."""

import re
from collections.abc import Iterable

import numpy as np
import pandas as pd

#: What a name of ours makes of theirs.
SUFFIX = "_original"
#: HDF5 keeps a table's list of columns in an attribute, which holds no more than some 4,000 names.
MAX_COLUMNS = 3000
#: A column is a file of this name in a zarr folder.
MAX_NAME_BYTES = 200


def carry_columns(table: pd.DataFrame, own: Iterable[str]) -> tuple[pd.DataFrame, list[str], list[str]]:
    """The columns as they are written, their own names kept wherever that is possible.

    Texts become categories (missing ones stay missing), times become text, booleans and whole numbers with missing
    values keep their kind.

    Parameters
    ----------
    own : names that are ours, which win: a column of such a name, in whatever case, gets SUFFIX

    Returns
    -------
    columns : with the table's index; renamed : `old -> new` of each that got another name; left_out : names of those
    that no column can hold (several values per row, complex numbers, …) or that are beyond MAX_COLUMNS
    """
    taken, columns, renamed, left_out = {name.casefold() for name in own}, {}, [], []
    for i, old in enumerate(map(str, table.columns)):
        values = writable(table.iloc[:, i]) if len(columns) < MAX_COLUMNS else None
        if values is None:
            left_out.append(old)
            continue
        new = _free_name(_possible_name(old), taken)
        if new != old:
            renamed.append(f"{old} -> {new}")
        taken.add(new.casefold())
        columns[new] = values
    return pd.DataFrame(columns, index=table.index), renamed, left_out


def _possible_name(name: str) -> str:
    """The name without what HDF5 and zarr take for a path, for their own, or for none."""
    name = re.sub(r"[\x00-\x1f\x7f/\\]|^\.", "_", name.encode("utf-8", "replace").decode())
    while len(name.encode()) > MAX_NAME_BYTES:
        name = name[:-1]
    return name if name.strip() else "column"


def _free_name(name: str, taken: set[str]) -> str:
    # anndata keeps the rows' names under _index. zarr mixes up b and B, as do the file systems of Mac and Windows.
    candidates = [name] if name != "_index" else []
    candidates += [f"{name}{SUFFIX}", *(f"{name}{SUFFIX}_{i}" for i in range(2, len(taken) + 3))]
    return next(candidate for candidate in candidates if candidate.casefold() not in taken)


def writable(column: pd.Series) -> pd.Series | None:
    """The column as anndata writes it to HDF5 and zarr; None where it cannot."""
    if isinstance(column.dtype, pd.SparseDtype):
        column = column.sparse.to_dense()
    if isinstance(column.dtype, pd.CategoricalDtype):
        kind = column.cat.categories.dtype.kind if isinstance(column.cat.categories.dtype, np.dtype) else "O"
        return column if kind in "iuf" else _as_texts(column)
    if pd.api.types.is_bool_dtype(column) or pd.api.types.is_integer_dtype(column):
        return column
    if pd.api.types.is_float_dtype(column):
        return column.astype(np.float64) if column.dtype not in (np.float16, np.float32) else column
    if pd.api.types.is_complex_dtype(column):
        return None
    return _of_objects(column.astype(object))


def _of_objects(column: pd.Series) -> pd.Series | None:
    kind = pd.api.types.infer_dtype(column, skipna=True)
    if kind == "empty":
        return pd.Series(np.nan, column.index)
    if kind == "boolean":
        return column.astype("boolean")
    if kind == "integer" and column.dropna().map(abs).max() < 1 << 63:
        return column.astype("Int64")
    if kind in ("floating", "mixed-integer-float", "decimal"):
        return column.astype(np.float64)
    if kind == "complex" or (kind in ("mixed", "unknown-array") and column.map(_is_nested).any()):
        return None
    return _as_texts(column)


def _is_nested(value) -> bool:
    return not isinstance(value, str | bytes) and (hasattr(value, "__len__") or hasattr(value, "__iter__"))


def _as_texts(column: pd.Series) -> pd.Series:
    """Categories of text; their order is kept where they have one."""
    values = column if isinstance(column.dtype, pd.CategoricalDtype) else column.astype("category")
    texts = [_text(value) for value in values.cat.categories]
    if len(set(texts)) == len(texts):
        return values.cat.rename_categories(texts)
    by_code = np.array([*texts, None], dtype=object)  # -1, a missing value, is the last
    return pd.Series(pd.Categorical(by_code[values.cat.codes]), column.index)


def _text(value) -> str:
    """As HDF5 can hold it."""
    text = value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)
    return text.encode("utf-8", "replace").decode().replace("\0", "")
