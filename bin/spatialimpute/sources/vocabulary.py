"""The names that files, columns and keys have in the formats, instruments and tools of the field, in one place.

What only one instrument writes stands in its own file; here is what has to be told apart without knowing who wrote it.
Names are compared without case, so they stand here in lower case.
"""

from collections.abc import Iterable
from pathlib import Path

# ---------------------------------------------------------------------------------------------- files

TABLE_SUFFIXES = (".csv", ".tsv", ".txt", ".csv.gz", ".tsv.gz", ".txt.gz")
MTX_SUFFIXES = (".mtx", ".mtx.gz")
HDF5_SUFFIXES = (".h5ad", ".loom", ".h5", ".hdf5")
#: Of the second file with coordinates, which is named after the counts: `x.coords.csv` beside `x.h5ad`.
SIDECAR_SUFFIXES = (".coords.csv", ".coords.csv.gz", ".coords.tsv", ".coords.tsv.gz")

# ---------------------------------------------------------------------------------------------- cells

#: Keys of `obsm` (or two-dimensional loom attributes) that hold coordinates.
COORDINATE_KEYS = ("spatial", "x_spatial", "spatial_coordinates", "coordinates", "coords")

#: How `uns['coordinate_unit']` may say a unit, and the name that it has everywhere after.
COORDINATE_UNITS = dict.fromkeys(("um", "µm", "μm", "micron", "microns", "micrometer", "micrometers"), "um") | {
    "px": "px", "pixel": "px", "pixels": "px",
}  # fmt: skip

#: Columns that hold coordinates, most specific first, and their unit; z is optional.
COORDINATE_COLUMNS = (
    (("x_um", "y_um", "z_um"), "um"),
    (("x_micron", "y_micron", "z_micron"), "um"),
    (("x_microns", "y_microns", "z_microns"), "um"),
    (("x_centroid", "y_centroid", "z_centroid"), "um"),  # Xenium cells.csv
    (("center_x", "center_y", "center_z"), "um"),  # MERSCOPE cell_metadata.csv
    (("centerx_global_px", "centery_global_px", "centerz_global_px"), "px"),  # CosMx metadata
    (("pxl_col_in_fullres", "pxl_row_in_fullres", "pxl_z_in_fullres"), "px"),  # Visium tissue_positions
    (("imagecol", "imagerow", "imagez"), "px"),  # Seurat's Visium
    (("x_px", "y_px", "z_px"), "px"),
    (("x_pixel", "y_pixel", "z_pixel"), "px"),
    (("global_x", "global_y", "global_z"), "unknown"),
    (("centroid_x", "centroid_y", "centroid_z"), "unknown"),  # MERFISH of the hypothalamus
    (("spatial_x", "spatial_y", "spatial_z"), "unknown"),
    (("x_coord", "y_coord", "z_coord"), "unknown"),
    (("coord_x", "coord_y", "coord_z"), "unknown"),
    (("xcoord", "ycoord", "zcoord"), "unknown"),  # Slide-seq
    (("x_coordinate", "y_coordinate", "z_coordinate"), "unknown"),
    (("x_location", "y_location", "z_location"), "unknown"),
    (("x_position", "y_position", "z_position"), "unknown"),
    (("x_pos", "y_pos", "z_pos"), "unknown"),
    (("pos_x", "pos_y", "pos_z"), "unknown"),
    (("sdimx", "sdimy", "sdimz"), "unknown"),  # Giotto
    (("x", "y", "z"), "unknown"),
)
#: Every such name but the bare letters, which are genes of some species (the fly's x, y and z).
AXES = frozenset(axis for axes, _ in COORDINATE_COLUMNS[:-1] for axis in axes)

CELL_ID_COLUMNS = (
    "cell_id", "cellid", "cell", "cells", "cell_name", "barcode", "barcodes", "id", "index", "entityid",
)  # fmt: skip

#: Names of a column without a name, as tools write the cells' ids in front of the genes.
UNNAMED_COLUMNS = ("", "unnamed: 0")

