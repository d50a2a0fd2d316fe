"""10x matrices as folders: a Matrix Market file, whose header is held against its neighbors before anything is
allocated, with the genes and cells that it counts.

https://www.10xgenomics.com/support/software/cell-ranger/latest/analysis/outputs/cr-outputs-mex-matrices
"""

import re
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from spatialimpute.errors import InputError
from spatialimpute.sources.base import Header, Source
from spatialimpute.sources.gene_columns import INDEX
from spatialimpute.sources.guard import require_memory
from spatialimpute.sources.text import SAFE_NUMBERS, open_text
from spatialimpute.sources.vocabulary import MTX_SUFFIXES

if TYPE_CHECKING:
    import anndata as ad
    import pandas as pd
    import scipy.sparse as sp

PLAIN = ("matrix.mtx", "matrix.mtx.gz")
FEATURES, BARCODES = ("features.tsv", "genes.tsv"), ("barcodes.tsv",)
#: Columns of the features, of which older and other tools write fewer.
FEATURE_COLUMNS = ("gene_ids", "gene_symbols", "feature_types")
#: The shortest entry is "1 1 1" and a newline; packed, an entry still takes a good part of a byte.
BYTES_PER_ENTRY, PACKED_ENTRIES_PER_BYTE = 6, 10
#: Row, column and value, twice while they are sorted.
ENTRY_IN_MEMORY = 48
MAX_COMMENTS = 1000
#: Files that a message names.
N_LISTED = 6
#: Entries that are parsed at a time.
BLOCK = 1 << 22


class TenxMtx(Source):
    """A folder with one matrix in any of the layouts in use (scanpy's reader knows two of them), or a
    `<prefix>matrix.mtx[.gz]` among others."""

    kind = "10x mtx"

    @classmethod
    def is_it(cls, path: Path) -> bool:
        return bool(matrices(path)) if path.is_dir() else path.name.lower().endswith(MTX_SUFFIXES)

    def files(self) -> list[Path]:
        """Matrix, features and barcodes.

        Raises
        ------
        InputError
            One of the three is missing, or the folder holds several matrices.
        """
        matrix = self._matrix()
        prefix = re.sub(r"matrix\.mtx(\.gz)?$", "", matrix.name, flags=re.IGNORECASE)
        if prefix == matrix.name:
            prefix = ""
        return [matrix, self._beside(matrix, prefix, FEATURES), self._beside(matrix, prefix, BARCODES)]

    def _matrix(self) -> Path:
        if not self.path.is_dir():
            return self.path
        found = matrices(self.path)
        plain = [path for path in found if path.name.lower() in PLAIN]  # beside it STARsolo writes others of fractions
        if len(plain) == 1:
            return plain[0]
        if len(found) != 1:
            names = ", ".join(path.name for path in found[:N_LISTED]) + (" …" if len(found) > N_LISTED else "")
            raise InputError(
                f"{self.path}: expected one matrix.mtx[.gz] in this folder, found {len(found)}: {names}; name the "
                f"matrix of one sample, for example {self.path.name}/{found[0].name}: its features and barcodes are "
                "found by the same beginning of their names"
            )
        return found[0]

    def _beside(self, matrix: Path, prefix: str, names: tuple[str, ...]) -> Path:
        paths = [matrix.parent / f"{prefix}{name}{gz}" for name in names for gz in ("", ".gz")]
        found = next((path for path in paths if path.exists()), None)
        if found is None:
            beside = sorted(path.name for path in matrix.parent.iterdir() if not path.name.startswith("."))
            listed = ", ".join(beside[:N_LISTED]) + (" …" if len(beside) > N_LISTED else "")
            raise InputError(
                f"{self.path}: {prefix}{names[0]}[.gz] is missing beside {matrix.name}; "
                "a 10x matrix needs its matrix, features (or genes) and barcodes together, with the same beginning of "
                f"their names (found {listed}): rename a file that lists them so, one per line and without a header"
            )
        return found

    def header(self) -> Header:
        self.files()
        return Header([], False)

    def gene_columns(self) -> dict[str, list[str]]:
        columns: dict[str, list[str]] = {name: [] for name in FEATURE_COLUMNS}
        with open_text(self.files()[1]) as handle:
            rows = [_fields(line) for line in handle]
        for row in _without_numbers(rows):
            for name, field in zip(FEATURE_COLUMNS, row, strict=False):
                columns[name].append(field)
        return {INDEX: columns["gene_symbols"] or columns["gene_ids"], **columns}

    def labels(self) -> dict[str, list[str]]:
        with open_text(self.files()[2]) as handle:
            return {"": [row[0] for row in _without_numbers([_fields(line) for line in handle])]}

    def _read(self, keys: Iterable[str]) -> "ad.AnnData":
        import anndata as ad
        import pandas as pd

        matrix, features, barcodes = self.files()
        genes, cells = _read_names(features), _read_names(barcodes)
        x = _read_matrix(matrix, features, barcodes, len(genes), len(cells))
        names = list(FEATURE_COLUMNS[: genes.shape[1]])
        var = genes.iloc[:, : len(names)].set_axis(names, axis=1)
        var.index = pd.Index(var[names[min(1, len(names) - 1)]].to_numpy())
        return ad.AnnData(X=x, obs=pd.DataFrame(index=pd.Index(cells[0].to_numpy())), var=var)


