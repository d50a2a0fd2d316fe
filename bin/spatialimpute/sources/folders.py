"""Folders as instruments write them: which vendor's a folder is, and one reader per vendor.

The field's own `spatialdata-io` would bring 58 packages (318 MB), needs other versions than the locked ones, and asks
for images and segmentations that say nothing of counts; so counts and cells are read with scanpy, pandas, pyarrow and
anndata. Like :mod:`spatialimpute.sources.formats` this package imports none of them before counts are read.
"""

from pathlib import Path

from spatialimpute.errors import InputError
from spatialimpute.sources.cosmx import CosMx
from spatialimpute.sources.folder import Bundle, listing
from spatialimpute.sources.formats import MTX_SUFFIXES
from spatialimpute.sources.merscope import Merscope
from spatialimpute.sources.spatialdata import SpatialDataStore
from spatialimpute.sources.starmap_plus import StarmapPlus
from spatialimpute.sources.visium import Visium
from spatialimpute.sources.xenium import Xenium

BUNDLES: tuple[type[Bundle], ...] = (Xenium, Merscope, CosMx, Visium, StarmapPlus, SpatialDataStore)


def find_bundle(folder: str | Path) -> Bundle | None:
    """The bundle that a folder holds, told by the vendors' file names, complete or not; None when it is no bundle."""
    folder = Path(folder)
    return next(iter(_bundles(folder)), None) if folder.is_dir() else None


def _bundles(folder: Path) -> list[Bundle]:
    return [bundle for bundle in (kind(folder) for kind in BUNDLES) if bundle.is_it()]


def folder_format(folder: Path) -> str:
    """ "10x mtx" or the kind of bundle that a folder is.

    Raises
    ------
    InputError
        It is neither, or several.
    """
    if any(path.name.lower().endswith(MTX_SUFFIXES) for path in folder.iterdir()):
        return "10x mtx"
    kinds = [bundle.kind for bundle in _bundles(folder)]
    if len(kinds) > 1:
        raise InputError(f"{folder}: holds the files of a {' and of a '.join(kinds)}; give each a folder of its own")
    if not kinds:
        raise InputError(
            f"{folder}: a folder of no known kind; expected a 10x matrix (matrix.mtx[.gz], features.tsv[.gz], "
            f"barcodes.tsv[.gz]) or a {', '.join(bundle.kind for bundle in BUNDLES)}; found {listing(folder)}: "
            "name the folder in which the files are"
        )
    return kinds[0]


def source_files(path: Path) -> list[Path]:
    """The files that are read when this path is: what an instrument's folder holds beside them may be vast."""
    if not path.is_dir():
        return [path]
    parts = [path] if folder_format(path) == "10x mtx" else find_bundle(path).files()
    files = [sorted(part.iterdir()) if part.is_dir() else [part] for part in parts]
    return [file for part in files for file in part if file.is_file()]
