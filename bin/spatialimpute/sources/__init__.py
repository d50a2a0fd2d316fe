"""Files of strangers: vendors, laboratories, repositories. One class per format and per instrument's folder."""

from pathlib import Path

from spatialimpute.errors import InputError
from spatialimpute.sources.base import Header, Source
from spatialimpute.sources.cosmx import CosMx
from spatialimpute.sources.folder import Folder, listing
from spatialimpute.sources.h5ad import H5ad
from spatialimpute.sources.hdf5 import is_hdf5, top_names
from spatialimpute.sources.loom import Loom
from spatialimpute.sources.merscope import Merscope
from spatialimpute.sources.spatialdata import SpatialDataStore
from spatialimpute.sources.starmap_plus import StarmapPlus
from spatialimpute.sources.table import Table
from spatialimpute.sources.tenx_h5 import TenxH5
from spatialimpute.sources.tenx_mtx import TenxMtx
from spatialimpute.sources.visium import Visium
from spatialimpute.sources.vocabulary import HDF5_SUFFIXES
from spatialimpute.sources.xenium import Xenium

__all__ = ["FILES", "FOLDERS", "Header", "Source", "folders_of", "open_source"]

#: Formats of single files; HDF5 kinds are told by what is inside, the others by name.
FILES: tuple[type[Source], ...] = (TenxMtx, Table, H5ad, Loom, TenxH5)
FOLDERS: tuple[type[Folder], ...] = (Xenium, Merscope, CosMx, Visium, StarmapPlus, SpatialDataStore)

EXPECTED_FORMATS = (
    "h5ad, loom, 10x .h5, a 10x matrix folder (matrix.mtx[.gz], features.tsv[.gz] or genes.tsv, "
    "barcodes.tsv[.gz]), CSV/TSV with cells in rows, or an instrument's folder"
)


def open_source(path: str | Path) -> Source:
    """A file or folder of counts as the class of its kind; only names and headers are looked at.

    Raises
    ------
    InputError
        It is missing, empty, damaged, of no known kind, or of several.
    """
    path = Path(path)
    return _open_folder(path) if path.is_dir() else _open_file(path)


def folders_of(path: Path) -> list[type[Folder]]:
    """The kinds of instruments' folders that a path is, complete or not."""
    return [kind for kind in FOLDERS if kind.is_it(path)]


def _open_file(path: Path) -> Source:
    if not path.exists():
        raise InputError(f"{path}: no such file; correct the path")
    if not path.is_file():
        raise InputError(f"{path}: neither a file nor a folder; give a file")
    if path.stat().st_size == 0:
        raise InputError(f"{path}: the file is empty; copy it again")
    found = next((kind for kind in FILES if kind.is_it(path)), None)
    if found is not None:
        return found(path)
    if is_hdf5(path):
        raise InputError(
            f"{path}: an HDF5 file that is neither h5ad, loom nor 10x "
            f"(it holds {', '.join(sorted(top_names(path))) or 'nothing'}); expected {EXPECTED_FORMATS}"
        )
    if path.name.lower().endswith(HDF5_SUFFIXES):
        raise InputError(f"{path}: not an HDF5 file, though its name says so; export or copy it again")
    raise InputError(f"{path}: unknown format; expected {EXPECTED_FORMATS}")


def _open_folder(path: Path) -> Source:
    if TenxMtx.is_it(path):  # the folder of a matrix, whatever else was put beside it
        return TenxMtx(path)
    kinds = folders_of(path)
    if len(kinds) > 1:
        names = " and of a ".join(kind.kind for kind in kinds)
        raise InputError(f"{path}: holds the files of a {names}; give each a folder of its own")
    if not kinds:
        raise InputError(
            f"{path}: a folder of no known kind; expected a 10x matrix (matrix.mtx[.gz], features.tsv[.gz], "
            f"barcodes.tsv[.gz]) or a {', '.join(kind.kind for kind in FOLDERS)}; found {listing(path)}: "
            "name the folder in which the files are"
        )
    return kinds[0](path)
