"""AnnData in HDF5 (`.h5ad`), from the oldest layouts on. https://anndata.readthedocs.io/en/stable/fileformat-prose.html"""

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from spatialimpute.errors import InputError
from spatialimpute.sources.base import Header, Source
from spatialimpute.sources.cell_table import step
from spatialimpute.sources.gene_columns import INDEX
from spatialimpute.sources.hdf5 import open_hdf5, reading, require_hdf5_memory, texts, top_names
from spatialimpute.sources.layers import USUAL, other_layers
from spatialimpute.sources.matrix import to_csr
from spatialimpute.sources.vocabulary import COORDINATE_KEYS, has_coordinates

if TYPE_CHECKING:
    import anndata as ad
    import pandas as pd

#: What our own results hold beside each other.
IMPUTED = ("uns/spatialimpute", "obsm/X_gimvi")
MATRICES = ("X", "raw", "raw.X")
#: How a column of one value per row may be written as a group.
COLUMN_GROUPS = ("categorical", "nullable-integer", "nullable-boolean", "nullable-string-array")
GENE_TABLES = ("var", "raw/var", "raw.var")


class H5ad(Source):
    """Tables `obs` and `var` are groups of columns, or compound datasets as anndata wrote before 0.7."""

    kind = "h5ad"

    @classmethod
    def is_it(cls, path: Path) -> bool:
        names = top_names(path)
        return {"obs", "var"} <= names and "mod" not in names

    def header(self) -> Header:
        with reading(self.path), open_hdf5(self.path) as file:
            refuse_without_matrix(file, self.path)
            if all(name in file for name in IMPUTED):
                raise imputed_error(self.path)
            columns, arrays = element_names(file, "obs"), element_names(file, "obsm")
        return Header(columns, has_coordinates(arrays, columns))

    def gene_columns(self) -> dict[str, list[str]]:
        with reading(self.path), open_hdf5(self.path) as file:
            return gene_columns(file)

    def labels(self) -> dict[str, list[str]]:
        with open_hdf5(self.path) as file:
            obs = file["obs"]
            return {"": texts(obs if hasattr(obs, "dtype") else obs[obs.attrs.get("_index", "index")])}

    def _read(self, keys: Iterable[str]) -> "ad.AnnData":
        with open_hdf5(self.path) as file:
            layers = other_layers(file)[0]
        require_hdf5_memory(self.path, layers=layers)
        with open_hdf5(self.path) as file:
            if "encoding-type" in file.attrs:
                return read_anndata_parts(file)
        return self._read_old(layers)

    def _read_old(self, layers: list[str]) -> "ad.AnnData":
        """Written before anndata 0.8, whose own reader knows the old layouts and reads everything."""
        import anndata as ad

        require_hdf5_memory(self.path, everything=True)
        data = ad.read_h5ad(self.path)
        raw = None if data.raw is None else {"X": to_csr(data.raw.X), "var": data.raw.var}
        return ad.AnnData(
            X=None if data.X is None else to_csr(data.X),
            obs=data.obs,
            var=data.var,
            layers={key: to_csr(data.layers[key]) for key in (USUAL, *layers) if key in data.layers},
            obsm={key: data.obsm[key] for key in data.obsm if key.casefold() in COORDINATE_KEYS},
            raw=raw,
        )


def imputed_error(path: Path) -> InputError:
    """Of a file of ours."""
    return InputError(
        f"{path}: holds values that this pipeline imputed, which are no counts; give the file that they were "
        "imputed from"
    )


def refuse_without_matrix(file, path: Path) -> None:
    """Raise InputError where an AnnData group holds no matrix at all."""
    if not any(name in file for name in MATRICES) and not element_names(file, "layers"):
        raise InputError(f"{path}: holds no matrix; expected raw counts in X, layers['counts'] or raw")


def element_names(file, key: str) -> list[str]:
    """Names in a group, a table's in its own order, or of a compound dataset's fields; none where there is no such
    element."""
    item = file[key] if key in file else ()
    if hasattr(item, "dtype"):
        names = item.dtype.names or ()
    else:
        order = {str(name): i for i, name in enumerate(getattr(item, "attrs", {}).get("column-order", ()))}
        names = sorted(item, key=lambda name: order.get(name, len(order)))
    return [str(name) for name in names if name not in ("_index", "__categories")]


