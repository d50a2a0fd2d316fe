"""Whatever may name a gene in a file, read without its counts: quick enough for the check of inputs."""

import csv
from pathlib import Path

from spatialimpute.errors import InputError
from spatialimpute.sources import open_source


def gene_spellings(path: str | Path) -> dict[str, str] | None:
    """Symbols, Ensembl ids and other texts of the genes, {in lower case: as spelled}.

    A name that is not among them is not in the file. None where the file cannot be looked at this way.
    """
    try:
        names = open_source(path).gene_names()
    except (InputError, OSError, ValueError, KeyError, TypeError, RuntimeError, EOFError, MemoryError, csv.Error):
        return None  # QC will say what is wrong with it
    if names is None:
        return None
    spellings = {}
    for name in map(str.strip, names):
        spellings.setdefault(name.casefold(), name)
        spellings.setdefault(name.casefold().split(".")[0], name)  # ENSG00000000003.15
    return spellings
