"""Whatever may name a gene in a file, read without its counts: quick enough for the check of inputs."""

import csv
from collections.abc import Callable
from pathlib import Path

from spatialimpute.errors import InputError
from spatialimpute.sources import open_source


def gene_spellings(path: str | Path) -> dict[str, str] | None:
    """Symbols, Ensembl ids and other texts of the genes, {in lower case: as spelled}.

    A name that is not among them is not in the file. None where the file cannot be looked at this way.
    """
    columns = _looked_at(lambda: open_source(path).gene_columns())
    if columns is None:
        return None
    spellings = {}
    for name in (name.strip() for names in columns.values() for name in names):
        spellings.setdefault(name.casefold(), name)
        spellings.setdefault(name.casefold().split(".")[0], name)  # ENSG00000000003.15
    return spellings


def label_columns(path: str | Path) -> dict[str, list[str]]:
    """Texts of a file's first rows, {column ("": the rows' names): texts in lower case}; none where it cannot be looked
    at this way."""
    labels = _looked_at(lambda: open_source(path).labels()) or {}
    return {column: [value.strip().casefold() for value in values] for column, values in labels.items()}


def _looked_at(look: Callable):
    try:
        return look()
    except (InputError, OSError, ValueError, KeyError, TypeError, RuntimeError, EOFError, MemoryError, csv.Error):
        return None  # QC will say what is wrong with it
