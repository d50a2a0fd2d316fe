"""Small files to spoil: one good file of each format, and writers of odd ones."""

import gzip
from pathlib import Path

import anndata as ad
import h5py
import numpy as np
import pandas as pd
import scipy.io
import scipy.sparse as sp

N_CELLS, N_GENES = 12, 11
GENES = [f"Gene{i}" for i in range(N_GENES)]
CELLS = [f"cell{i}" for i in range(N_CELLS)]
COUNTS = np.random.default_rng(0).poisson(4, (N_CELLS, N_GENES)).astype(np.float32)
PLACES = np.random.default_rng(1).random((N_CELLS, 2)) * 100


def data(x=COUNTS, places=PLACES, genes=GENES, cells=CELLS, **obs) -> ad.AnnData:
    """Counts with coordinates; obs are further columns."""
    found = ad.AnnData(x, obs=pd.DataFrame(obs, index=cells[: x.shape[0]]), var=pd.DataFrame(index=genes[: x.shape[1]]))
    if places is not None:
        found.obsm["spatial"] = places
    return found


def write_good(folder: Path) -> None:
    """What the cases start from: a spatial file, a reference, a sheet that names them."""
    data(kind=["a", "b"] * 6).write_h5ad(folder / "spatial.h5ad")
    data(places=None, kind=["a", "b"] * 6, donor=["d"] * 12).write_h5ad(folder / "reference.h5ad")


def edit(path: Path, change) -> None:
    """Change an HDF5 file by `change(file)`."""
    with h5py.File(path, "r+") as file:
        change(file)


def write_loom(path: Path, places: bool = True) -> None:
    with h5py.File(path, "w") as file:
        file["matrix"] = COUNTS.T
        file["row_attrs/Gene"] = np.array(GENES, "S")
        file["col_attrs/CellID"] = np.array(CELLS, "S")
        if places:
            file["col_attrs/X"], file["col_attrs/Y"] = PLACES.T
        for name in ("layers", "row_graphs", "col_graphs", "attrs"):
            file.create_group(name)


def write_10x_h5(path: Path) -> None:
    x = sp.csr_matrix(COUNTS.astype(np.int32))
    with h5py.File(path, "w") as file:
        group = file.create_group("matrix")
        group["data"], group["indices"], group["indptr"] = x.data, x.indices, x.indptr
        group["shape"] = np.array(x.shape[::-1])
        group["barcodes"] = np.array(CELLS, "S")
        for name, values in (("id", GENES), ("name", GENES), ("feature_type", ["Gene Expression"] * N_GENES)):
            group[f"features/{name}"] = np.array(values, "S")
        group["features/genome"] = np.array(["mm10"] * N_GENES, "S")


def write_h5mu(path: Path) -> None:
    with h5py.File(path, "w") as file:
        ad.io.write_elem(file, "mod/rna", data(sp.csr_matrix(COUNTS), places=None))
        ad.io.write_elem(file, "mod/prot", data(COUNTS[:, :2], places=None))
        ad.io.write_elem(file, "obs", pd.DataFrame({"kind": ["a", "b"] * 6}, index=CELLS))
        ad.io.write_elem(file, "var", pd.DataFrame(index=GENES))
        ad.io.write_elem(file, "obsm", {"spatial": PLACES})


def write_mtx(folder: Path) -> None:
    folder.mkdir()
    scipy.io.mmwrite(folder / "matrix.mtx", sp.coo_matrix(COUNTS.T.astype(int)))
    (folder / "features.tsv").write_text("".join(f"ENSMUSG{i:011d}\t{gene}\n" for i, gene in enumerate(GENES)))
    (folder / "barcodes.tsv").write_text("".join(f"{cell}\n" for cell in CELLS))


def table() -> pd.DataFrame:
    """Counts and coordinates as a table."""
    frame = pd.DataFrame(COUNTS.astype(int), index=pd.Index(CELLS, name="cell_id"), columns=GENES)
    return frame.assign(x=PLACES[:, 0], y=PLACES[:, 1])


def write_gz(path: Path, *parts: bytes) -> None:
    with gzip.open(path, "wb", compresslevel=1) as file:
        for part in parts:
            file.write(part)
