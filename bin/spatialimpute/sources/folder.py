"""What all instruments' folders share: they are told by the names of their files, and are complete or not.

The field's own `spatialdata-io` would bring 58 packages (318 MB), needs other versions than the locked ones, and asks
for images and segmentations that say nothing of counts; so counts and cells are read with h5py, pandas, pyarrow and
anndata.
"""

from pathlib import Path

from spatialimpute.errors import InputError
from spatialimpute.sources.base import Source
from spatialimpute.sources.cell_table import column_names
from spatialimpute.sources.hdf5 import top_names
from spatialimpute.sources.other_formats import is_packed
from spatialimpute.sources.tenx_h5 import TenxH5
from spatialimpute.sources.tenx_mtx import TenxMtx

N_LISTED = 12


class Folder(Source):
    """A folder as an instrument or a store writes it.

    Attributes
    ----------
    signs : patterns of files of which any one tells whose folder it is
    """

    signs: tuple[str, ...] = ()

    @classmethod
    def is_it(cls, path: Path) -> bool:
        """Whether the folder is this vendor's, complete or not."""
        return path.is_dir() and any(_matches(path, pattern) for pattern in cls.signs)

    def _matches(self, pattern: str) -> list[Path]:
        return _matches(self.path, pattern)

    def _find(
        self,
        *patterns: str,
        hint: str = "rename it if it has another name, else copy it from the export",
        beside: str | None = None,
    ) -> Path:
        """The one file or folder of the first of `patterns` that there is.

        Parameters
        ----------
        beside : of several, those are meant that begin like this
        """
        for pattern in patterns:
            found = self._matches(pattern)
            if len(found) > 1 and beside is not None:
                found = [path for path in found if path.name.startswith(beside)] or found
            if len(found) > 1:
                names = ", ".join(path.name for path in found)
                raise InputError(f"{self.path}: expected one {pattern}, found {names}; give each run its own folder")
            if found:
                return found[0]
        packed = [path.name for pattern in patterns for path in self._matches(f"{pattern}.*") if is_packed(path)]
        if packed:
            hint = f"unpack {packed[0]}"
        raise InputError(
            f"{self.path}: a {self.kind} needs {' or '.join(shown(patterns))}, which is missing; "
            f"found {listing(self.path)}: {hint}"
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


def open_tenx(path: Path) -> Source:
    """The 10x matrix within an instrument's folder, as HDF5 or as a folder.

    Raises
    ------
    InputError
        It is another kind of file.
    """
    if path.is_dir():
        return TenxMtx(path)
    if TenxH5.is_it(path):
        return TenxH5(path)
    found = ", ".join(sorted(top_names(path)))
    raise InputError(
        f"{path}: expected a 10x matrix, found {f'HDF5 of {found}' if found else 'no HDF5 file'}; "
        "export or copy it again"
    )


def shown(patterns: tuple[str, ...]) -> list[str]:
    """Patterns for a message: each name once, without what may stand before it or whether it may be packed."""
    plain: dict[str, str] = {}
    for pattern in patterns:
        plain.setdefault(pattern.replace("*", "").rpartition("/")[2].removesuffix(".gz"), pattern.removesuffix(".gz"))
    return [f"{pattern}[.gz]" if f"{pattern}.gz" in patterns else pattern for pattern in plain.values()]


def _matches(folder: Path, pattern: str) -> list[Path]:
    # A Mac leaves a file ._x beside every x that it copies to a foreign disk.
    return [path for path in sorted(folder.glob(pattern)) if not path.name.startswith(".")]


def listing(folder: Path) -> str:
    """Names in a folder, for a message."""
    names = sorted(path.name for path in folder.iterdir())
    return ", ".join(names[:N_LISTED]) + (f" and {len(names) - N_LISTED} more" if len(names) > N_LISTED else "") or (
        "an empty folder"
    )
