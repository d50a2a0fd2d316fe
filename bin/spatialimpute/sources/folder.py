"""The interface of all bundles."""

import json
import os
from abc import ABC, abstractmethod
from pathlib import Path
from typing import TYPE_CHECKING

from spatialimpute.errors import InputError
from spatialimpute.sources.formats import Header, detect_format, mtx_files, table_header

if TYPE_CHECKING:
    import anndata as ad

N_LISTED = 12
#: Bytes of the largest JSON file that is read: of scale factors, or of an array's metadata.
MAX_JSON = 16 << 20


class Bundle(ABC):
    """A folder of an instrument.

    Attributes
    ----------
    kind : what messages and `Header.format` call it
    technologies : names in the samplesheet that fit it; empty when any does
    signs : patterns of files of which any one tells this vendor's folder
    """

    kind: str
    technologies: tuple[str, ...] = ()
    signs: tuple[str, ...] = ()

    def __init__(self, folder: Path):
        self.folder = folder

    def is_it(self) -> bool:
        """Whether the folder is this vendor's, judged by the names of files in it."""
        return any(self._matches(pattern) for pattern in self.signs)

    @abstractmethod
    def files(self) -> list[Path]:
        """What is read of the folder, counts first; images and molecules are not.

        Raises
        ------
        InputError
            Part of the bundle is missing or there twice.
        """

    @abstractmethod
    def header(self) -> Header:
        """What the bundle promises, from headers alone.

        Raises
        ------
        InputError
            Part of the bundle is missing or cannot be what its name says.
        """

    def read(self) -> "ad.AnnData":
        """Counts and cells, as :func:`spatialimpute.sources.readers.read_raw` returns them.

        `uns` also holds `technologies`, `read_steps` (what was dropped or changed: arguments of QC's account) and
        `read_warnings`.

        Raises
        ------
        InputError
            The header's, or: counts and cells do not fit together.
        """
        self.header()
        return self._read()

    @abstractmethod
    def _read(self) -> "ad.AnnData":
        """What :meth:`read` returns, of a bundle whose header is in order."""

    def _matches(self, pattern: str) -> list[Path]:
        # A Mac leaves a file ._x beside every x that it copies to a foreign disk.
        return [path for path in sorted(self.folder.glob(pattern)) if not path.name.startswith(".")]

    def _find(self, *patterns: str, hint: str = "copy the whole folder") -> Path:
        """The one file or folder of the first of `patterns` that there is."""
        for pattern in patterns:
            found = self._matches(pattern)
            if len(found) > 1:
                names = ", ".join(path.name for path in found)
                raise InputError(f"{self.folder}: expected one {pattern}, found {names}; give each run its own folder")
            if found:
                return found[0]
        raise InputError(
            f"{self.folder}: a {self.kind} needs {' or '.join(patterns)}, which is missing; "
            f"found {listing(self.folder)}: {hint}"
        )

    def _check_columns(self, path: Path, needed: tuple[str, ...]) -> list[str]:
        """The columns of a table of cells, among which are `needed`."""
        columns = column_names(path)
        missing = [name for name in needed if name not in columns]
        if missing:
            raise InputError(
                f"{path}: no column {', '.join(missing)}, which a {self.kind} has "
                f"(found {', '.join(columns[:N_LISTED])}); export the file again"
            )
        return columns


def listing(folder: Path) -> str:
    """Names in a folder, for a message."""
    names = sorted(path.name for path in folder.iterdir())
    return ", ".join(names[:N_LISTED]) + (f" and {len(names) - N_LISTED} more" if len(names) > N_LISTED else "") or (
        "an empty folder"
    )


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
        if path.stat().st_size > MAX_JSON:
            raise InputError(f"{path}: more than {MAX_JSON >> 20} MB, too large for its kind; copy it again")
        content = json.loads(path.read_text())
    except RecursionError:
        raise InputError(f"{path}: cannot be read as JSON (too deep); copy it again") from None
    except (ValueError, OSError) as error:
        raise InputError(f"{path}: cannot be read as JSON ({error}); copy it again") from None
    if not isinstance(content, dict):
        raise InputError(f"{path}: expected a JSON object; copy it again")
    return content


def check_10x(path: Path) -> None:
    """Raise InputError unless it is a 10x matrix, as HDF5 or as a folder."""
    if path.is_dir():
        mtx_files(path)
    elif (kind := detect_format(path)) != "10x h5":
        raise InputError(f"{path}: expected a 10x matrix, found {kind}; export or copy it again")


def column_names(path: Path) -> list[str]:
    """Columns of a CSV or parquet file."""
    if path.suffix != ".parquet":
        return table_header(path)
    import pyarrow.parquet as pq

    try:
        return pq.read_schema(path).names
    except (OSError, ValueError) as error:  # pyarrow's errors are ValueErrors
        raise InputError(f"{path}: damaged or no parquet file ({str(error).splitlines()[0]}); copy it again") from None
