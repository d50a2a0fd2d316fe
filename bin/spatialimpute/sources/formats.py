"""Which format a file of counts has: HDF5 kinds are told by what is inside, the others by name."""

from pathlib import Path

from spatialimpute.errors import InputError
from spatialimpute.sources.base import Source
from spatialimpute.sources.h5ad import H5ad
from spatialimpute.sources.hdf5 import is_hdf5, top_names
from spatialimpute.sources.loom import Loom
from spatialimpute.sources.table import Table
from spatialimpute.sources.tenx_h5 import TenxH5
from spatialimpute.sources.tenx_mtx import TenxMtx
from spatialimpute.sources.vocabulary import HDF5_SUFFIXES

FORMATS: tuple[type[Source], ...] = (TenxMtx, Table, H5ad, Loom, TenxH5)
EXPECTED_FORMATS = (
    "h5ad, loom, 10x .h5, a 10x matrix folder (matrix.mtx[.gz], features.tsv[.gz] or genes.tsv, "
    "barcodes.tsv[.gz]), CSV/TSV with cells in rows, or an instrument's folder"
)


def open_file(path: Path) -> Source:
    """The file as its format's source.

    Raises
    ------
    InputError
        The file is missing, empty, damaged or of no known format.
    """
    if not path.exists():
        raise InputError(f"{path}: no such file; correct the path")
    if not path.is_file():
        raise InputError(f"{path}: neither a file nor a folder; give a file")
    if path.stat().st_size == 0:
        raise InputError(f"{path}: the file is empty; copy it again")
    found = next((format for format in FORMATS if format.is_it(path)), None)
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


def open_tenx(path: Path) -> Source:
    """A 10x matrix, as HDF5 or as a folder, within an instrument's folder.

    Raises
    ------
    InputError
        It is another kind of file.
    """
    source = TenxMtx(path) if path.is_dir() else open_file(path)
    if not isinstance(source, TenxMtx | TenxH5):
        raise InputError(f"{path}: expected a 10x matrix, found {source.kind}; export or copy it again")
    return source
