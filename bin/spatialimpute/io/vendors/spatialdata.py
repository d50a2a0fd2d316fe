"""SpatialData stores: a folder `*.zarr` with AnnData tables below `tables/`, and shapes that a table may annotate.

https://spatialdata.scverse.org/en/stable/design_doc.html. A table is read by anndata itself. Its cells' places are in
`obsm['spatial']`, else the circles or points of the region that it annotates.
"""

import json
import math
from pathlib import Path

from spatialimpute.errors import InputError
from spatialimpute.io.formats import COORDINATE_KEYS, Header, coordinate_columns, match_names
from spatialimpute.io.memory import require_memory
from spatialimpute.io.vendors.bundle import Bundle

#: An array that claims more than this, and a hundred thousand times what it holds, is no data but a trap.
MAX_EMPTY_BYTES, MAX_RATIO = 1 << 30, 100_000
#: What QC reads of a table, and the dense matrices that it reads by blocks of rows.
READ, BY_BLOCKS = ("obs/", "var/", "obsm/", "X", "layers/counts", "raw/"), ("X", "layers/counts", "raw/X")


class SpatialDataStore(Bundle):
    """The one table of a store, or its table named `table`."""

    kind = "SpatialData store"
    signs = ("tables/*/obs", "tables/zarr.json", "tables/.zgroup", "table/table/obs")

    def files(self) -> list[Path]:
        table = self._table()
        files = [path for path in sorted(table.rglob("*")) if path.is_file()]
        return files + [self._shapes(region) for region in self._regions() if self._shapes(region).exists()]

    def header(self) -> Header:
        table = self._table()
        if not any((table / part).is_dir() for part in ("X", "layers/counts", "raw/X")):
            raise InputError(f"{table}: holds no matrix; expected raw counts in X, layers['counts'] or raw")
        obsm = [path.name for path in table.glob("obsm/*") if path.is_dir()]
        columns = _names(_attributes(table / "obs").get("column-order"))
        placed = match_names(obsm, COORDINATE_KEYS) is not None or coordinate_columns(columns) is not None
        regions = self._regions()
        return Header(
            self.kind, columns, placed or (bool(regions) and all(self._shapes(name).exists() for name in regions))
        )

    def _read(self):
        import zarr

        from spatialimpute.io.readers import read_anndata_parts

        if not self.header().coordinates:
            self._shapes_needed()
        table = self._table()
        arrays = [*table.rglob(".zarray"), *table.rglob("zarr.json")]
        require_memory(sum(_claimed(array, table) for array in arrays), f"the content of {table}")
        data = read_anndata_parts(zarr.open_group(str(table), mode="r", use_consolidated=False))
        if match_names(data.obsm, COORDINATE_KEYS) is None and coordinate_columns(data.obs.columns) is None:
            data.obsm["spatial"] = self._centers(data.obs)
        return data

    def _table(self) -> Path:
        tables = [path.parent for path in sorted(self.folder.glob("tables/*/obs"))] or self._matches("table/table")
        named = [path for path in tables if path.name == "table"]
        if len(tables) == 1 or named:
            return (named or tables)[0]
        names = ", ".join(path.name for path in tables) or "none"
        raise InputError(
            f"{self.folder}: expected one table, or one named 'table', below tables/, found {names}; "
            "delete the others from a copy of the store, or write the table as h5ad"
        )

    def _regions(self) -> list[str]:
        return _names(_attributes(self._table()).get("region"))

    def _shapes(self, region: str) -> Path:
        if Path(region).name != region or region == "..":  # a name from a file must not lead elsewhere
            raise InputError(f"{self._table()}: region {region!r} is no name of an element; write the store again")
        return self.folder / "shapes" / region / "shapes.parquet"

    def _shapes_needed(self) -> None:
        raise InputError(
            f"{self._table()}: no coordinates: neither obsm['spatial'] nor shapes of the regions that it annotates "
            f"({', '.join(self._regions()) or 'none'}); store the cells' centers in obsm['spatial']"
        )

    def _centers(self, obs):
        """Centers of the circles that the table's rows name, shape (n_cells, 2)."""
        import numpy as np

        about = _attributes(self._table())
        region_key, instance_key = about.get("region_key"), about.get("instance_key")
        if region_key not in obs or instance_key not in obs:
            self._shapes_needed()
        centers = np.full((len(obs), 2), np.nan)
        for region in self._regions():
            rows = np.flatnonzero(obs[region_key].astype(str) == region)
            path = self._shapes(region)
            index, points = _read_points(path)
            position = index.get_indexer(obs[instance_key].iloc[rows].astype(str))
            if (position < 0).any():
                first = obs[instance_key].iloc[rows[position < 0][0]]
                raise InputError(
                    f"{path}: no shape for cell {str(first)!r} ({int((position < 0).sum())} of {len(rows)} cells are "
                    "missing); store the cells' centers in obsm['spatial']"
                )
            centers[rows] = points[position]
        return centers


