"""What kind of file is this, and what does its header promise? Opens headers only, so it is quick.

Imports neither pandas nor anndata: CHECK_INPUTS has to answer within a second or two.
"""

import csv
import os
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from spatialimpute.errors import InputError
from spatialimpute.sources.hdf5 import open_hdf5, reading
from spatialimpute.sources.text import open_text

#: Keys of `obsm` (or two-dimensional loom attributes) that hold coordinates; compared without case.
COORDINATE_KEYS = ("spatial", "x_spatial", "spatial_coordinates", "coordinates", "coords")

#: How `uns['coordinate_unit']` may say a unit, without case, and the name that it has everywhere after.
COORDINATE_UNITS = dict.fromkeys(("um", "µm", "μm", "micron", "microns", "micrometer", "micrometers"), "um") | {
    "px": "px", "pixel": "px", "pixels": "px",
}  # fmt: skip

#: Columns that hold coordinates, most specific first, and their unit; compared without case; z is optional.
COORDINATE_COLUMNS = (
    (("x_um", "y_um", "z_um"), "um"),
    (("x_micron", "y_micron", "z_micron"), "um"),
    (("x_centroid", "y_centroid", "z_centroid"), "um"),  # Xenium cells.csv
    (("center_x", "center_y", "center_z"), "um"),  # MERSCOPE cell_metadata.csv
    (("centerx_global_px", "centery_global_px", "centerz_global_px"), "px"),  # CosMx metadata
    (("pxl_col_in_fullres", "pxl_row_in_fullres", "pxl_z_in_fullres"), "px"),  # Visium tissue_positions
    (("global_x", "global_y", "global_z"), "unknown"),
    (("spatial_x", "spatial_y", "spatial_z"), "unknown"),
    (("x_coord", "y_coord", "z_coord"), "unknown"),
    (("coord_x", "coord_y", "coord_z"), "unknown"),
    (("sdimx", "sdimy", "sdimz"), "unknown"),  # Giotto
    (("x", "y", "z"), "unknown"),
)

CELL_ID_COLUMNS = (
    "cell_id",
    "cellid",
    "cell",
    "cells",
    "cell_name",
    "barcode",
    "barcodes",
    "id",
    "index",
    "entityid",
)

#: Of a table; no genome has so many genes.
MAX_COLUMNS = 1_000_000

TABLE_SUFFIXES = (".csv", ".tsv", ".txt", ".csv.gz", ".tsv.gz", ".txt.gz")
MTX_SUFFIXES = (".mtx", ".mtx.gz")
HDF5_SUFFIXES = (".h5ad", ".loom", ".h5", ".hdf5")

EXPECTED_FORMATS = (
    "h5ad, loom, 10x .h5, a 10x matrix folder (matrix.mtx[.gz], features.tsv[.gz] or genes.tsv, "
    "barcodes.tsv[.gz]), CSV/TSV with cells in rows, or an instrument's folder"
)


@dataclass
class Header:
    """What a file promises before its counts are read.

    Attributes
    ----------
    format : "h5ad", "loom", "10x h5", "10x mtx", "table" or a bundle's kind
    columns : names of the per-cell columns (all of a table's header)
    coordinates : whether the file itself holds coordinates
    """

    format: str
    columns: list[str]
    coordinates: bool


def match_names(names: Iterable[str], wanted: Iterable[str]) -> str | None:
    """The first of `wanted` that is among `names` when case is ignored, spelled as in `names`."""
    by_fold = {str(name).strip().casefold(): name for name in names}
    return next((by_fold[name] for name in wanted if name in by_fold), None)


def coordinate_columns(names: Iterable[str]) -> tuple[list[str], str] | None:
    """The two or three columns that hold coordinates and their unit ("um", "px", "unknown"), or None."""
    names = list(names)
    for (x, y, z), unit in COORDINATE_COLUMNS:
        found = [match_names(names, [axis]) for axis in (x, y, z)]
        if found[0] is not None and found[1] is not None:
            return [name for name in found if name is not None], unit
    return None


