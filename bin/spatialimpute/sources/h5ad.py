"""AnnData in HDF5 (`.h5ad`), from the oldest layouts on. https://anndata.readthedocs.io/en/stable/fileformat-prose.html"""

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from spatialimpute.errors import InputError
from spatialimpute.sources.base import Header, Source
from spatialimpute.sources.hdf5 import open_hdf5, reading, require_hdf5_memory, texts, top_names
from spatialimpute.sources.matrix import to_csr
from spatialimpute.sources.vocabulary import COORDINATE_KEYS, has_coordinates

if TYPE_CHECKING:
    import anndata as ad
    import pandas as pd

MATRICES = ("X", "layers/counts", "raw", "raw.X")
GENE_TABLES = ("var", "raw/var", "raw.var")


class H5ad(Source):
    """Tables `obs` and `var` are groups of columns, or compound datasets as anndata wrote before 0.7."""

    kind = "h5ad"

    @classmethod
    def is_it(cls, path: Path) -> bool:
        return {"obs", "var"} <= top_names(path)

    def header(self) -> Header:
        with reading(self.path), open_hdf5(self.path) as file:
            if not any(name in file for name in MATRICES):
                raise InputError(f"{self.path}: holds no matrix; expected raw counts in X, layers['counts'] or raw")
            columns = [name for name in _names(file["obs"]) if name not in ("_index", "__categories")]
            arrays = _names(file["obsm"]) if "obsm" in file else []
        return Header(columns, has_coordinates(arrays, columns))

    def gene_names(self) -> list[str]:
        with open_hdf5(self.path) as file:
            return [text for name in GENE_TABLES if name in file for text in texts(file[name])]

    def labels(self) -> dict[str, list[str]]:
        with open_hdf5(self.path) as file:
            obs = file["obs"]
            return {"": texts(obs if hasattr(obs, "dtype") else obs[obs.attrs.get("_index", "index")])}

    def _read(self, keys: Iterable[str]) -> "ad.AnnData":
        require_hdf5_memory(self.path)
        with open_hdf5(self.path) as file:
            if "encoding-type" in file.attrs:
                return read_anndata_parts(file)
        return self._read_old()

    def _read_old(self) -> "ad.AnnData":
        """Written before anndata 0.8, whose own reader knows the old layouts and reads everything."""
        import anndata as ad

        require_hdf5_memory(self.path, everything=True)
        data = ad.read_h5ad(self.path)
        raw = None if data.raw is None else {"X": to_csr(data.raw.X), "var": data.raw.var}
        return ad.AnnData(
            X=None if data.X is None else to_csr(data.X),
            obs=data.obs,
            var=data.var,
            layers={"counts": to_csr(data.layers["counts"])} if "counts" in data.layers else {},
            obsm={key: data.obsm[key] for key in data.obsm if key.casefold() in COORDINATE_KEYS},
            raw=raw,
        )


def _names(item) -> list[str]:
    """Names in a group, or of a compound dataset's fields."""
    return list(item.dtype.names or ()) if hasattr(item, "dtype") else list(item)


def read_anndata_parts(file) -> "ad.AnnData":
    """Only what QC looks at, of an HDF5 file or a zarr group: other layers, embeddings, graphs and `uns` may be
    larger than the counts."""
    import anndata as ad

    obs, var = ad.io.read_elem(file["obs"]), ad.io.read_elem(file["var"])

    def matrix(key: str, genes: "pd.DataFrame"):
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