def _attributes(group: Path) -> dict:
    """A group's attributes, in either version of zarr."""
    for name, key in (("zarr.json", "attributes"), (".zattrs", None)):
        if (group / name).exists():
            content = _json(group / name)
            attributes = content.get(key) if key else content
            return attributes if isinstance(attributes, dict) else {}
    return {}


def _names(value) -> list[str]:
    """One name or a list of names, as a list."""
    return [value] if isinstance(value, str) else [str(name) for name in value] if isinstance(value, list) else []


def _json(path: Path) -> dict:
    try:
        content = json.loads(path.read_text())
    except (ValueError, OSError) as error:
        raise InputError(f"{path}: cannot be read as JSON ({error}); copy the store again") from None
    if not isinstance(content, dict):
        raise InputError(f"{path}: expected an object; copy the store again")
    return content


def _claimed(path: Path, table: Path) -> int:
    """Bytes that an array, of which this is the metadata, takes in memory; 0 for what is read by blocks or not at all.

    Raises
    ------
    InputError
        It would run code when read, claims far more than it holds, or its metadata are damaged.
    """
    content = _json(path)
    if "pickle" in {name.rpartition(".")[2] for name in _codecs(content)}:
        raise InputError(f"{path}: stored as pickle, which may run any code when read; write the store again without")
    shape, dtype = content.get("shape"), str(content.get("dtype", content.get("data_type", "")))
    if shape is None:
        return 0
    if not isinstance(shape, list) or not all(isinstance(n, int) and n >= 0 for n in shape):
        raise InputError(f"{path}: found shape {shape!r}, expected a list of sizes; copy the store again")
    digits = "".join(filter(str.isdigit, dtype)) or "8"
    claimed = math.prod(shape) * int(digits) // (1 if path.name == ".zarray" else 8)
    held = sum(file.stat().st_size for file in path.parent.rglob("*") if file.is_file())
    if claimed > max(MAX_EMPTY_BYTES, MAX_RATIO * held):
        raise InputError(f"{path}: claims shape {shape}, but holds {held} bytes; the store is damaged, copy it again")
    name = path.parent.relative_to(table).as_posix()
    return claimed if name.startswith(READ) and not (name in BY_BLOCKS and len(shape) == 2) else 0


def _codecs(content) -> set[str]:
    """Names of all codecs, filters and compressors anywhere in an array's metadata."""
    if isinstance(content, list):
        return set().union(*map(_codecs, content)) if content else set()
    if not isinstance(content, dict):
        return set()
    own = {str(content[key]) for key in ("id", "name") if key in content}
    return own.union(*(_codecs(value) for value in content.values()))


def _read_points(path: Path):
    """Ids and places of the circles or points in a GeoParquet file."""
    import numpy as np
    import pandas as pd
    import pyarrow.parquet as pq

    try:
        table = pq.read_table(path).to_pandas()
    except (ValueError, OSError) as error:
        raise InputError(f"{path}: cannot be read ({str(error).splitlines()[0]}); copy the store again") from None
    shapes = table.get("geometry", pd.Series(dtype=object))
    # Well-known binary of a point: byte order (1: little endian), type (1: point), x, y.
    head = b"\x01\x01\x00\x00\x00"
    if not all(isinstance(shape, bytes) and len(shape) == 21 and shape.startswith(head) for shape in shapes):
        raise InputError(f"{path}: the shapes are not circles or points; store their centroids in obsm['spatial']")
    points = np.frombuffer(b"".join(shape[5:] for shape in shapes), dtype="<f8").reshape(-1, 2)
    return pd.Index(table.index.astype(str)), points
