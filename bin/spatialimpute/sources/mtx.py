"""Matrix Market files, whose header is held against its neighbors before anything is allocated."""

from pathlib import Path

import anndata as ad
import numpy as np
import pandas as pd
import scipy.sparse as sp

from spatialimpute.errors import InputError
from spatialimpute.sources.formats import mtx_files
from spatialimpute.sources.memory import require_memory
from spatialimpute.sources.text import SAFE_NUMBERS, open_text

#: The shortest entry is "1 1 1" and a newline; packed, an entry still takes a good part of a byte.
BYTES_PER_ENTRY, PACKED_ENTRIES_PER_BYTE = 6, 10
#: Row, column and value, twice while they are sorted.
ENTRY_IN_MEMORY = 48
MAX_COMMENTS = 1000
#: Entries that are parsed at a time.
BLOCK = 1 << 22


def read_10x_mtx(path: Path) -> ad.AnnData:
    """A 10x matrix folder, genes in rows, in any of the layouts in use (scanpy's reader knows two of them)."""
    matrix, features, barcodes = mtx_files(path)
    genes, cells = read_names(features), read_names(barcodes)
    x = _read_matrix(matrix, features, barcodes, len(genes), len(cells))
    names = ["gene_ids", "gene_symbols", "feature_types"][: genes.shape[1]]
    var = genes.iloc[:, : len(names)].set_axis(names, axis=1)
    var.index = pd.Index(var[names[min(1, len(names) - 1)]].to_numpy())
    return ad.AnnData(X=x, obs=pd.DataFrame(index=pd.Index(cells[0].to_numpy())), var=var)


def read_names(path: Path) -> pd.DataFrame:
    """The columns of a features or barcodes file, as text."""
    with open_text(path) as handle:
        rows = [line.rstrip("\r\n").split("\t") for line in handle]
    rows = [row for row in rows if row != [""]]
    width = min(map(len, rows), default=1)
    return pd.DataFrame([row[:width] for row in rows], columns=range(width), dtype=object)


def _read_matrix(matrix: Path, features: Path, barcodes: Path, n_genes: int, n_cells: int) -> sp.csr_matrix:
    """Counts, cells in rows. scipy's reader crashes on some damaged files (a zero byte among the entries)."""
    with open_text(matrix) as text:
        n_rows, n_columns, n_entries = _sizes(matrix, text)
        if (n_rows, n_columns) != (n_genes, n_cells):
            hint = "transpose it" if (n_columns, n_rows) == (n_genes, n_cells) else "export the three files again"
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
