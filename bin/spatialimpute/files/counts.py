"""Canonical counts (`counts.h5ad`): what QC writes and every later step reads."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import anndata as ad
import h5py
import numpy as np
import pandas as pd
import scipy.sparse as sp

from spatialimpute.errors import InputError
from spatialimpute.files.sealed import check_seal, sealed

SCHEMA_VERSION = "1"
#: Columns of cells that are ours, here and in `imputed`; any other is the user's, and only copied.
OWN_CELL_COLUMNS = (
    "n_counts", "n_genes", "dataset", "batch", "celltype", "outlier", "depth", "panel_total", "supported",
    "transferred_celltype", "transferred_celltype_probability",
)  # fmt: skip
#: The same of genes, here and in `genes.tsv`.
OWN_GENE_COLUMNS = (
    "gene", "gene_id", "measured", "fold", "spearman", "spearman_partial", "spearman_fraction", "n_detected",
    "detected_fraction", "reference_detected_fraction", "reference_mean", "moran_i", "score", "score_lower",
    "score_upper", "verdict", "reason", "score_expected", "suspect",
)  # fmt: skip
#: Rows whose columns are picked at a time.
BLOCK_ROWS = 65_536


@dataclass
class Counts:
    """Raw counts of one dataset.

    Attributes
    ----------
    X : csr_matrix, float32, shape (n_cells, n_genes); non-negative integers
    genes : array of str, shape (n_genes,), unique
    cells : array of str, shape (n_cells,), unique
    obs : DataFrame, n_cells rows; those of OWN_CELL_COLUMNS that there are, and the user's own columns
    coords : float array, shape (n_cells, 2 or 3), or None for a reference
    info : what `uns['spatialimpute']` holds (role, technology, id, source, digest …)
    gene_ids : array of str, shape (n_genes,), Ensembl ids ("" where unknown), or None when the file has none
    var : DataFrame, n_genes rows; the user's own columns of genes, or None
    """

    X: sp.csr_matrix
    genes: np.ndarray
    cells: np.ndarray
    obs: pd.DataFrame
    coords: np.ndarray | None = None
    info: dict = field(default_factory=dict)
    gene_ids: np.ndarray | None = None
    var: pd.DataFrame | None = None

    @property
    def has_celltypes(self) -> bool:
        """Whether any cell has a `celltype`."""
        return "celltype" in self.obs and bool(self.obs["celltype"].notna().any())

    def select(self, genes) -> sp.csr_matrix:
        """Columns of `genes`, in that order; CSR of shape (n_cells, len(genes)), X itself if these are its columns.

        Raises
        ------
        InputError
            A gene is not in this dataset.
        """
        if np.array_equal(self.genes, genes):
            return self.X
        return self.X[:, _columns(self.info, pd.Index(self.genes), genes)]

    def keep(self, genes) -> "Counts":
        """The genes among `genes` that this dataset has, in that order."""
        present = pd.Index(self.genes)
        kept = [gene for gene in genes if gene in present]
        where = present.get_indexer(kept)
        ids = None if self.gene_ids is None else self.gene_ids[where]
        var = None if self.var is None else self.var.iloc[where]
        return replace(self, X=self.select(kept), genes=np.array(kept, dtype=str), gene_ids=ids, var=var)

    def take(self, rows: np.ndarray) -> "Counts":
        """The given cells (indices or boolean mask), in that order."""
        coords = None if self.coords is None else self.coords[rows]
        return replace(self, X=self.X[rows], cells=self.cells[rows], obs=self.obs.iloc[rows], coords=coords)


def read_counts(
    path: str | Path,
    rows: slice | np.ndarray | None = None,
    genes: Sequence[str] | None = None,
    every_column: bool = False,
) -> Counts:
    """Read a `counts.h5ad` written by :func:`write_counts`, or a part of it, in the memory of that part.

    Parameters
    ----------
    rows : the cells to read, a slice or ascending indices; None reads all
    genes : the genes to read, in this order; None reads all
    every_column : read the user's own columns of cells too, which only the results need

    Raises
    ------
    InputError
        The file is of another schema version, or lacks a gene.
    DamagedError
        It is not what was written.
    """
    check_seal(path)
    info = read_info(path)
    with h5py.File(path, "r") as file:
        obs, var = _read_obs(file["obs"], every_column), ad.io.read_elem(file["var"])
        columns = None if genes is None else _columns(info, var.index, genes)
        rows = slice(None) if rows is None else rows
        coords = np.asarray(file["obsm/spatial"])[rows] if "obsm/spatial" in file else None
        X = _read_matrix(file["X"], rows, columns)
    var = var if columns is None else var.iloc[columns]
    obs = obs.iloc[rows]
    return Counts(
        X=X,
        genes=var.index.to_numpy(str),
        cells=obs.index.to_numpy(str),
        obs=obs,
        coords=coords,
        info=info,
        gene_ids=var["gene_id"].to_numpy(str) if "gene_id" in var else None,
        var=var.drop(columns="gene_id", errors="ignore"),
    )


def _read_obs(group: h5py.Group, every_column: bool) -> pd.DataFrame:
    names = [name for name in group.attrs["column-order"] if every_column or name in OWN_CELL_COLUMNS]
    index = pd.Index(ad.io.read_elem(group[group.attrs["_index"]]))
    return pd.DataFrame({name: ad.io.read_elem(group[name]) for name in names}, index=index)


def read_info(path: str | Path) -> dict:
    """How the counts were made, `uns['spatialimpute']`; raises InputError on another schema version."""
    with h5py.File(path, "r") as file:
        info = dict(ad.io.read_elem(file["uns"]).get("spatialimpute", {})) if "uns" in file else {}
    if info.get("schema_version") != SCHEMA_VERSION:
        raise InputError(
            f"{path}: expected counts written by the QC step (schema version {SCHEMA_VERSION}), "
            f"found schema version {info.get('schema_version', 'none')}; run QC on this file first"
        )
    return info


def _columns(info: dict, names: pd.Index, genes: Sequence[str]) -> np.ndarray:
    position = names.get_indexer(genes)
    if (position < 0).any():
        gene = str(np.asarray(genes)[position < 0][0])
        raise InputError(f"{info.get('source', 'counts')}: gene {gene!r} is not in the counts")
    return position


def _read_matrix(group: h5py.Group, rows: slice | np.ndarray, columns: np.ndarray | None) -> sp.csr_matrix:
    """Rows and columns of a CSR matrix on disk; all columns of no more than BLOCK_ROWS rows are in memory at once."""
    matrix = ad.io.sparse_dataset(group)
    if columns is None:
        return sp.csr_matrix(matrix[rows], dtype=np.float32)
    every = np.arange(matrix.shape[0])[rows]
    if len(columns) == 0:  # the cells are asked for, not their counts
        return sp.csr_matrix((len(every), 0), dtype=np.float32)
    parts = []
    for part in np.split(every, np.arange(BLOCK_ROWS, len(every), BLOCK_ROWS)):
        together = len(part) and part[-1] - part[0] + 1 == len(part)
        block = matrix[slice(int(part[0]), int(part[-1]) + 1) if together else part]
        parts.append(sp.csr_matrix(block, dtype=np.float32)[:, columns])
    return sp.vstack(parts, format="csr", dtype=np.float32)


def write_counts(path: str | Path, counts: Counts) -> None:
    """Write `counts.h5ad` (compressed), stamped with the schema version."""
    index = pd.Index(counts.genes)
    var = pd.DataFrame(index=index) if counts.var is None else counts.var.set_axis(index, axis=0)
    if counts.gene_ids is not None:
        var.insert(0, "gene_id", counts.gene_ids)
    data = ad.AnnData(
        X=counts.X,
        obs=counts.obs.set_axis(pd.Index(counts.cells), axis=0),
        var=var,
        uns={"spatialimpute": {**counts.info, "schema_version": SCHEMA_VERSION}},
    )
    if counts.coords is not None:
        data.obsm["spatial"] = np.asarray(counts.coords, dtype=np.float64)
    with sealed(path) as partial:
        data.write_h5ad(partial, compression="gzip", compression_opts=1)
