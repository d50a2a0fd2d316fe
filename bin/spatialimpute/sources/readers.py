"""Read vendors' and laboratories' files as they are; what they mean is QC's business.

Every reader returns an AnnData with cells in rows and only what QC needs: the candidate matrices (`X`,
`layers['counts']`, `raw`) as CSR, `obs`, `var` and, where the file has coordinates, `obsm['spatial']`
(n_cells, 2 or 3) with `uns['coordinate_unit']` ("um", "px" or "unknown"). Dense matrices are read by blocks
of rows, so that a million cells never exist densely.
"""

import warnings
from collections.abc import Iterable
from pathlib import Path

import anndata as ad
import numpy as np
import pandas as pd
import scipy.sparse as sp

from spatialimpute.errors import InputError, SpatialImputeError
from spatialimpute.sources.folders import find_bundle
from spatialimpute.sources.formats import (
    CELL_ID_COLUMNS,
    COORDINATE_KEYS,
    COORDINATE_UNITS,
    coordinate_columns,
    detect_format,
    match_names,
)
from spatialimpute.sources.hdf5 import open_hdf5, require_hdf5_memory
from spatialimpute.sources.mtx import read_10x_mtx
from spatialimpute.sources.tables import read_coordinates, read_table

BLOCK_BYTES = 64 << 20
HDF5_KINDS = ("h5ad", "loom", "10x h5")
LOOM_GENE_ATTRIBUTES = (
    "gene",
    "genes",
    "gene_name",
    "gene_names",
    "genename",
    "symbol",
    "var_names",
    "name",
    "accession",
)
LOOM_CELL_ATTRIBUTES = (*CELL_ID_COLUMNS, "obs_names", "cell_names")


def read_raw(path: str | Path, coords: str | Path | None = None, keys: Iterable[str] = ()) -> ad.AnnData:
    """Read any supported file; the format is told by :func:`spatialimpute.sources.formats.detect_format`.

    Parameters
    ----------
    path : the file, or the folder of a 10x matrix or of an instrument
    coords : CSV/TSV with a cell id column and x, y[, z]; overrides coordinates within the file
    keys : names of per-cell columns (batch, cell type) that a table holds among its genes

    Raises
    ------
    InputError
        The file is missing, damaged, of no known format, or its coordinates do not fit its cells.
    """
    path = Path(path)
    kind = detect_format(path)
    if kind in HDF5_KINDS:
        require_hdf5_memory(path)
    try:
        with warnings.catch_warnings():
            # Readers complain about names that are not unique, which QC counts, and about old encodings.
            warnings.simplefilter("ignore")
            if kind == "table":
                data = read_table(path, keys)
            elif kind in _READERS:
                data = _READERS[kind](path)
            else:
                data = find_bundle(path).read()
    except (SpatialImputeError, MemoryError):
        raise
    except Exception as error:  # whatever a library says of a file it cannot read, the file has to be fixed
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise InputError(f"{path}: cannot be read as {kind} ({reason}); export or copy the file again") from error
    data.obs_names, data.var_names = data.obs_names.astype(str), data.var_names.astype(str)
    if coords is not None:
        data.obsm["spatial"], data.uns["coordinate_unit"] = read_coordinates(coords, data.obs_names)
    else:
        _find_coordinates(data, path)
    return data


def _find_coordinates(data: ad.AnnData, path: Path) -> None:
    """Set `obsm['spatial']` and `uns['coordinate_unit']` from the usual places, if there are any."""
    key, columns = match_names(data.obsm, COORDINATE_KEYS), coordinate_columns(data.obs.columns)
    if key is not None:
        values = data.obsm[key]
        unit = COORDINATE_UNITS.get(str(data.uns.get("coordinate_unit")).casefold(), "unknown")
        values = values.toarray() if sp.issparse(values) else np.asarray(values)
        where = f"obsm[{key!r}]"
    elif columns is not None:
        values, unit = data.obs[columns[0]].to_numpy(), columns[1]
        where = f"columns {', '.join(columns[0])}"
    else:
        return
    try:
        values = values.astype(np.float64)
    except (TypeError, ValueError):
        raise InputError(f"{path}: coordinates in {where} are not numbers; write x and y as numbers") from None
    if values.ndim != 2 or values.shape[1] not in (2, 3):
        raise InputError(
            f"{path}: {where} has shape {values.shape}, expected (cells, 2) or (cells, 3); store x, y[, z] there"
        )
    for name in list(data.obsm):
        del data.obsm[name]
    data.obsm["spatial"], data.uns["coordinate_unit"] = values, unit


