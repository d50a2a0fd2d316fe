"""Files of strangers: vendors, laboratories, repositories. One class per format and per instrument's folder."""

import re
from pathlib import Path

from spatialimpute.errors import InputError
from spatialimpute.sources.anndata_zarr import METADATA, AnnDataZarr
from spatialimpute.sources.base import Header, Source
from spatialimpute.sources.cosmx import CosMx
from spatialimpute.sources.folder import N_LISTED, Folder, listing
from spatialimpute.sources.h5ad import H5ad
from spatialimpute.sources.h5mu import H5mu
from spatialimpute.sources.hdf5 import is_hdf5, top_names
from spatialimpute.sources.loom import Loom
from spatialimpute.sources.merscope import Merscope
from spatialimpute.sources.other_formats import way_out, way_out_of
from spatialimpute.sources.spatialdata import TABLES, SpatialDataStore
from spatialimpute.sources.starmap_plus import StarmapPlus
from spatialimpute.sources.table import Table
from spatialimpute.sources.tenx_h5 import TenxH5
from spatialimpute.sources.tenx_mtx import TenxMtx
from spatialimpute.sources.visium import Visium
from spatialimpute.sources.visium_cells import VisiumCells
from spatialimpute.sources.vocabulary import HDF5_SUFFIXES
from spatialimpute.sources.xenium import Xenium

__all__ = ["FILES", "FOLDERS", "Header", "Source", "folders_of", "open_source", "split_address", "split_part"]

#: Names of the instruments' tables of molecules.
_MOLECULES = re.compile(r"^(detected_)?transcripts\.|_tx_file\.|_transcripts\.(csv|parquet)", re.IGNORECASE)
#: Formats of single files; HDF5 kinds are told by what is inside, the others by name.
FILES: tuple[type[Source], ...] = (TenxMtx, Table, H5mu, H5ad, Loom, TenxH5)
FOLDERS: tuple[type[Folder], ...] = (
    Xenium, Merscope, CosMx, Visium, VisiumCells, StarmapPlus, SpatialDataStore, AnnDataZarr,
)  # fmt: skip

EXPECTED_FORMATS = (
    "h5ad, h5mu, loom, 10x .h5, a 10x matrix folder (matrix.mtx[.gz], features.tsv[.gz] or genes.tsv, "
    "barcodes.tsv[.gz]), CSV/TSV with cells in rows, or an instrument's folder"
)


def open_source(path: str | Path) -> Source:
    """A file or folder of counts as the class of its kind; only names and headers are looked at.

    Of a file or store that holds several matrices the path may name one: `x.zarr/tables/cells`, `x.h5mu/rna`,
    `x.h5/mm10`.

    Raises
    ------
    InputError
        It is missing, empty, damaged, of no known kind, or of several.
    """
    path, part = split_part(path)
    source = _open_folder(path) if path.is_dir() else _open_file(path)
    if part and not source.has_parts:
        raise InputError(f"{path}/{part}: no such file, since {path.name} is a {source.kind}; correct the path")
    source.part = part
    return source


def split_part(path: str | Path) -> tuple[Path, str]:
    """The file or store on disk, and what the rest of the path names within it, "" for nothing."""
    path = Path(path)
    for outer in path.parents:
        part = path.relative_to(outer).as_posix()
        if outer.is_file() or (SpatialDataStore.is_it(outer) and _may_be_table(path, part)):
            return outer, part
    return path, ""


def split_address(address: str) -> tuple[str, str]:
    """The same of an address (`s3://…`), told by the suffixes of files that have parts."""
    found = re.match(r"(.+?\.(?:zarr|h5mu|h5))/(.+)$", address)
    return (found[1], found[2]) if found else (address, "")


def _may_be_table(path: Path, part: str) -> bool:
    return part.split("/")[0] in TABLES and part.count("/") == 1 or not path.exists()


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
    if (advice := way_out(path)) is not None:
        raise InputError(f"{path}: {advice}")
    if is_hdf5(path):
        if (advice := way_out_of(top_names(path))) is not None:
            raise InputError(f"{path}: {advice}")
        raise InputError(
            f"{path}: an HDF5 file that is neither h5ad, h5mu, loom nor 10x "
            f"(it holds {', '.join(sorted(top_names(path))) or 'nothing'}); expected {EXPECTED_FORMATS}"
        )
    if path.name.lower().endswith(HDF5_SUFFIXES):
        raise InputError(f"{path}: not an HDF5 file, though its name says so; export or copy it again")
    raise InputError(f"{path}: unknown format; expected {EXPECTED_FORMATS}")


def _open_folder(path: Path) -> Source:
    kinds = folders_of(path)
    if TenxMtx.is_it(path) and not Visium.is_placed(path):  # a matrix's folder, whatever else was put beside it
        return TenxMtx(path)
    if len(kinds) > 1:
        names = " and of a ".join(kind.kind for kind in kinds)
        raise InputError(f"{path}: holds the files of a {names}; give each a folder of its own")
    stores = [] if kinds else [inner for inner in sorted(path.iterdir()) if _is_store(inner)]
    if len(stores) == 1:  # as nf-core's sopa and spatialaxe write it, beside an export for an explorer
        return _open_folder(stores[0])
    if stores:
        names = ", ".join(store.name for store in stores)
        raise InputError(f"{path}: holds the stores {names}; name one of them: {path.name}/{stores[0].name}")
    if not kinds and any((path / about).exists() for about in METADATA):
        raise InputError(
            f"{path}: a zarr store without a table of counts (found {listing(path)}); expected AnnData, or SpatialData "
            "with cells aggregated into a table below tables/"
        )
    if not kinds and (molecules := [inner.name for inner in sorted(path.iterdir()) if _MOLECULES.search(inner.name)]):
        raise InputError(
            f"{path}: holds molecules ({', '.join(molecules)}) without the counts of cells; add the tables of cells "
            "and counts that the instrument writes beside them, or assign the molecules to cells (in Python: "
            "sopa or spatialdata.aggregate) and name the h5ad or SpatialData store that comes out"
        )
    if not kinds and (inner := [(inner, kind) for inner in sorted(path.iterdir()) if (kind := _kind_of(inner))]):
        listed = ", ".join(f"{found.name} (a {kind})" for found, kind in inner[:N_LISTED])
        raise InputError(
            f"{path}: the files are in a folder within it: {listed}; name it: {path.name}/{inner[0][0].name}"
            if len(inner) == 1
            else f"{path}: holds several folders of counts: {listed}; name one: {path.name}/{inner[0][0].name}"
        )
    if not kinds:
        raise InputError(
            f"{path}: a folder of no known kind; expected a 10x matrix (matrix.mtx[.gz], features.tsv[.gz], "
            f"barcodes.tsv[.gz]) or a {', '.join(kind.kind for kind in FOLDERS)}; found {listing(path)}: "
            "name the folder in which the files are"
        )
    return kinds[0](path)


def _kind_of(path: Path) -> str:
    """What a folder within another is, "" for nothing that is known."""
    if not path.is_dir() or path.name.startswith("."):
        return ""
    return next((kind.kind for kind in folders_of(path)), TenxMtx.kind if TenxMtx.is_it(path) else "")


def _is_store(path: Path) -> bool:
    return path.is_dir() and not path.name.startswith(".") and (SpatialDataStore.is_it(path) or AnnDataZarr.is_it(path))