def base_name(path: str | Path) -> str:
    """The file's name without its format's suffix: `a/x.tsv.gz` -> `x`."""
    name = Path(path).name
    known = sorted(TABLE_SUFFIXES + MTX_SUFFIXES + HDF5_SUFFIXES, key=len, reverse=True)
    return next((name[: -len(s)] for s in known if name.lower().endswith(s) and len(name) > len(s)), name)


def find_sidecar(path: str | Path) -> Path | None:
    """The file of coordinates that lies beside `x.csv` (or `x.h5ad`, folder `x`, …): `x.coords.csv`."""
    path = Path(path)
    for suffix in (".csv", ".csv.gz", ".tsv", ".tsv.gz"):
        sidecar = path.parent / f"{base_name(path)}.coords{suffix}"
        if os.path.exists(sidecar):  # Path.exists raises where the longer name is too long
            return sidecar
    return None


def mtx_files(path: str | Path) -> tuple[Path, Path, Path]:
    """Matrix, features and barcodes of a 10x matrix folder, or of a `<prefix>matrix.mtx[.gz]` within one.

    Raises
    ------
    InputError
        One of the three is missing, or the folder holds several matrices.
    """
    path = Path(path)
    if path.is_dir():
        matrices = sorted(p for p in path.iterdir() if p.name.lower().endswith(MTX_SUFFIXES))
        if len(matrices) != 1:
            found = ", ".join(p.name for p in matrices) or "none"
            raise InputError(
                f"{path}: expected one matrix.mtx[.gz] in this folder, found {found}; "
                "name the matrix file itself when there are several"
            )
        matrix = matrices[0]
    else:
        matrix = path
    prefix = re.sub(r"matrix\.mtx(\.gz)?$", "", matrix.name, flags=re.IGNORECASE)
    if prefix == matrix.name:
        prefix = ""
    names = {"features": ("features.tsv", "genes.tsv"), "barcodes": ("barcodes.tsv",)}
    found = {}
    for kind, candidates in names.items():
        paths = [matrix.parent / f"{prefix}{name}{gz}" for name in candidates for gz in ("", ".gz")]
        found[kind] = next((p for p in paths if p.exists()), None)
        if found[kind] is None:
            raise InputError(
                f"{path}: {prefix}{candidates[0]}[.gz] is missing beside {matrix.name}; "
                "a 10x matrix needs its matrix, features (or genes) and barcodes together"
            )
    return matrix, found["features"], found["barcodes"]


def detect_format(path: str | Path) -> str:
    """The file's format: HDF5 kinds are told by what is inside, the others by name.

    Raises
    ------
    InputError
        The file is missing, empty, damaged or of no known format.
    """
    path = Path(path)
    if path.is_dir():
        # A bundle's own headers are read with this module.
        from spatialimpute.sources.folders import folder_format

        return folder_format(path)
    if not path.exists():
        raise InputError(f"{path}: no such file; correct the path")
    if not path.is_file():
        raise InputError(f"{path}: neither a file nor a folder; give a file")
    if path.stat().st_size == 0:
        raise InputError(f"{path}: the file is empty; copy it again")
    name = path.name.lower()
    if name.endswith(MTX_SUFFIXES):
        return "10x mtx"
    if name.endswith(TABLE_SUFFIXES):
        return "table"
    with open(path, "rb") as handle:
        is_hdf5 = handle.read(8) == b"\x89HDF\r\n\x1a\n"
    if is_hdf5:
        return _hdf5_format(path)
    if name.endswith(HDF5_SUFFIXES):
        raise InputError(f"{path}: not an HDF5 file, though its name says so; export or copy it again")
    raise InputError(f"{path}: unknown format; expected {EXPECTED_FORMATS}")


def _hdf5_format(path: Path) -> str:
    with reading(path), open_hdf5(path) as file:
        keys = {str(key) for key in file}  # a name that is no UTF-8 comes as bytes
        if {"obs", "var"} <= keys:
            return "h5ad"
        if {"row_attrs", "col_attrs", "matrix"} <= keys:
            return "loom"
        if any(f"{key}/barcodes" in file and f"{key}/indptr" in file for key in keys):
            return "10x h5"
    raise InputError(
        f"{path}: an HDF5 file that is neither h5ad, loom nor 10x "
        f"(it holds {', '.join(sorted(keys)) or 'nothing'}); expected {EXPECTED_FORMATS}"
    )