CELLTYPE_COLUMNS = (
    "cell_type", "celltype", "cell_types", "celltypes", "cell_type_name", "cell_label", "cell_class",
    "subclass", "str_labels", "annotation", "clustername", "cluster_name", "clusters",
)  # fmt: skip
#: Labels of a cell that has none.
MISSING_LABELS = frozenset(("", "na", "n/a", "nan", "none", "null", "<na>", "unassigned", "unlabeled", "unlabelled"))

# ---------------------------------------------------------------------------------------------- genes

#: A table's first column of this name says that genes, not cells, are in rows.
GENE_COLUMNS = (
    "gene", "genes", "gene_name", "gene_names", "gene_symbol", "gene_id", "symbol", "feature", "features",
)  # fmt: skip

#: Columns of `var` that hold symbols, and those that hold identifiers.
SYMBOL_COLUMNS = (
    "gene_symbols", "gene_symbol", "gene_names", "gene_name", "real_gene_name", "feature_name", "symbol", "symbols",
    "gene_short_name", "genesymbol", "genename", "gene.name", "gene-name", "external_gene_name", "hgnc_symbol",
    "mgi_symbol", "symbol_name", "original_gene_symbols", "gene", "genes", "features", "name",
)  # fmt: skip
ID_COLUMNS = (
    "gene_ids", "gene_id", "ensembl_id", "ensembl_ids", "ensembl", "ensembl_gene_id", "ensemblid", "feature_id",
    "accession", "geneid", "id",
)  # fmt: skip
#: Columns of `var` that hold the kind of each feature, as 10x tells genes from proteins and controls.
FEATURE_TYPE_COLUMNS = ("feature_types", "feature_type")
#: Names of a gene that has none.
MISSING_NAMES = frozenset(("", "nan", "none", "na", "<na>"))

LOOM_GENE_ATTRIBUTES = (
    "gene", "genes", "gene_name", "gene_names", "genename", "symbol", "var_names", "name", "accession",
)  # fmt: skip
LOOM_CELL_ATTRIBUTES = (*CELL_ID_COLUMNS, "obs_names", "cell_names")


def find_name(names: Iterable[str], wanted: Iterable[str]) -> str | None:
    """The first of `wanted` that is among `names` when case is ignored, spelled as in `names`."""
    by_fold = {str(name).strip().casefold(): name for name in names}
    return next((by_fold[name] for name in wanted if name in by_fold), None)


def coordinate_columns(names: Iterable[str]) -> tuple[list[str], str] | None:
    """The two or three columns that hold coordinates and their unit ("um", "px", "unknown"), or None."""
    by_fold: dict[str, list] = {}
    for name in names:
        by_fold.setdefault(str(name).strip().casefold(), []).append(name)
    for axes, unit in COORDINATE_COLUMNS:
        if axes[0] in by_fold and axes[1] in by_fold:
            first = by_fold[axes[0]][0]
            found = [by_fold[axis] for axis in axes if axis in by_fold]
            # Of X, Y, x and y those belong together that are spelled alike.
            return [next((name for name in same if _case(name) == _case(first)), same[0]) for same in found], unit
    return None


def _case(name: str) -> list[bool]:
    return [letter.isupper() for letter in str(name)]


def has_coordinates(arrays: Iterable[str], columns: Iterable[str]) -> bool:
    """Whether coordinates are among arrays of these names (`obsm`), or columns of these names (`obs`)."""
    return find_name(arrays, COORDINATE_KEYS) is not None or coordinate_columns(columns) is not None


def base_name(path: str | Path) -> str:
    """The file's name without its format's suffix: `a/x.tsv.gz` -> `x`."""
    name = Path(path).name
    known = sorted(TABLE_SUFFIXES + MTX_SUFFIXES + HDF5_SUFFIXES, key=len, reverse=True)
    return next((name[: -len(s)] for s in known if name.lower().endswith(s) and len(name) > len(s)), name)


def numbered_cells(n: int) -> list[str]:
    """Names for cells that have none: cell1, cell2, …"""
    return [f"cell{i + 1}" for i in range(n)]
