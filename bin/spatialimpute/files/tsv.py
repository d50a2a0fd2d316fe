"""Result tables, as people open them: no text in them runs as a formula of a spreadsheet."""

from pathlib import Path

import pandas as pd

from spatialimpute.files.sealed import whole

#: What starts a formula in Excel, LibreOffice and Google Sheets (OWASP, "CSV Injection").
FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r")


def write_tsv(path: str | Path, table: pd.DataFrame) -> None:
    """Write a table; texts that a spreadsheet would run get an apostrophe before them, which shows them as text."""
    table = table.copy()
    for name in table.columns[~table.dtypes.map(pd.api.types.is_numeric_dtype)]:
        table[name] = table[name].astype(object).map(harmless)
    with whole(path) as partial:
        table.to_csv(partial, sep="\t", index=False, float_format="%.5g")


def read_tsv(path: str | Path, texts: tuple[str, ...] = ("gene",)) -> pd.DataFrame:
    """Read what :func:`write_tsv` wrote, without the apostrophes.

    `texts` are columns of text, whatever they look like. Only an empty cell is missing: `NA` may be a gene's name.
    """
    dtype = dict.fromkeys(texts, str)
    table = pd.read_csv(path, sep="\t", dtype=dtype, keep_default_na=False, na_values=[""])
    for name in table.select_dtypes(object):
        table[name] = table[name].map(_original)
    return table


def harmless(value):
    """The value, with an apostrophe before a text that a spreadsheet would run, and before one that looks like that."""
    return f"'{value}" if isinstance(value, str) and value.lstrip("'").startswith(FORMULA_STARTS) else value


def _original(value):
    shielded = isinstance(value, str) and value.startswith("'") and value.lstrip("'").startswith(FORMULA_STARTS)
    return value[1:] if shielded else value
