"""SpatialData stores: a folder `*.zarr` with AnnData tables below `tables/`, and shapes that a table may annotate.

https://spatialdata.scverse.org/en/stable/design_doc.html. A table is read by anndata itself. Its cells' places are in
`obsm['spatial']`, else the circles or points of the region that it annotates.
"""

from collections.abc import Iterable
from functools import cached_property
from pathlib import Path

import numpy as np

from spatialimpute.errors import InputError
from spatialimpute.sources.anndata_zarr import attributes, names_in, read_table, table_genes, table_header
from spatialimpute.sources.base import Header
from spatialimpute.sources.cell_table import read_parquet
from spatialimpute.sources.folder import Folder
from spatialimpute.sources.guard import plain_files, refuse_links
from spatialimpute.sources.vocabulary import has_coordinates
from spatialimpute.sources.wkb import places

#: Folders of tables; the second is that of stores before version 0.1.
TABLES = ("tables", "table")


class SpatialDataStore(Folder):
    """The one table of a store, the one that the path names (`x.zarr/tables/square_008um`), or that named `table`."""

    kind = "SpatialData store"
    has_parts = True
    signs = ("tables/*/obs", "tables/zarr.json", "tables/.zgroup", "table/table/obs")

    def files(self) -> list[Path]:
        shapes = [self._shapes(region) for region in self._regions()]
        return plain_files(self._table) + [path for path in shapes if path.exists()]

    def header(self) -> Header:
        columns, coordinates = table_header(self._table)
        regions = self._regions()
        has_shapes = bool(regions) and all(self._shapes(name).exists() for name in regions)
        return Header(columns, coordinates or has_shapes)

    def gene_columns(self) -> dict[str, list[str]]:
        return table_genes(self._table)

    def _read(self, keys: Iterable[str]):
        if not self.header().coordinates:
            self._shapes_needed()
        data = read_table(self._table)
        if not has_coordinates(data.obsm, data.obs.columns):
            data.obsm["spatial"] = self._centers(data.obs)
        if keys := self._annotates(data.obs):
            data.uns["annotates"] = keys
        others = [path.name for path in self._tables() if path != self._table]
        if others and not self.part:
            data.uns["read_warnings"] = [f"table {self._table.name} is read; others are not: {', '.join(others)}"]
        return data

    def _tables(self) -> list[Path]:
        return [path.parent for folder in TABLES for path in sorted(self.path.glob(f"{folder}/*/obs"))]

    @cached_property
    def _table(self) -> Path:
        tables = self._tables()
        wanted = self.part.rpartition("/")[2] or ("table" if len(tables) > 1 else "")
        found = [path for path in tables if path.name == wanted or not wanted]
        if len(found) != 1:
            listed, asked = ", ".join(path.name for path in tables) or "none", f", no {wanted!r}" if self.part else ""
            example = f"{self.path.name}/tables/{tables[0].name if tables else 'table'}"
            raise InputError(
                f"{self.path}: a SpatialData store of the tables {listed}{asked}; name the one that is wanted, such as "
                f"{example}"
            )
        table = found[0]
        refuse_links(table, self.path)  # the store itself may be one, as Nextflow makes it
        plain_files(table)  # refuses links too, before any file in it is opened
        return table

    def _regions(self) -> list[str]:
        return names_in(attributes(self._table).get("region"))

    def _annotates(self, obs) -> dict[str, str]:
        """The columns of the cells that say which element of the store each is; none where the table annotates none."""
        about = attributes(self._table)
        keys = {what: about.get(f"{what}_key") for what in ("region", "instance")}
        named = all(isinstance(key, str) and key in obs for key in keys.values())
        return keys if named and self._regions() else {}

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
        keys = self._annotates(obs)
        if not keys:
            self._shapes_needed()
        region_key, instance_key = keys["region"], keys["instance"]
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


def _read_points(path: Path):
    """Ids and places of the circles or points in a GeoParquet file, or the centers of its polygons."""
    import pandas as pd

    try:
        table = read_parquet(path)
    except (ValueError, OSError) as error:
        raise InputError(f"{path}: cannot be read ({str(error).splitlines()[0]}); copy the store again") from None
    shapes = table.get("geometry", pd.Series(dtype=object))
    try:
        points = places([bytes(shape) for shape in shapes])
    except (TypeError, ValueError) as error:
        raise InputError(
            f"{path}: the shapes are not circles, points or polygons ({error}); store their centroids in "
            "obsm['spatial']"
        ) from None
    return pd.Index(table.index.astype(str)), points
