"""SpatialData stores: a folder `*.zarr` with AnnData tables below `tables/`, and shapes that a table may annotate.

https://spatialdata.scverse.org/en/stable/design_doc.html. A table is read by anndata itself. Its cells' places are in
`obsm['spatial']`, else the circles or points of the region that it annotates.
"""

import math
from functools import cached_property
from pathlib import Path

from spatialimpute.errors import InputError
from spatialimpute.sources.folder import Bundle, plain_files, read_json, refuse_link
from spatialimpute.sources.formats import COORDINATE_KEYS, Header, coordinate_columns, match_names
from spatialimpute.sources.hdf5 import TEXT_BYTES
from spatialimpute.sources.memory import require_memory

#: An array that claims more than this, and a hundred thousand times what it holds, is no data but a trap.
MAX_EMPTY_BYTES, MAX_RATIO = 1 << 30, 100_000
#: Compressors and encodings that only unpack, as anndata and spatialdata write or let choose; others may run code.
CODECS = frozenset(
    "blosc zstd zlib gzip lz4 lzma bz2 shuffle delta crc32 crc32c bytes endian transpose sharding_indexed vlen-utf8 "
    "vlen-bytes".split()
)
METADATA = (".zarray", ".zgroup", ".zattrs", "zarr.json")
#: What QC reads of a table, and the dense matrices that it reads by blocks of rows.
READ, BY_BLOCKS = ("obs/", "var/", "obsm/", "X", "layers/counts", "raw/"), ("X", "layers/counts", "raw/X")


class SpatialDataStore(Bundle):
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
        placed = match_names(obsm, COORDINATE_KEYS) is not None or coordinate_columns(columns) is not None
        regions = self._regions()
        return Header(
            self.kind, columns, placed or (bool(regions) and all(self._shapes(name).exists() for name in regions))
        )

    def _read(self):
        import zarr

        from spatialimpute.sources.readers import read_anndata_parts

        if not self.header().coordinates:
            self._shapes_needed()
        table = self._table
        metadata = {path: read_json(path) for path in plain_files(table) if path.name in METADATA}
        arrays = {path: about for path, about in metadata.items() if path.name != ".zattrs" and "shape" in about}
        claimed = [_claimed(path, about, table) for path, about in arrays.items()]
        require_memory(sum(claimed), f"the content of {table}")
        data = read_anndata_parts(zarr.open_group(str(table), mode="r", use_consolidated=False))
        if match_names(data.obsm, COORDINATE_KEYS) is None and coordinate_columns(data.obs.columns) is None:
            data.obsm["spatial"] = self._centers(data.obs)
        return data

    @cached_property
    def _table(self) -> Path:
        tables = [path.parent for path in sorted(self.folder.glob("tables/*/obs"))] or self._matches("table/table")
        named = [path for path in tables if path.name == "table"]
        if len(tables) == 1 or named:
            table = (named or tables)[0]
            self._refuse_links(table)
            plain_files(table)  # refuses links too, before any file in it is opened
            return table
        names = ", ".join(path.name for path in tables) or "none"
        raise InputError(
            f"{self.folder}: expected one table, or one named 'table', below tables/, found {names}; "
            "delete the others from a copy of the store, or write the table as h5ad"
        )

    def _refuse_links(self, path: Path) -> None:
        """The store itself may be a link, as Nextflow makes it; nothing within it may."""
        while path != self.folder:
            if path.is_symlink():
                refuse_link(path)
            path = path.parent

    def _regions(self) -> list[str]:
        return _names(_attributes(self._table).get("region"))

    def _shapes(self, region: str) -> Path:
        if Path(region).name != region or region == "..":  # a name from a file must not lead elsewhere
            raise InputError(f"{self._table}: region {region!r} is no name of an element; write the store again")
        path = self.folder / "shapes" / region / "shapes.parquet"
        self._refuse_links(path)
        return path

    def _shapes_needed(self) -> None:
        raise InputError(
            f"{self._table}: no coordinates: neither obsm['spatial'] nor shapes of the regions that it annotates "
            f"({', '.join(self._regions()) or 'none'}); store the cells' centers in obsm['spatial']"
        )

    def _centers(self, obs):
        """Centers of the circles that the table's rows name, shape (n_cells, 2)."""
        import numpy as np

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
            content = read_json(group / name)
            attributes = content.get(key) if key else content
            return attributes if isinstance(attributes, dict) else {}
    return {}


def _names(value) -> list[str]:
    """One name or a list of names, as a list."""
    return [value] if isinstance(value, str) else [str(name) for name in value] if isinstance(value, list) else []


def _claimed(path: Path, about: dict, table: Path) -> int:
    """Bytes that reading an array takes in memory, by its metadata `about`; of one read by blocks, those of a block.

    Raises
    ------
    InputError
        It would run code when read, claims far more than it holds, or its metadata are damaged.
    """
    codecs = _codecs([about.get(key) for key in ("codecs", "filters", "compressor")])
    unknown = {name.rpartition(".")[2] for name in codecs} - CODECS
    if unknown:
        raise InputError(
            f"{path}: stored as {min(unknown)}, which may run any code when read; write the store again without"
        )
    old = path.name == ".zarray"
    chunks = about.get("chunks") if old else _within(about, "chunk_grid", "configuration", "chunk_shape")
    shape, dtype = about["shape"], str(about.get("dtype" if old else "data_type", ""))
    for what, sizes in (("shape", shape), ("chunks", chunks)):
        if not isinstance(sizes, list) or not all(isinstance(n, int) and n >= 0 for n in sizes):
            raise InputError(f"{path}: found {what} {sizes!r}, expected a list of sizes; copy the store again")
    digits = "".join(filter(str.isdigit, dtype))
    value = (int(digits) if old else max(1, int(digits) // 8)) if digits else TEXT_BYTES
    claimed, block = math.prod(shape) * value, math.prod(chunks) * value
    held = sum(file.stat().st_size for file in plain_files(path.parent))
    if claimed > max(MAX_EMPTY_BYTES, MAX_RATIO * held):
        raise InputError(f"{path}: claims shape {shape}, but holds {held} bytes; the store is damaged, copy it again")
    if block > max(MAX_EMPTY_BYTES, claimed):
        raise InputError(f"{path}: claims chunks {chunks} of shape {shape}; the store is damaged, copy it again")
    name = path.parent.relative_to(table).as_posix()
    if name in BY_BLOCKS and len(shape) == 2:
        return block
    return max(claimed, block) if name.startswith(READ) else 0


def _within(found, *keys: str):
    """What lies at these keys of nested objects; None where it does not."""
    for key in keys:
        found = found.get(key) if isinstance(found, dict) else None
    return found


def _codecs(found) -> set[str]:
    """Names of codecs, filters and compressors, also of those within shards."""
    if isinstance(found, str):
        return {found}
    if isinstance(found, list):
        return set().union(*map(_codecs, found)) if found else set()
    if not isinstance(found, dict):
        return set()
    inner = [_within(found, "configuration", key) for key in ("codecs", "index_codecs")]
    return {str(found[key]) for key in ("id", "name") if key in found} | _codecs(inner)


def _read_points(path: Path):
    """Ids and places of the circles or points in a GeoParquet file."""
    import numpy as np
    import pandas as pd

    from spatialimpute.sources.cell_table import read_parquet

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
