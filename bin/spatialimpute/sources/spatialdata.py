"""SpatialData stores: a folder `*.zarr` with AnnData tables below `tables/`, and shapes that a table may annotate.

https://spatialdata.scverse.org/en/stable/design_doc.html. A table is read by anndata itself. Its cells' places are in
`obsm['spatial']`, else the circles or points of the region that it annotates.
"""

from collections.abc import Iterable
from functools import cached_property
from pathlib import Path

import numpy as np

from spatialimpute.errors import InputError
from spatialimpute.sources.base import Header
from spatialimpute.sources.cell_table import read_parquet
from spatialimpute.sources.folder import Folder
from spatialimpute.sources.guard import plain_files, read_json, refuse_links, require_memory, zarr_bytes
from spatialimpute.sources.h5ad import read_anndata_parts
from spatialimpute.sources.vocabulary import has_coordinates

METADATA = (".zarray", ".zgroup", ".zattrs", "zarr.json")
#: What QC reads of a table, and the dense matrices that it reads by blocks of rows.
READ, BY_BLOCKS = ("obs/", "var/", "obsm/", "X", "layers/counts", "raw/"), ("X", "layers/counts", "raw/X")


class SpatialDataStore(Folder):
    """The one table of a store, or its table named `table`."""

    kind = "SpatialData store"
    signs = ("tables/*/obs", "tables/zarr.json", "tables/.zgroup", "table/table/obs")

    def files(self) -> list[Path]:
        shapes = [self._shapes(region) for region in self._regions()]
        return plain_files(self._table) + [path for path in shapes if path.exists()]

    def header(self) -> Header:
        table = self._table
        if not any((table / part).is_dir() for part in ("X", "layers/counts", "raw/X")):
            raise InputError(f"{table}: holds no matrix; expected raw counts in X, layers['counts'] or raw")
        obsm = [path.name for path in table.glob("obsm/*") if path.is_dir()]
        columns = _names(_attributes(table / "obs").get("column-order"))
        regions = self._regions()
        has_shapes = bool(regions) and all(self._shapes(name).exists() for name in regions)
        return Header(columns, has_coordinates(obsm, columns) or has_shapes)

    def _read(self, keys: Iterable[str]):
        import zarr

        if not self.header().coordinates:
            self._shapes_needed()
        table = self._table
        metadata = {path: read_json(path) for path in plain_files(table) if path.name in METADATA}
        arrays = {path: about for path, about in metadata.items() if path.name != ".zattrs" and "shape" in about}
        needed = [_needed(path, about, table) for path, about in arrays.items()]
        require_memory(sum(needed), f"the content of {table}")
        data = read_anndata_parts(zarr.open_group(str(table), mode="r", use_consolidated=False))
        if not has_coordinates(data.obsm, data.obs.columns):
            data.obsm["spatial"] = self._centers(data.obs)
        return data

    @cached_property
    def _table(self) -> Path:
        tables = [path.parent for path in sorted(self.path.glob("tables/*/obs"))] or self._matches("table/table")
        named = [path for path in tables if path.name == "table"]
        if len(tables) == 1 or named:
            table = (named or tables)[0]
            refuse_links(table, self.path)  # the store itself may be one, as Nextflow makes it
            plain_files(table)  # refuses links too, before any file in it is opened
            return table
        names = ", ".join(path.name for path in tables) or "none"
        raise InputError(
            f"{self.path}: expected one table, or one named 'table', below tables/, found {names}; "
            "delete the others from a copy of the store, or write the table as h5ad"
        )

    def _regions(self) -> list[str]:
        return _names(_attributes(self._table).get("region"))

    def _shapes(self, region: str) -> Path:
        if Path(region).name != region or region == "..":  # a name from a file must not lead elsewhere
            raise InputError(f"{self._table}: region {region!r} is no name of an element; write the store again")
        path = self.path / "shapes" / region / "shapes.parquet"
        refuse_links(path, self.path)
        return path

    def _shapes_needed(self) -> None:
        raise InputError(
            f"{self._table}: no coordinates: neither obsm['spatial'] nor shapes of the regions that it annotates "
            f"({', '.join(self._regions()) or 'none'}); store the cells' centers in obsm['spatial']"
        )

    def _centers(self, obs):
        """Centers of the circles that the table's rows name, shape (n_cells, 2)."""
        about = _attributes(self._table)
        region_key, instance_key = about.get("region_key"), about.get("instance_key")
        if region_key not in obs or instance_key not in obs:
            self._shapes_needed()
        centers = np.full((len(obs), 2), np.nan)
        for region in self._regions():
            rows = np.flatnonzero(obs[region_key].astype(str) == region)
            path = self._shapes(region)
            index, points = _read_points(path)
            position = index.get_indexer(obs[instance_key].iloc[rows].astype(str))
            if len(rows) and (position < 0).all():
                raise InputError(
                    f"{path}: no shape for cell {str(obs[instance_key].iloc[rows[0]])!r} (nor for any other of "
                    f"{len(rows)} cells); store the cells' centers in obsm['spatial']"
                )
            centers[rows[position >= 0]] = points[position[position >= 0]]
        return centers


def _attributes(group: Path) -> dict:
    """A group's attributes, in either version of zarr."""
    for name, key in (("zarr.json", "attributes"), (".zattrs", None)):
        if (group / name).exists():
            content = read_json(group / name)
            attributes = content.get(key) if key else content
            return attributes if isinstance(attributes, dict) else {}
    return {}


def _names(value) -> list[str]:
    """One name or a list of names, as a list."""
    return [value] if isinstance(value, str) else [str(name) for name in value] if isinstance(value, list) else []


def _needed(path: Path, about: dict, table: Path) -> int:
    """Bytes that reading an array takes in memory, by its metadata `about`; of one read by blocks, those of a block."""
    whole, chunk = zarr_bytes(path, about)
    name = path.parent.relative_to(table).as_posix()
    if name in BY_BLOCKS and len(about["shape"]) == 2:
        return chunk
    return max(whole, chunk) if name.startswith(READ) else 0


def _read_points(path: Path):
    """Ids and places of the circles or points in a GeoParquet file."""
    import pandas as pd

    try:
        table = read_parquet(path)
    except (ValueError, OSError) as error:
        raise InputError(f"{path}: cannot be read ({str(error).splitlines()[0]}); copy the store again") from None
    shapes = table.get("geometry", pd.Series(dtype=object))
    # Well-known binary of a point: byte order (1: little endian), type (1: point), x, y.
    head = b"\x01\x01\x00\x00\x00"
    if not all(isinstance(shape, bytes) and len(shape) == 21 and shape.startswith(head) for shape in shapes):
        raise InputError(f"{path}: the shapes are not circles or points; store their centroids in obsm['spatial']")
    points = np.frombuffer(b"".join(shape[5:] for shape in shapes), dtype="<f8").reshape(-1, 2)
    return pd.Index(table.index.astype(str)), points
