"""Canonical counts (`counts.h5ad`): what QC writes and every later step reads."""

from dataclasses import dataclass, field
from pathlib import Path

import anndata as ad
import numpy as np
import pandas as pd
import scipy.sparse as sp

from spatialimpute.errors import InputError
from spatialimpute.files.sealed import check_seal, sealed

SCHEMA_VERSION = "1"


@dataclass
class Counts:
    """Raw counts of one dataset.

    Attributes
    ----------
    X : csr_matrix, float32, shape (n_cells, n_genes); non-negative integers
    genes : array of str, shape (n_genes,), unique
    cells : array of str, shape (n_cells,), unique
    obs : DataFrame, n_cells rows; `n_counts`, `n_genes`, `dataset`, optional `batch` and `celltype`
    coords : float array, shape (n_cells, 2 or 3), or None for a reference
    info : what `uns['spatialimpute']` holds (role, technology, id, source, digest …)
    gene_ids : array of str, shape (n_genes,), Ensembl ids ("" where unknown), or None when the file has none
    """

    X: sp.csr_matrix
    genes: np.ndarray
    cells: np.ndarray
    obs: pd.DataFrame
    coords: np.ndarray | None = None
    info: dict = field(default_factory=dict)
    gene_ids: np.ndarray | None = None

    def select(self, genes) -> sp.csr_matrix:
        """Columns of `genes`, in that order; CSR of shape (n_cells, len(genes)), X itself if these are its columns.

        Raises
        ------
        InputError
            A gene is not in this dataset.
        """
        if np.array_equal(self.genes, genes):
            return self.X
        position = pd.Index(self.genes).get_indexer(genes)
        if (position < 0).any():
            gene = np.asarray(genes)[position < 0][0]
            raise InputError(f"{self.info.get('source', 'counts')}: gene {gene!r} is not in the counts")
        return self.X[:, position]

    def take(self, rows: np.ndarray) -> "Counts":
        """The given cells (indices or boolean mask), in that order."""
        coords = None if self.coords is None else self.coords[rows]
        return Counts(self.X[rows], self.genes, self.cells[rows], self.obs.iloc[rows], coords, self.info, self.gene_ids)


def read_counts(path: str | Path) -> Counts:
    """Read a `counts.h5ad` written by :func:`write_counts`.

    Raises
    ------
    InputError
        The file is of another schema version.
    DamagedError
        It is not what was written.
    """
    check_seal(path)
    data = ad.read_h5ad(path)
    info = dict(data.uns.get("spatialimpute", {}))
    if info.get("schema_version") != SCHEMA_VERSION:
        raise InputError(
            f"{path}: expected counts written by the QC step (schema version {SCHEMA_VERSION}), "
            f"found schema version {info.get('schema_version', 'none')}; run QC on this file first"
        )
    return Counts(
        X=sp.csr_matrix(data.X, dtype=np.float32),
        genes=data.var_names.to_numpy(str),
        cells=data.obs_names.to_numpy(str),
        obs=data.obs,
        coords=np.asarray(data.obsm["spatial"]) if "spatial" in data.obsm else None,
        info=info,
        gene_ids=data.var["gene_id"].to_numpy(str) if "gene_id" in data.var else None,
    )


def write_counts(path: str | Path, counts: Counts) -> None:
    """Write `counts.h5ad` (compressed), stamped with the schema version."""
    var = pd.DataFrame(index=pd.Index(counts.genes))
    if counts.gene_ids is not None:
        var["gene_id"] = counts.gene_ids
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
