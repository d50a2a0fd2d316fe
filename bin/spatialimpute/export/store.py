"""`spatialdata.zarr`: a SpatialData store with the imputed file as a table that annotates the sample's cells."""

from pathlib import Path

import anndata as ad
import dask
import numpy as np
import pandas as pd
from scipy.spatial import KDTree
from spatialdata import SpatialData, sanitize_table
from spatialdata.models import ShapesModel, TableModel

from spatialimpute.errors import InputError
from spatialimpute.files.chunks import Grid
from spatialimpute.files.imputed import open_imputed
from spatialimpute.files.sealed import whole

TABLE = "imputed"
#: The element of the cells of a sample that came without a store, and the table's keys then.
CELLS, REGION, INSTANCE = "cells", "sdata_region", "sdata_instance"
#: Values that are copied at once: many rows, since zarr cuts chunks of its own, and writes each that a block ends in
#: once more.
BLOCK_VALUES = 1 << 23


def write_store(path: str | Path, imputed: str | Path, annotates: dict[str, str] | None, threads: int = 1) -> None:
    """Write a store with the table `imputed`; its values pass through the memory block by block.

    Parameters
    ----------
    imputed : an imputed file or zarr folder
    annotates : where the sample was read from a store, that one's keys, `region` and `instance`, and the columns of the
        imputed file that hold them, `region_column` and `instance_column`. The table then annotates that store's
        elements, which are not written again. None: circles are written for the cells

    Raises
    ------
    InputError
        spatialdata takes no such keys: instances that repeat within a region, or are missing.
    """
    with open_imputed(imputed) as group, dask.config.set(num_workers=threads):
        table, shapes = _read_table(group), {}
        if annotates is None:
            shapes[CELLS] = _circles(table)
            keys = pd.DataFrame({REGION: CELLS, INSTANCE: table.obs_names}, index=table.obs_names)
        else:
            keys = table.obs[[annotates["region_column"], annotates["instance_column"]]]
            keys = keys.set_axis([annotates["region"], annotates["instance"]], axis=1)
            table.obs = table.obs.drop(columns=[annotates["region_column"], annotates["instance_column"]])
        region, instance = keys.columns
        keys = pd.DataFrame({region: keys[region].astype(str).astype("category"), instance: _plain(keys[instance])})
        others = table.obs.rename(columns={name: f"{name}_spatialimpute" for name in keys})
        table.obs = pd.concat([keys, others], axis=1)
        sanitize_table(table)  # spatialdata wants fewer characters in names; the first column of a name keeps it
        try:
            table = TableModel.parse(table, keys[region].cat.categories.tolist(), region, instance)
        except (ValueError, TypeError) as error:
            raise InputError(
                f"{imputed}: its cells cannot annotate a SpatialData store by {region!r} and {instance!r} ({error}); "
                "correct these columns in the store that it was made of"
            ) from error
        with whole(path) as partial:
            SpatialData(shapes=shapes, tables={TABLE: table}).write(partial)


def _read_table(group) -> ad.AnnData:
    """The imputed file, its matrices still on disk."""
    obs, var, obsm, uns = (ad.io.read_elem(group[name]) for name in ("obs", "var", "obsm", "uns"))
    rows = Grid.of(len(obs), len(var)).rows
    chunks = min(rows * max(BLOCK_VALUES // (rows * len(var)), 1), len(obs)), len(var)
    layers = {name: ad.experimental.read_elem_lazy(group[f"layers/{name}"], chunks=chunks) for name in group["layers"]}
    X = ad.experimental.read_elem_lazy(group["X"], chunks=chunks)
    return ad.AnnData(X=X, obs=obs, var=var, layers=layers, obsm=obsm, uns=uns)


def _plain(instances: pd.Series) -> pd.Series:
    """Whole numbers or text, as the shapes have them, and no categories of those."""
    if isinstance(instances.dtype, pd.CategoricalDtype):
        instances = instances.astype(instances.cat.categories.dtype)
    return instances.astype(np.int64) if pd.api.types.is_integer_dtype(instances) else instances.astype(str)


def _circles(table: ad.AnnData):
    """A circle for each cell; they reach halfway to the nearest neighbor, at the median over the cells."""
    places = np.asarray(table.obsm["spatial"])[:, :2]  # spatialdata's shapes are flat
    nearest = KDTree(places).query(places, k=2)[0][:, 1]
    apart = nearest[nearest > 0]
    radius = float(np.median(apart)) / 2 if apart.size else 1.0
    return ShapesModel.parse(places, geometry=0, radius=radius, index=table.obs_names)
