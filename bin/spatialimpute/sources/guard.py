"""What keeps a stranger's file from doing harm: memory that it may fill, links that it may follow, codecs that it may
run. Limits of one format alone stand with its reader (:mod:`~spatialimpute.sources.text`,
:mod:`~spatialimpute.sources.hdf5`).
"""

import gzip
import json
import math
import os
from pathlib import Path

from spatialimpute.errors import InputError

#: Bytes that a file may claim, or unpack to, whatever its size.
UNQUESTIONED = 1 << 30
#: Bytes in memory of one text.
TEXT_BYTES = 100
#: Bytes of the largest JSON file that is read: of scale factors, or of an array's metadata.
MAX_JSON = 16 << 20

# --------------------------------------------------------------------------------------------- memory

GROUPS, GROUP_ROOT = Path("/proc/self/cgroup"), Path("/sys/fs/cgroup")
_LIMITS = (("memory.max", ""), ("memory.limit_in_bytes", "memory"))


def available_memory() -> int | None:
    """Bytes of this machine, or of the control group that a container or a scheduler set; None where unknown."""
    limits = [limit for limit in (_physical(), *_group_limits()) if limit is not None]
    return min(limits, default=None)


def require_memory(n_bytes: int, what: str) -> None:
    """Raise MemoryError, which is tried again with more memory, where `what` cannot fit."""
    limit = available_memory()
    if limit is not None and n_bytes > limit:
        raise MemoryError(f"{what} takes {n_bytes / 1e9:,.1f} GB, and this step has {limit / 1e9:,.1f} GB")


def _physical() -> int | None:
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError):
        return None


def _group_limits() -> list[int]:
    """Limits of this process's control group and of those around it (versions 1 and 2)."""
    found = []
    lines = GROUPS.read_text().splitlines() if GROUPS.exists() else []
    for line in lines:
        _, controllers, place = line.split(":", 2)
        for name, controller in _LIMITS:
            if controller in controllers.split(","):
                group = GROUP_ROOT / controller / place.lstrip("/")
                for folder in (group, *group.parents):
                    found += _limit(folder / name)
    return found


def _limit(path: Path) -> list[int]:
    try:
        text = path.read_text().strip()
    except OSError:
        return []
    return [int(text)] if text.isdecimal() else []


# ----------------------------------------------------------------------------------- files and folders


def plain_files(folder: Path) -> list[Path]:
    """All files below a folder.

    Raises
    ------
    InputError
        A link, behind which other files would be read than those that are checked, or a pipe among them.
    """
    found, folders = [], [folder]
    while folders:
        with os.scandir(folders.pop()) as entries:
            for entry in entries:
                if entry.is_dir(follow_symlinks=False):
                    folders.append(Path(entry.path))
                elif entry.is_file(follow_symlinks=False):
                    found.append(Path(entry.path))
                else:
                    refuse_link(Path(entry.path))
    return sorted(found)


def refuse_links(path: Path, folder: Path) -> None:
    """Raise InputError at a link on the way from `folder`, which may be one itself, down to `path`."""
    while path != folder:
        if path.is_symlink():
            refuse_link(path)
        path = path.parent


def refuse_link(path: Path) -> None:
    """Say that a link within a folder is not followed."""
    raise InputError(f"{path}: a link or a pipe, which is not followed; copy the folder with its content (cp -rL)")


def read_json(path: Path) -> dict:
    """The object in a small JSON file.

    Raises
    ------
    InputError
        It holds none, or is larger than any of its kind.
    """
    try:
        with gzip.open(path) if path.suffix == ".gz" else open(path, "rb") as file:
            text = file.read(MAX_JSON + 1)
        if len(text) > MAX_JSON:
            raise InputError(f"{path}: more than {MAX_JSON >> 20} MB, too large for its kind; copy it again")
        content = json.loads(text)
    except RecursionError:
        raise InputError(f"{path}: cannot be read as JSON (too deep); copy it again") from None
    except (ValueError, OSError, EOFError) as error:
        raise InputError(f"{path}: cannot be read as JSON ({error}); copy it again") from None
    if not isinstance(content, dict):
        raise InputError(f"{path}: expected a JSON object; copy it again")
    return content


# ----------------------------------------------------------------------------------------------- zarr

#: An array that claims more than :data:`UNQUESTIONED`, and so many times what it holds, is no data but a trap.
MAX_ZARR_RATIO = 100_000
#: Compressors and encodings that only unpack, as anndata and spatialdata write or let choose; others may run code.
ZARR_CODECS = frozenset(
    "blosc zstd zlib gzip lz4 lzma bz2 shuffle delta crc32 crc32c bytes endian transpose sharding_indexed vlen-utf8 "
    "vlen-bytes".split()
)


def zarr_bytes(path: Path, about: dict) -> tuple[int, int]:
    """Bytes that all of a zarr array, and one chunk of it, take in memory.

    Parameters
    ----------
    path : the array's metadata file (`.zarray` or `zarr.json`); about : its content

    Raises
    ------
    InputError
        The array would run code when read, claims far more than it holds, or its metadata are damaged.
    """
    codecs = _codecs([about.get(key) for key in ("codecs", "filters", "compressor")])
    unknown = {name.rpartition(".")[2] for name in codecs} - ZARR_CODECS
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
    claimed, chunk = math.prod(shape) * value, math.prod(chunks) * value
    held = sum(file.stat().st_size for file in plain_files(path.parent))
    if claimed > max(UNQUESTIONED, MAX_ZARR_RATIO * held):
        raise InputError(f"{path}: claims shape {shape}, but holds {held} bytes; the store is damaged, copy it again")
    if chunk > max(UNQUESTIONED, claimed):
        raise InputError(f"{path}: claims chunks {chunks} of shape {shape}; the store is damaged, copy it again")
    return claimed, chunk


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
