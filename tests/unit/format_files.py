"""Small files of 40 cells and 12 genes, and what QC makes of them."""

import anndata as ad
import h5py
import numpy as np
import pandas as pd
import scipy.sparse as sp
from spatialimpute.qc.clean import clean_counts

RNG = np.random.default_rng(0)
GENES = [f"Gene{i}" for i in range(12)]
CELLS = [f"c{i}" for i in range(40)]
COUNTS = RNG.poisson(3, (40, 12)).astype(np.float32) + (np.arange(12) == 0)
XY = RNG.random((40, 2)) * 100
LOG = np.log1p(COUNTS / 7)


def data(x=COUNTS, layers=None, genes=GENES, places=True, **var) -> ad.AnnData:
    found = ad.AnnData(
        sp.csr_matrix(x), obs=pd.DataFrame(index=CELLS), var=pd.DataFrame(var, index=genes), layers=layers or {}
    )
    if places:
        found.obsm["spatial"] = XY
    return found


def clean(source, **options):
    return clean_counts(source.read(), id="s", role="spatial", technology="other", source="x", **options)


def write_10x(path, names, group="matrix", x=COUNTS, whole="<i4", **features):
    """Features in rows; texts as bytes."""
    x = sp.csr_matrix(x)
    with h5py.File(path, "a") as file:
        group = file.create_group(group)
        group["barcodes"] = np.array(CELLS, "S")
        for name, values in (("data", x.data), ("indices", x.indices), ("indptr", x.indptr), ("shape", x.shape[::-1])):
            group[name] = np.array(values).astype(whole)
        if not features:
            group["gene_names"], group["genes"] = np.array(names, "S"), np.array(names, "S")
        for key, values in {"name": names, **features}.items() if features else ():
            group[f"features/{key}"] = values if np.asarray(values).dtype == bool else np.array(values, "S")
    return path