def gene_columns(file) -> dict[str, list[str]]:
    """The texts of `var` and of `raw`'s, of an HDF5 file or group: :meth:`Source.gene_columns`."""
    found: dict[str, list[str]] = {INDEX: []}
    for name in GENE_TABLES:
        if name not in file:
            continue
        table = file[name]
        if hasattr(table, "dtype"):  # before anndata 0.7
            columns = {key: texts(table, field=key) for key in table.dtype.names or ()}
            index = next(iter(columns), "")
        else:
            columns = {str(key): texts(table[key]) for key in table if key != "__categories"}
            for key in table.get("__categories", ()):  # before anndata 0.8
                columns[str(key)] = texts(table["__categories"][key])
            index = str(table.attrs.get("_index", "_index"))
        for key, values in columns.items():
            if values:
                found.setdefault(INDEX if key == index else key, []).extend(values)
    return found


def read_anndata_parts(file) -> "ad.AnnData":
    """Only what QC looks at, of an HDF5 file or a zarr group: other layers, embeddings, graphs and `uns` may be larger
    than the counts. `uns['other_layers']` says of layers that are left out what they hold, where no usual matrix holds
    counts."""
    import anndata as ad

    layers, found = other_layers(file)
    (obs, left_out), (var, genes_left_out) = _read_table(file["obs"]), _read_table(file["var"])

    def matrix(key: str, genes: "pd.DataFrame"):
        element = file[key]
        # Before its row pointers are made, one for every row that it claims.
        shape = tuple(map(int, element.shape if hasattr(element, "dtype") else element.attrs["shape"]))
        if shape != (len(obs), len(genes)):
            raise ValueError(f"{key} has shape {shape}, but there are {len(obs)} cells and {len(genes)} genes")
        return to_csr(element if hasattr(element, "dtype") else ad.io.read_elem(element))

    raw = None
    if "raw/X" in file:
        raw_var, _ = _read_table(file["raw/var"])
        raw = {"X": matrix("raw/X", raw_var), "var": raw_var}
    keys = [key for key in file.get("obsm", ()) if key.casefold() in COORDINATE_KEYS]
    unit = "uns/coordinate_unit"
    has_unit = unit in file and getattr(file[unit], "shape", None) == ()  # anything else could be of any size
    reason = "several values per row, or of a kind that only other software knows"
    steps = [
        step(f"nested columns of {name}", reason, names, "columns")
        for name, names in (("obs", left_out), ("var", genes_left_out))
        if names
    ]
    uns = {"other_layers": found} | ({"read_steps": steps} if steps else {})
    if has_unit:
        uns["coordinate_unit"] = ad.io.read_elem(file[unit])
    return ad.AnnData(
        X=matrix("X", var) if "X" in file and file["X"].attrs.get("encoding-type") != "null" else None,
        obs=obs,
        var=var,
        layers={key: matrix(f"layers/{key}", var) for key in (USUAL, *layers) if f"layers/{key}" in file},
        obsm={key: ad.io.read_elem(file["obsm"][key]) for key in keys},
        uns=uns,
        raw=raw,
    )


def _read_table(group) -> tuple["pd.DataFrame", list[str]]:
    """A table's columns that hold one value per row, and the names of the others."""
    import anndata as ad
    import pandas as pd

    if (group.attrs.get("encoding-type"), group.attrs.get("encoding-version")) != ("dataframe", "0.2.0"):
        return ad.io.read_elem(group), []
    index = ad.io.read_elem(group[group.attrs["_index"]])
    names = list(group.attrs["column-order"])
    plain = [name for name in names if _is_column(group[name])]
    table = pd.DataFrame({name: ad.io.read_elem(group[name]) for name in plain}, index=pd.Index(index))
    return table, [str(name) for name in names if name not in plain]


def _is_column(item) -> bool:
    if hasattr(item, "dtype"):
        return item.ndim == 1 and not item.dtype.names
    return item.attrs.get("encoding-type") in COLUMN_GROUPS
