"""Result tables, as people open them: no text in them runs as a formula of a spreadsheet."""

from collections.abc import Collection
from pathlib import Path

import pandas as pd

from spatialimpute.files.sealed import whole

#: What starts a formula in Excel, LibreOffice and Google Sheets (OWASP, "CSV Injection").
FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r")


def write_tsv(path: str | Path, table: pd.DataFrame, exact: Collection[str] = ()) -> None:
    """Write a table; texts that a spreadsheet would run get an apostrophe before them, which shows them as text, and so
    do names of columns. Numbers are rounded to five digits but in the columns of `exact`."""
    columns = {}
    for name, column in table.items():
        if not pd.api.types.is_numeric_dtype(column):
            column = column.astype(object).map(harmless)
        elif name in exact and pd.api.types.is_float_dtype(column):
            integers = (column.dropna() % 1 == 0).all()
            column = column.astype("Int64") if integers else column.map(lambda value: repr(float(value)), "ignore")
        columns[harmless(name)] = column
    with whole(path) as partial:
        pd.DataFrame(columns, index=table.index).to_csv(partial, sep="\t", index=False, float_format="%.5g")


def read_tsv(path: str | Path, texts: tuple[str, ...] = ("gene",)) -> pd.DataFrame:
    """Read what :func:`write_tsv` wrote, without the apostrophes.

    `texts` are columns of text, whatever they look like. Only an empty cell is missing: `NA` may be a gene's name.
    """
    dtype = dict.fromkeys(texts, str)
    table = pd.read_csv(path, sep="\t", dtype=dtype, keep_default_na=False, na_values=[""])
    for name in table.select_dtypes(object):
        table[name] = table[name].map(_original)
    table.columns = table.columns.map(_original)
    return table


def harmless(value):
    """The value, with an apostrophe before a text that a spreadsheet would run, and before one that looks like that."""
    return f"'{value}" if isinstance(value, str) and value.lstrip("'").startswith(FORMULA_STARTS) else value


def _original(value):
    shielded = isinstance(value, str) and value.startswith("'") and value.lstrip("'").startswith(FORMULA_STARTS)
    return value[1:] if shielded else value
