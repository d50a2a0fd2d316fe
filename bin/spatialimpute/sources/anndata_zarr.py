"""AnnData in zarr: a folder of arrays, alone or as a table of a SpatialData store.

https://anndata.readthedocs.io/en/stable/fileformat-prose.html
"""

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from spatialimpute.errors import InputError
from spatialimpute.sources.base import Header
from spatialimpute.sources.folder import Folder
from spatialimpute.sources.gene_columns import INDEX
from spatialimpute.sources.guard import plain_files, read_json, require_memory, zarr_bytes
from spatialimpute.sources.h5ad import IMPUTED, imputed_error, read_anndata_parts
from spatialimpute.sources.layers import USUAL, other_layers
from spatialimpute.sources.vocabulary import has_coordinates

if TYPE_CHECKING:
    import anndata as ad

METADATA = (".zarray", ".zgroup", ".zattrs", "zarr.json")
#: What QC reads of a table, layers aside, and the dense matrices that it reads by blocks of rows.
READ, BY_BLOCKS = ("obs/", "var/", "obsm/", "X", "raw/"), ("X", "raw/X")


class AnnDataZarr(Folder):
    """A store with `obs` and `var` at its top."""

    kind = "AnnData zarr store"

    @classmethod
    def is_it(cls, path: Path) -> bool:
        return all(any((path / name / about).exists() for about in METADATA) for name in ("obs", "var"))

    def files(self) -> list[Path]:
        return plain_files(self.path)

    def header(self) -> Header:
        return Header(*table_header(self.path))

    def gene_columns(self) -> dict[str, list[str]]:
        return table_genes(self.path)

    def _read(self, keys: Iterable[str]) -> "ad.AnnData":
        return read_table(self.path)


def attributes(group: Path) -> dict:
    """A group's attributes, in either version of zarr."""
    for name, key in (("zarr.json", "attributes"), (".zattrs", None)):
        if (group / name).exists():
            content = read_json(group / name)
            found = content.get(key) if key else content
            return found if isinstance(found, dict) else {}
    return {}


def names_in(value) -> list[str]:
    """One name or a list of names, as a list."""
    return [value] if isinstance(value, str) else [str(name) for name in value] if isinstance(value, list) else []


def table_header(table: Path) -> tuple[list[str], bool]:
    """Columns of the cells, and whether coordinates are among them or in `obsm`; nothing is read but metadata.

    Raises
    ------
    InputError
        A link in it, or no matrix.
    """
    plain_files(table)
    if not any((table / part).is_dir() for part in ("X", "raw/X")) and not list(table.glob("layers/*")):
        raise InputError(f"{table}: holds no matrix; expected raw counts in X, layers['counts'] or raw")
    if all((table / name).exists() for name in IMPUTED):
        raise imputed_error(table)
    obsm = [path.name for path in table.glob("obsm/*") if path.is_dir()]
    columns = names_in(attributes(table / "obs").get("column-order"))
    return columns, has_coordinates(obsm, columns)


def table_genes(table: Path) -> dict[str, list[str]]:
    """Texts of the columns of `var` and `raw/var`: :meth:`Source.gene_columns`."""
    needed = _needed(table, ("var/", "raw/var/"))
    require_memory(sum(needed.values()), f"the genes of {table}")
    try:
        return _texts_of_genes(table)
    except Exception as error:  # zarr and its codecs fail in any way on damage
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise InputError(f"{table}: the genes cannot be read as zarr ({reason}); copy the store again") from error


def _texts_of_genes(table: Path) -> dict[str, list[str]]:
    import zarr

    file, found = zarr.open_group(str(table), mode="r", use_consolidated=False), {INDEX: []}
    for name in ("var", "raw/var"):
        if name not in file:
            continue
        group = file[name]
        index = str(group.attrs.get("_index", "_index"))
        for key in group.keys():
            element = group[key] if hasattr(group[key], "dtype") else group[key].get("categories")
            if element is not None and element.ndim == 1 and element.dtype.kind not in "iufb":
                texts = [str(value) for value in element[:]]
                found.setdefault(INDEX if key == index else key, []).extend(texts)
    return found


def read_table(table: Path) -> "ad.AnnData":
    """What QC looks at, within the memory."""
    import zarr

    needed = _needed(table, READ)
    group = zarr.open_group(str(table), mode="r", use_consolidated=False)
    layers = tuple(f"layers/{name}" for name in (USUAL, *other_layers(group)[0]))
    whole = [n for name, n in needed.items() if not name.startswith("layers/") or name.startswith(layers)]
    require_memory(sum(whole), f"the content of {table}")
    return read_anndata_parts(group)


def _needed(table: Path, read: tuple[str, ...]) -> dict[str, int]:
    """Bytes in memory of every array whose name begins like one of `read` or lies in a layer; the metadata of all are
    held against what they hold."""
    found = {}
    for path in plain_files(table):
        about = read_json(path) if path.name in METADATA and path.name != ".zattrs" else {}
        if "shape" in about:
            name = path.parent.relative_to(table).as_posix()
            whole, chunk = zarr_bytes(path, about)
            dense = name in BY_BLOCKS or (name.startswith("layers/") and name.count("/") == 1)
            if name.startswith((*read, "layers/")):
                found[name] = chunk if dense and len(about["shape"]) == 2 else max(whole, chunk)
    return found