def to_csr(matrix) -> sp.csr_matrix:
    """A matrix in memory or a dense HDF5 dataset as CSR; a dataset is read by blocks of rows."""
    if sp.issparse(matrix):
        # An index out of bounds would be read, and written, outside the matrix's memory.
        if hasattr(matrix, "check_format"):
            matrix.check_format(full_check=True)
        return sp.csr_matrix(matrix)
    if isinstance(matrix, np.ndarray):
        return sp.csr_matrix(np.atleast_2d(matrix))
    n_rows, n_columns = matrix.shape
    step = max(1, BLOCK_BYTES // max(1, n_columns * matrix.dtype.itemsize))
    blocks = [sp.csr_matrix(matrix[start : start + step]) for start in range(0, n_rows, step)]
    return sp.vstack(blocks, format="csr") if blocks else sp.csr_matrix(matrix.shape, dtype=np.float32)


def _read_h5ad(path: Path) -> ad.AnnData:
    with open_hdf5(path) as file:
        if "encoding-type" in file.attrs:
            return read_anndata_parts(file)
    require_hdf5_memory(path, everything=True)
    data = ad.read_h5ad(path)  # written before anndata 0.8: its own reader knows the old layouts
    raw = None if data.raw is None else {"X": to_csr(data.raw.X), "var": data.raw.var}
    return ad.AnnData(
        X=None if data.X is None else to_csr(data.X),
        obs=data.obs,
        var=data.var,
        layers={"counts": to_csr(data.layers["counts"])} if "counts" in data.layers else {},
        obsm={key: data.obsm[key] for key in data.obsm if key.casefold() in COORDINATE_KEYS},
        raw=raw,
    )


def read_anndata_parts(file) -> ad.AnnData:
    """Only what QC looks at, of an HDF5 file or a zarr group: other layers, embeddings, graphs and `uns` may be
    larger than the counts."""

    obs, var = ad.io.read_elem(file["obs"]), ad.io.read_elem(file["var"])

    def matrix(key: str, genes: pd.DataFrame):
        element = file[key]
        # Before its row pointers are made, one for every row that it claims.
        shape = tuple(map(int, element.shape if hasattr(element, "dtype") else element.attrs["shape"]))
        if shape != (len(obs), len(genes)):
            raise ValueError(f"{key} has shape {shape}, but there are {len(obs)} cells and {len(genes)} genes")
        return to_csr(element if hasattr(element, "dtype") else ad.io.read_elem(element))

    raw = None
    if "raw/X" in file:
        raw_var = ad.io.read_elem(file["raw/var"])
        raw = {"X": matrix("raw/X", raw_var), "var": raw_var}
    keys = [key for key in file.get("obsm", ()) if key.casefold() in COORDINATE_KEYS]
    unit = "uns/coordinate_unit"
    has_unit = unit in file and getattr(file[unit], "shape", None) == ()  # anything else could be of any size
    return ad.AnnData(
        X=matrix("X", var) if "X" in file and file["X"].attrs.get("encoding-type") != "null" else None,
        obs=obs,
        var=var,
        layers={"counts": matrix("layers/counts", var)} if "layers/counts" in file else {},
        obsm={key: ad.io.read_elem(file["obsm"][key]) for key in keys},
        uns={"coordinate_unit": ad.io.read_elem(file[unit])} if has_unit else {},
        raw=raw,
    )


def _read_loom(path: Path) -> ad.AnnData:
    # anndata's own loom reader fails on attributes of shape (cells, 1), as in the published STARmap file.
    import loompy

    with loompy.connect(str(path), mode="r", validate=False) as loom:
        cells = {key: np.asarray(loom.ca[key]) for key in loom.ca.keys()}
        genes = {key: np.asarray(loom.ra[key]) for key in loom.ra.keys()}
        x = loom.layers[""].sparse().T.tocsr()
        layers = {"counts": loom.layers["counts"].sparse().T.tocsr()} if "counts" in loom.layers.keys() else {}
    wide = {key: values for key, values in cells.items() if values.ndim == 2 and values.shape[1] > 1}
    obs = pd.DataFrame({key: values.ravel() for key, values in cells.items() if key not in wide})
    var = pd.DataFrame({key: values.ravel() for key, values in genes.items() if values.size == x.shape[1]})
    gene_key = match_names(var.columns, LOOM_GENE_ATTRIBUTES)
    if gene_key is None:
        raise InputError(
            f"{path}: no row attribute names the genes (found {', '.join(var.columns) or 'none'}); "
            "store their names in the row attribute Gene"
        )
    cell_key = match_names(obs.columns, LOOM_CELL_ATTRIBUTES)
    obs.index = obs[cell_key].astype(str) if cell_key is not None else numbered_cells(x.shape[0])
    var.index = var[gene_key].astype(str)
    obs.index.name = var.index.name = None
    return ad.AnnData(X=x, obs=obs, var=var, layers=layers, obsm=wide)


def numbered_cells(n: int) -> pd.Index:
    """Names for cells that have none: cell1, cell2, …"""
    return pd.Index([f"cell{i + 1}" for i in range(n)])


def read_10x(path: Path) -> ad.AnnData:
    """A 10x matrix, as HDF5 or as a folder."""
    if path.is_dir():
        return read_10x_mtx(path)
    require_hdf5_memory(path)
    return _read_10x_h5(path)


def _read_10x_h5(path: Path) -> ad.AnnData:
    import scanpy as sc

    data = sc.read_10x_h5(path, gex_only=False)
    return ad.AnnData(X=to_csr(data.X), obs=data.obs, var=data.var)


_READERS = {"h5ad": _read_h5ad, "loom": _read_loom, "10x h5": _read_10x_h5, "10x mtx": read_10x_mtx}
