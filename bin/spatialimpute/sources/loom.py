"""Loom: genes in rows, attributes of genes and cells beside. https://linnarssonlab.org/loompy/format"""

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from spatialimpute.errors import InputError
from spatialimpute.sources.base import Header, Source
from spatialimpute.sources.cell_table import step
from spatialimpute.sources.gene_columns import INDEX
from spatialimpute.sources.hdf5 import open_hdf5, reading, require_hdf5_memory, texts, top_names
from spatialimpute.sources.layers import USUAL, other_layers
from spatialimpute.sources.vocabulary import (
    COORDINATE_KEYS,
    LOOM_CELL_ATTRIBUTES,
    LOOM_GENE_ATTRIBUTES,
    find_name,
    has_coordinates,
    numbered_cells,
)

if TYPE_CHECKING:
    import anndata as ad


class Loom(Source):
    """Attributes of two dimensions may hold coordinates; those of shape (cells, 1) are columns all the same."""

    kind = "loom"

    @classmethod
    def is_it(cls, path: Path) -> bool:
        return {"row_attrs", "col_attrs", "matrix"} <= top_names(path)

    def header(self) -> Header:
        with reading(self.path), open_hdf5(self.path) as file:
            attributes = file["col_attrs"]
            wide = [key for key in attributes if len(attributes[key].shape) == 2 and attributes[key].shape[1] > 1]
            columns = [key for key in attributes if key not in wide and not attributes[key].dtype.names]
        return Header(columns, has_coordinates(wide, columns))

    def gene_columns(self) -> dict[str, list[str]]:
        with reading(self.path), open_hdf5(self.path) as file:
            columns = {str(key): texts(item) for key, item in file["row_attrs"].items()}
        index = find_name(columns, LOOM_GENE_ATTRIBUTES)
        found = {key: values for key, values in columns.items() if values and key != index}
        return {INDEX: columns.get(index, []), **found}

    def labels(self) -> dict[str, list[str]]:
        with open_hdf5(self.path) as file:
            return {key: texts(item) for key, item in file["col_attrs"].items()}

    def _read(self, keys: Iterable[str]) -> "ad.AnnData":
        # anndata's own loom reader fails on attributes of shape (cells, 1), as in the published STARmap file.
        import anndata as ad
        import loompy
        import pandas as pd

        with open_hdf5(self.path) as file:
            wanted, found = other_layers(file)
        require_hdf5_memory(self.path, layers=wanted)
        with loompy.connect(str(self.path), mode="r", validate=False) as loom:
            cells, records = _plain({key: np.asarray(loom.ca[key]) for key in loom.ca.keys()})
            genes, gene_records = _plain({key: np.asarray(loom.ra[key]) for key in loom.ra.keys()})
            x = loom.layers[""].sparse().T.tocsr()
            wanted = [key for key in (USUAL, *wanted) if key in loom.layers.keys()]
            layers = {key: loom.layers[key].sparse().T.tocsr() for key in wanted}
        wide = {key: values for key, values in cells.items() if values.ndim >= 2 and values.shape[1] > 1}
        places = {key: values for key, values in wide.items() if key.strip().casefold() in COORDINATE_KEYS}
        obs = pd.DataFrame({key: values.ravel() for key, values in cells.items() if key not in wide})
        var = pd.DataFrame({key: values.ravel() for key, values in genes.items() if values.size == x.shape[1]})
        gene_key = find_name(var.columns, LOOM_GENE_ATTRIBUTES)
        if gene_key is None:
            raise InputError(
                f"{self.path}: no row attribute names the genes (found {', '.join(var.columns) or 'none'}); "
                "store their names in the row attribute Gene"
            )
        cell_key = find_name(obs.columns, LOOM_CELL_ATTRIBUTES)
        names = numbered_cells(x.shape[0]) if cell_key is None else obs[cell_key].astype(str)
        obs.index, var.index = pd.Index(names), pd.Index(var[gene_key].astype(str))
        obs.index.name = var.index.name = None
        data = ad.AnnData(X=x, obs=obs, var=var, layers=layers, obsm=places, uns={"other_layers": found})
        others = [key for key in wide if key not in places] + records
        left_out = (
            ("nested columns", "several values per cell", others),
            ("nested columns of genes", "several values per gene", gene_records),
        )
        data.uns["read_steps"] = [step(name, reason, keys, "columns") for name, reason, keys in left_out if keys]
        return data


def _plain(attributes: dict[str, np.ndarray]) -> tuple[dict[str, np.ndarray], list[str]]:
    """Attributes of texts and numbers, and the names of those of records, as SCENIC stores regulons and embeddings."""
    records = [key for key, values in attributes.items() if values.dtype.names]
    return {key: values for key, values in attributes.items() if key not in records}, records