def matrices(folder: Path) -> list[Path]:
    """The matrices in a folder; a Mac leaves a file ._x beside every x that it copies to a foreign disk."""
    names = (path for path in folder.iterdir() if path.name.lower().endswith(MTX_SUFFIXES)) if folder.is_dir() else ()
    return sorted(path for path in names if not path.name.startswith("."))


def _fields(line: str) -> list[str]:
    """Fields of a line, without the quotes that R writes around each."""
    fields = line.rstrip("\r\n").split("\t")
    return [field[1:-1] if len(field) > 1 and field[0] == field[-1] == '"' else field for field in fields]


def _without_numbers(rows: list[list[str]]) -> list[list[str]]:
    """Rows without the numbers 1, 2, … that R writes in front of them."""
    numbered = len(rows) > 1 and all(len(row) > 1 and row[0] == str(i) for i, row in enumerate(rows, start=1))
    return [row[1:] for row in rows] if numbered else rows


def _read_names(path: Path) -> "pd.DataFrame":
    """The columns of a features or barcodes file, as text."""
    import pandas as pd

    with open_text(path) as handle:
        rows = [_fields(line) for line in handle]
    rows = _without_numbers([row for row in rows if row != [""]])
    width = min(map(len, rows), default=1)
    return pd.DataFrame([row[:width] for row in rows], columns=range(width), dtype=object)


def _read_matrix(matrix: Path, features: Path, barcodes: Path, n_genes: int, n_cells: int) -> "sp.csr_matrix":
    """Counts, cells in rows. scipy's reader crashes on some damaged files (a zero byte among the entries)."""
    import pandas as pd
    import scipy.sparse as sp

    with open_text(matrix) as text:
        n_rows, n_columns, n_entries = _sizes(matrix, text)
        if (n_rows, n_columns) != (n_genes, n_cells):
            hint = "transpose it" if (n_columns, n_rows) == (n_genes, n_cells) else "export the three files again"
            headed = [
                path.name
                for path, n, claimed in ((features, n_genes, n_rows), (barcodes, n_cells, n_columns))
                if n == claimed + 1
            ]
            if headed and hint != "transpose it":
                hint = f"remove the first line of {' and of '.join(headed)}, which seems to be a header"
            raise InputError(
                f"{matrix}: {n_rows:,} rows and {n_columns:,} columns, but {features.name} names {n_genes:,} genes "
                f"and {barcodes.name} {n_cells:,} cells; expected genes in rows and cells in columns: {hint}"
            )
        _require_room(matrix, n_entries)
        types = {"gene": np.int32, "cell": np.int32, "count": np.float64}
        blocks = pd.read_csv(
            text, sep=r"\s+", header=None, names=list(types), dtype=types, chunksize=BLOCK, **SAFE_NUMBERS
        )
        entries = pd.concat(blocks, ignore_index=True) if n_entries else pd.DataFrame(columns=list(types), dtype=int)
    if len(entries) != n_entries:
        raise InputError(
            f"{matrix}: its header claims {n_entries:,} entries, and it holds {len(entries):,}; it was cut short or "
            "put together wrongly: copy it again"
        )
    for name, most in (("gene", n_genes), ("cell", n_cells)):
        wrong = np.flatnonzero((entries[name] < 1) | (entries[name] > most))
        if wrong.size:
            raise InputError(
                f"{matrix}: entry {wrong[0] + 1} is of {name} {entries[name].iloc[wrong[0]]}, expected 1 to {most:,}; "
                "the first has the number 1: export it again"
            )
    places = entries["cell"].to_numpy() - 1, entries["gene"].to_numpy() - 1
    return sp.csr_matrix((entries["count"].to_numpy(), places), shape=(n_cells, n_genes))


def _sizes(matrix: Path, text) -> tuple[int, int, int]:
    """Numbers of rows, columns and entries; the text is read up to its first entry."""
    banner = text.readline(1000)
    kind = banner.lower().split()
    if kind[:2] != ["%%matrixmarket", "matrix"]:
        raise InputError(f"{matrix}: found {banner[:60]!r}, expected '%%MatrixMarket matrix'; export it again")
    if kind[2:3] != ["coordinate"] or kind[3:4] not in (["integer"], ["real"]) or kind[4:] != ["general"]:
        raise InputError(
            f"{matrix}: a matrix of kind {' '.join(kind[2:])!r}, expected 'coordinate integer general'; export counts"
        )
    lines = (text.readline(10_000) for _ in range(MAX_COMMENTS))
    sizes = next((line.split() for line in lines if line.strip() and not line.startswith("%")), [])
    if len(sizes) != 3 or not all(size.isascii() and size.isdecimal() and len(size) < 20 for size in sizes):
        raise InputError(f"{matrix}: no line with the numbers of rows, columns and entries; export it again")
    n_rows, n_columns, n_entries = map(int, sizes)
    return n_rows, n_columns, n_entries


def _require_room(matrix: Path, n_entries: int) -> None:
    size = matrix.stat().st_size
    possible = PACKED_ENTRIES_PER_BYTE * size if matrix.name.lower().endswith(".gz") else size / BYTES_PER_ENTRY
    if n_entries > possible + 1:
        raise InputError(
            f"{matrix}: its header claims {n_entries:,} entries, more than a file of {size:,} bytes holds; it was cut "
            "short: copy it again"
        )
    require_memory(ENTRY_IN_MEMORY * n_entries, f"the matrix of {matrix}")
