"""HDF5 files from strangers: nothing outside the file is followed, nothing is allocated on its word alone."""

import math
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path

from spatialimpute.errors import InputError
from spatialimpute.sources.guard import TEXT_BYTES, UNQUESTIONED, require_memory

#: No filter of HDF5 packs better than about a thousand to one (deflate's bound is 1032).
MAX_RATIO = 1100
SIGNATURE = b"\x89HDF\r\n\x1a\n"
#: Groups within groups to the texts: `matrix/features/name` of 10x.
MAX_DEPTH = 3
#: Never read, so that their size does not matter.
_UNREAD = ("obsp", "varp", "varm", "uns", "row_graphs", "col_graphs")
#: Dense matrices are read by blocks of rows and kept sparse.
_BY_BLOCKS = ("X", "raw/X", "raw.X", "matrix")


def open_hdf5(path: Path):
    """Open read-only.

    Raises
    ------
    InputError
        Damaged; or it refers to other files, by external links, external storage or virtual datasets; or a group
        has several names, so that what is read through it may be endless; or its header claims far more values
        than the file can hold.
    """
    import h5py

    with reading(path):
        file = h5py.File(path, "r")
        try:
            _refuse(file, path)
        except BaseException:
            file.close()
            raise
    return file


@contextmanager
def reading(path: Path) -> Iterator[None]:
    """Whatever the library says of a file that it cannot read, the file is the user's to fix: InputError."""
    try:
        yield
    except (OSError, RuntimeError, LookupError, ValueError, TypeError, AttributeError, SystemError) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise InputError(f"{path}: damaged or truncated HDF5 file ({reason}); copy it again") from None


def _refuse(file, path: Path) -> None:
    datasets = _datasets(file, path)
    for name, item in datasets.items():
        if item.is_virtual or item.external:
            raise InputError(
                f"{path}: the values of {name!r} are in another file, which is not followed; export the file with "
                "its content"
            )
    claimed = {name: _claimed(item) for name, item in datasets.items()}
    total, stored = sum(claimed.values()), path.stat().st_size
    if total > UNQUESTIONED and total > MAX_RATIO * stored:
        largest = max(claimed, key=claimed.get)
        shape = " x ".join(f"{n:,}" for n in datasets[largest].shape)
        raise InputError(
            f"{path}: {largest!r} claims {shape} values, and the whole file has {stored:,} bytes; it is damaged or "
            "no data: export it again"
        )


def _datasets(file, path: Path) -> dict:
    """All datasets by name, also by the names of soft links; raises InputError at a link out of the file or to a
    group."""
    import h5py

    found, outward, second = {}, [], []

    def visit(name: bytes, link) -> None:
        shown = name.decode("utf-8", "replace")
        if link.type not in (h5py.h5l.TYPE_HARD, h5py.h5l.TYPE_SOFT):
            outward.append(shown)
            return
        try:
            item = file.get(name)
        except RuntimeError:  # a soft link that leads in a circle, or through a link out of the file
            return
        if isinstance(item, h5py.Dataset):
            found[shown] = item
        elif isinstance(item, h5py.Group) and (link.type == h5py.h5l.TYPE_SOFT or h5py.h5o.get_info(item.id).rc > 1):
            second.append(shown)

    file.id.links.visit(visit, info=True)
    if outward:
        raise InputError(
            f"{path}: {outward[0]!r} is a link to another file, which is not followed; export the file with its content"
        )
    if second:
        raise InputError(
            f"{path}: {second[0]!r} is a second name of a group, which is not followed; export the file without such "
            "links"
        )
    return found


def _claimed(item) -> int:
    return math.prod(item.shape or ()) * item.dtype.itemsize


def memory_of(item) -> int:
    """Bytes that the values of a dataset take when all are read."""
    return _claimed(item) * (TEXT_BYTES // item.dtype.itemsize if item.dtype.kind == "O" else 1)


def require_hdf5_memory(
    path: Path, everything: bool = False, layers: Collection[str] = (), group: str | None = None
) -> None:
    """Raise MemoryError where what QC reads of the file, or `everything` in it, does not fit into memory.

    Parameters
    ----------
    layers : those that are read beside `counts`
    group : the one in which what QC reads lies; None: the file's top
    """
    needed = 0
    prefix = "" if group is None else f"{group}/"
    with open_hdf5(path) as file:
        for full_name, item in _datasets(file, path).items():
            name = full_name.removeprefix(prefix)
            read = full_name.startswith(prefix) and _is_read(name, layers)
            if everything or (read and not (_is_matrix(name) and item.ndim == 2)):
                needed += memory_of(item)
    require_memory(needed, f"the content of {path}")


def _is_read(name: str, layers: Collection[str]) -> bool:
    top, _, rest = name.partition("/")
    return top not in _UNREAD and (top != "layers" or rest.split("/")[0] in ("counts", *layers))


def _is_matrix(name: str) -> bool:
    return name in _BY_BLOCKS or (name.startswith("layers/") and name.count("/") == 1)


def is_hdf5(path: Path) -> bool:
    """Whether the file starts as HDF5 does."""
    with open(path, "rb") as file:
        return file.read(len(SIGNATURE)) == SIGNATURE


def top_names(path: Path) -> set[str]:
    """Names at the top of an HDF5 file; none where it is another kind of file.

    Raises
    ------
    InputError
        It starts as HDF5 does, and cannot be opened.
    """
    if not is_hdf5(path):
        return set()
    with reading(path), open_hdf5(path) as file:
        return {str(name) for name in file}  # a name that is no UTF-8 comes as bytes


def texts(item, depth: int = MAX_DEPTH, field: str | None = None) -> list[str]:
    """All texts in a dataset, or in a group's so deep within it; of a compound dataset (h5ad before anndata 0.7) those
    of one field. MemoryError where they do not fit."""
    if hasattr(item, "keys"):
        return [text for key in item for text in texts(item[key], depth - 1)] if depth else []
    require_memory(memory_of(item), f"{item.name} of {item.file.filename}")
    values = item[()] if field is None else item[field]
    return [_text(value) for value in values.ravel()] if values.dtype.kind in "SO" and values.ndim == 1 else []


def column_texts(item) -> list[str]:
    """Texts of a dataset of one dimension, also those of truth values; none of numbers."""
    if item.ndim == 1 and item.dtype == bool:
        return [str(value) for value in item[()]]
    return texts(item)


def _text(value) -> str:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)
