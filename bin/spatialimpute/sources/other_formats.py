"""Files that are not read, and what to do with each."""

from collections.abc import Collection
from pathlib import Path

_PACKED = (".zip", ".tar", ".tar.gz", ".tgz", ".gz", ".bz2", ".xz", ".7z")
#: Endings in lower case, and what a file of that name is and needs.
_WAYS_OUT = {
    (".h5ad.gz", ".h5.gz", ".h5mu.gz", ".loom.gz", ".hdf5.gz"): "a packed HDF5 file, which cannot be read in place; "
    "unpack it (gunzip) and name the file that comes out",
    (".zarr.zip",): "a zarr store packed as one file; unpack it (unzip) and name the folder that comes out",
    _PACKED: "an archive or packed file; unpack it and name the file or folder that comes out",
    (".rds", ".rdata", ".rda", ".qs", ".h5seurat", ".robj"): "an object of R; write its counts as h5ad from R "
    "(zellkonverter, anndataR or sceasy) or as a 10x folder (DropletUtils::write10xCounts)",
    (".gef", ".gem", ".gem.gz"): "molecules of Stereo-seq; bin or segment them and write h5ad "
    "(stereo.io.stereo_to_anndata)",
    (".xlsx", ".xls", ".ods"): "a spreadsheet; save it as CSV, cells in rows and genes in columns",
    (".parquet", ".feather"): "a table of a kind that is read in instruments' folders alone; save it as CSV, cells in "
    "rows and genes in columns",
    (".zarr",): "a folder's name, but it is a file; copy the store with all its files",
}


#: Names at the top of HDF5 files of other kinds, and the ending of files of that kind.
_TOPS = {("cell.names", "assays"): ".h5seurat", ("cellBin",): ".gef", ("geneExp",): ".gef"}


def way_out_of(names: Collection[str]) -> str | None:
    """What an HDF5 file with these names at its top is, and what to do with it; None of others."""
    return next((way_out(ending) for known, ending in _TOPS.items() if set(known) <= set(names)), None)


def is_packed(path: Path) -> bool:
    """Whether a file of this name is an archive or packed."""
    return path.name.lower().endswith(_PACKED)


def way_out(path: str | Path) -> str | None:
    """What a file of this name is, and what to do with it; None of other names."""
    name = Path(path).name.lower()
    endings = ((ending, advice) for known, advice in _WAYS_OUT.items() for ending in known if name.endswith(ending))
    return max(endings, key=lambda found: len(found[0]), default=(None, None))[1]