def read_header(path: str | Path) -> Header:
    """What the file promises, from its header alone.

    Raises
    ------
    InputError
        The file cannot be what its format asks for.
    """
    path = Path(path)
    kind = detect_format(path)
    if kind == "10x mtx":
        mtx_files(path)
        return Header(kind, [], False)
    if kind == "10x h5":
        return Header(kind, [], False)
    if kind == "table":
        columns = table_header(path)
        return Header(kind, columns, coordinate_columns(columns) is not None)
    if path.is_dir():
        from spatialimpute.sources.folders import find_bundle

        return find_bundle(path).header()
    with reading(path), open_hdf5(path) as file:
        columns, arrays = _h5ad_columns(file, path) if kind == "h5ad" else _loom_columns(file)
    coordinates = match_names(arrays, COORDINATE_KEYS) is not None or coordinate_columns(columns) is not None
    return Header(kind, columns, coordinates)


def _h5ad_columns(file, path: Path) -> tuple[list[str], list[str]]:
    if not ("X" in file or "layers/counts" in file or "raw" in file or "raw.X" in file):
        raise InputError(f"{path}: holds no matrix; expected raw counts in X, layers['counts'] or raw")
    obs = file["obs"]
    fields = obs.dtype.names if hasattr(obs, "dtype") else list(obs)
    arrays = []
    if "obsm" in file:
        obsm = file["obsm"]
        arrays = list(obsm.dtype.names or ()) if hasattr(obsm, "dtype") else list(obsm)
    return [name for name in fields or () if name not in ("_index", "__categories")], arrays


def _loom_columns(file) -> tuple[list[str], list[str]]:
    attributes = file["col_attrs"]
    wide = [key for key in attributes if len(attributes[key].shape) == 2 and attributes[key].shape[1] > 1]
    return [key for key in attributes if key not in wide], wide


def table_separator(path: str | Path) -> str:
    """Comma for .csv, tab for .tsv and .txt (with or without .gz)."""
    return "," if Path(path).name.lower().removesuffix(".gz").endswith(".csv") else "\t"


def table_header(path: str | Path) -> list[str]:
    """Column names of a CSV/TSV file, trimmed.

    Raises
    ------
    InputError
        Not text, no columns, or another separator than the file's name promises.
    """
    path, separator = Path(path), table_separator(path)
    try:
        with open_text(path) as handle:
            line = handle.readline()
        if line.count(separator) > MAX_COLUMNS:
            raise InputError(
                f"{path}: its first line has more than {MAX_COLUMNS:,} columns; expected cells in rows and genes in "
                "columns: transpose the table or export it again"
            )
        columns = [field.strip() for field in next(csv.reader([line], delimiter=separator), [])]
    except (UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{path}: not a text table in UTF-8 ({error}); export it again as CSV or TSV") from None
    if len(columns) < 2:
        other = {",": "commas", "\t": "tabs", ";": "semicolons"}
        wrong = max((s for s in other if s != separator), key=line.count)
        if line.count(wrong):
            raise InputError(
                f"{path}: columns are separated by {other[wrong]}, expected {other[separator]} "
                f"in a file of this name; save it with {other[separator]} between the columns"
            )
        raise InputError(f"{path}: expected a header line with gene names, found {line[:60].strip()!r}")
    return columns


def coordinate_table_columns(path: str | Path) -> tuple[str, list[str], str]:
    """Column of cell ids, columns of coordinates and their unit in a second file of coordinates.

    Raises
    ------
    InputError
        One of them is missing.
    """
    header = table_header(path)
    found = coordinate_columns(header)
    if found is None:
        raise InputError(f"{path}: no coordinates among {', '.join(header)}; name them x and y (and z)")
    columns, unit = found
    key = match_names(header, CELL_ID_COLUMNS) or (header[0] if header[0] not in columns else None)
    if key is None:
        raise InputError(f"{path}: no column of cell ids; add them as the first column, named cell_id")
    return key, columns, unit
