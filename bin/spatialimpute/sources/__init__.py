"""Files of strangers: vendors, laboratories, repositories. One class per format and per instrument's folder."""

from pathlib import Path

from spatialimpute.errors import InputError
from spatialimpute.sources.base import Header, Source
from spatialimpute.sources.cosmx import CosMx
from spatialimpute.sources.folder import Folder, listing
from spatialimpute.sources.formats import FORMATS, open_file
from spatialimpute.sources.merscope import Merscope
from spatialimpute.sources.spatialdata import SpatialDataStore
from spatialimpute.sources.starmap_plus import StarmapPlus
from spatialimpute.sources.tenx_mtx import TenxMtx
from spatialimpute.sources.visium import Visium
from spatialimpute.sources.xenium import Xenium

__all__ = ["FOLDERS", "FORMATS", "Header", "Source", "folders_of", "open_source"]

FOLDERS: tuple[type[Folder], ...] = (Xenium, Merscope, CosMx, Visium, StarmapPlus, SpatialDataStore)


def open_source(path: str | Path) -> Source:
    """A file or folder of counts as the class of its kind; only names and headers are looked at.

    Raises
    ------
    InputError
        It is missing, empty, damaged, of no known kind, or of several.
    """
    path = Path(path)
    return _open_folder(path) if path.is_dir() else open_file(path)


def folders_of(path: Path) -> list[type[Folder]]:
    """The kinds of instruments' folders that a path is, complete or not."""
    return [kind for kind in FOLDERS if kind.is_it(path)]


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
