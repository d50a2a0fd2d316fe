"""Whatever may name a gene in a file, read without its counts: quick enough for the check of inputs."""

import csv
import itertools
from collections.abc import Iterator
from pathlib import Path

from spatialimpute.errors import InputError
from spatialimpute.sources.formats import detect_format, mtx_files, table_header
from spatialimpute.sources.hdf5 import memory_of, open_hdf5
from spatialimpute.sources.memory import require_memory
from spatialimpute.sources.text import open_text

#: Groups within groups to the texts: `matrix/features/name` of 10x.
MAX_DEPTH = 3

#: Where each kind of HDF5 file keeps what it says of its genes.
_PLACES = {"h5ad": ("var", "raw/var", "raw.var"), "loom": ("row_attrs",), "10x h5": ("",)}


def gene_spellings(path: str | Path) -> dict[str, str] | None:
    """Symbols, Ensembl ids and other texts of the genes, {in lower case: as spelled}.

    A name that is not among them is not in the file. None where the file cannot be looked at this way.
    """
    path = Path(path)
    try:
        names = _names(path, detect_format(path))
        if names is None:
            return None
        spellings = {}
        for name in names:
            name = name.strip()
            spellings.setdefault(name.casefold(), name)
            spellings.setdefault(name.casefold().split(".")[0], name)  # ENSG00000000003.15
        return spellings
    except (InputError, OSError, ValueError, KeyError, TypeError, RuntimeError, EOFError, MemoryError, csv.Error):
        return None  # QC will say what is wrong with it


def _names(path: Path, kind: str) -> Iterator[str] | None:
    if kind == "table":
        return iter(table_header(path))
    if kind == "10x mtx":
        with open_text(mtx_files(path)[1]) as handle:
            return iter([field for line in handle for field in line.rstrip("\r\n").split("\t")])
    if kind in _PLACES:
        with open_hdf5(path) as file:
            places = [file[place] if place else file for place in _PLACES[kind] if not place or place in file]
            return itertools.chain.from_iterable([_texts(place) for place in places])
    return None


def _texts(item, depth: int = MAX_DEPTH) -> list[str]:
    """All texts in an HDF5 dataset, or in a group's so deep within it."""
    if hasattr(item, "keys"):
        return [text for key in item for text in _texts(item[key], depth - 1)] if depth else []
    require_memory(memory_of(item), f"{item.name} of {item.file.filename}")
    if item.dtype.names:  # h5ad before anndata 0.7
        values = item[()]
        return [_text(text) for name in item.dtype.names if values[name].dtype.kind in "SO" for text in values[name]]
    return [_text(value) for value in item[()].ravel()] if item.dtype.kind in "SO" and item.ndim == 1 else []


def _text(value) -> str:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)
