"""Files of a simulated tissue, written chunk by chunk.

Everything follows from the tissue's seed; a million cells take no more memory than a chunk and the cells' names,
types and places.
"""

from collections.abc import Iterator
from pathlib import Path

import anndata as ad
import h5py
import numpy as np
import pandas as pd
import scipy.sparse as sp
from anndata.io import sparse_dataset, write_elem

from spatialimpute.simulation.tissue import N_BLANKS, TYPES, Cells, Tissue

#: Share of spatial cells that are in the file twice.
DUPLICATE_SHARE = 0.005

CHUNK = 10_000


def write_reference(path: Path, tissue: Tissue, n_cells: int) -> None:
    """`reference.h5ad`: counts of all genes, `obs['celltype']`."""

    def chunks() -> Iterator[tuple[sp.csr_matrix, Cells]]:
        for rng, size in _chunks(tissue.seed, 3, n_cells):
            cells = tissue.cells(size, rng, tissue.reference_share, n_cells)
            yield sp.csr_matrix(tissue.reference_counts(cells, rng), dtype=np.float32), cells

    _write_counts(path, chunks(), tissue.genes, "reference", spatial=False)


def write_spatial(path: Path, truth: Path, tissue: Tissue, n_cells: int, n_truth: int, section: int = 0) -> None:
    """`spatial.h5ad` as a vendor would give it, and `truth.h5ad` of its first cells.

    The file holds blank probes, and its last cells (DUPLICATE_SHARE of them) repeat its first ones under new
    names. Truth covers the first `n_truth` cells that are no repeats: `X` is :meth:`Tissue.frequencies`, `obs`
    the hidden states, `var` :meth:`Tissue.gene_table`.
    """
    n_duplicates = min(int(np.ceil(DUPLICATE_SHARE * n_cells)), CHUNK, n_cells // 2)
    n_distinct = n_cells - n_duplicates
    truths: list[Cells] = []
    missing = min(n_truth, n_distinct)

    def chunks() -> Iterator[tuple[sp.csr_matrix, Cells]]:
        nonlocal missing
        first = None
        for rng, size in _chunks(tissue.seed, 4 + section, n_distinct):
            cells = tissue.cells(size, rng, tissue.share, n_cells)
            X = sp.csr_matrix(tissue.spatial_counts(cells, rng), dtype=np.float32)
            first = first or (X[:n_duplicates], cells.head(n_duplicates))
            if missing > 0:
                truths.append(cells.head(missing))
                missing -= len(truths[-1].type)
            yield X, cells
        yield first

    genes = np.concatenate([tissue.genes[tissue.panel], [f"Blank-{i + 1}" for i in range(N_BLANKS)]])
    name = f"section{section + 1}"
    _write_counts(path, chunks(), genes, name, spatial=True)
    _write_truth(truth, tissue, truths, name)


def _write_truth(path: Path, tissue: Tissue, parts: list[Cells], name: str) -> None:
    n = sum(len(part.type) for part in parts)
    # Text would become categories in writing too, with a line on the screen for each column.
    obs = pd.DataFrame(
        {
            "celltype": pd.Categorical(np.concatenate([part.celltype for part in parts])),
            "layer": pd.Categorical(np.concatenate([part.layer for part in parts])),
            "depth": np.concatenate([part.depth for part in parts]),
            "activity": np.concatenate([part.activity for part in parts]),
        },
        index=[f"{name}_{i}" for i in range(n)],
    )
    ad.AnnData(obs=obs, var=tissue.gene_table()).write_h5ad(path)
    with h5py.File(path, "r+") as file:
        X = file.create_dataset(
            "X", (n, tissue.n_genes), "float32", chunks=True, compression="gzip", compression_opts=1
        )
        X.attrs.update({"encoding-type": "array", "encoding-version": "0.2.0"})
        start = 0
        for part in parts:
            X[start : start + len(part.type)] = tissue.frequencies(part)
            start += len(part.type)


def write_samplesheet(path: Path, n_samples: int) -> None:
    """`samplesheet.csv` for a simulation's files, with paths relative to itself."""
    rows = [
        {
            "sample": f"cortex_{i + 1}",
            "spatial": section_file("spatial", i),
            "reference": "reference.h5ad",
            "technology": "MERFISH",
            "spatial_batch_key": "",
            "reference_batch_key": "",
            "celltype_key": "celltype",
            "genes": "",
        }
        for i in range(n_samples)
    ]
    pd.DataFrame(rows).to_csv(path, index=False)


def section_file(kind: str, section: int) -> str:
    """File name of a section: spatial.h5ad, spatial_2.h5ad, …"""
    return f"{kind}.h5ad" if section == 0 else f"{kind}_{section + 1}.h5ad"


def _chunks(seed: int, stream: int, n: int) -> Iterator[tuple[np.random.Generator, int]]:
    """A generator and a number of cells for each chunk; a chunk's draws do not depend on the others."""
    for i, start in enumerate(range(0, n, CHUNK)):
        yield np.random.default_rng([seed, stream, i]), min(CHUNK, n - start)


def _write_counts(path, chunks, genes, name, spatial) -> None:
    """Write an AnnData file chunk by chunk; only names, types and places are kept till the end."""
    kinds, coords = [], []
    with h5py.File(path, "w") as file:
        file.attrs.update({"encoding-type": "anndata", "encoding-version": "0.1.0"})
        matrix = None
        for X, cells in chunks:
            if matrix is None:
                # 64-bit row pointers, since a large file holds more than 2³¹ counts.
                X.indptr = X.indptr.astype(np.int64)
                write_elem(file, "X", X, dataset_kwargs={"compression": "gzip", "compression_opts": 1})
                matrix = sparse_dataset(file["X"])
            else:
                matrix.append(X)
            kinds.append(cells.type.astype(np.int8))
            coords.append(cells.coords)
        kind = np.concatenate(kinds)
        celltype = pd.Categorical.from_codes(kind, list(TYPES)).remove_unused_categories()
        obs = pd.DataFrame({"celltype": celltype}, index=[f"{name}_{i}" for i in range(len(kind))])
        write_elem(file, "obs", obs)
        write_elem(file, "var", pd.DataFrame(index=pd.Index(genes)))
        write_elem(file, "obsm", {"spatial": np.concatenate(coords)} if spatial else {})
        for key in ("varm", "obsp", "varp", "layers"):
            write_elem(file, key, {})
        write_elem(file, "uns", {"coordinate_unit": "um"} if spatial else {})
