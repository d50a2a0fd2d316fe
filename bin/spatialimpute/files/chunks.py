"""Dense arrays of cells x genes in compressed chunks, encoded by whoever has the values and written as they are.

The bytes of a chunk are those of HDF5's filters shuffle and gzip, which are numcodecs' Shuffle and Zlib too, so HDF5
and zarr take the same ones. Encoding leaves Python's lock to other threads.
"""

import zlib
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import h5py
import numpy as np

#: Values of a chunk: small enough to be read in a moment, large enough that a sample has few of them.
CHUNK_VALUES = 65_536
#: Rows of a chunk are a multiple of it, as are the bounds of parts.
ROW_UNIT = 1024
MAX_ROW_UNITS = 8
#: Cells for each unit of rows: small samples are written in short chunks, which more threads can share.
CELLS_PER_ROW_UNIT = 65_536
#: Values of an array that a thread holds while it imputes and encodes the rows of a chunk.
MAX_ROWS_VALUES = 1 << 23
GZIP_LEVEL = 1
ITEM_SIZE = 4


@dataclass(frozen=True)
class Grid:
    """How an array of cells x genes is cut into chunks of many cells and few genes: a viewer reads one gene at a time.

    Attributes
    ----------
    n_cells, n_genes : shape of the array
    rows, columns : shape of a chunk
    """

    n_cells: int
    n_genes: int
    rows: int
    columns: int

    @classmethod
    def of(cls, n_cells: int, n_genes: int) -> "Grid":
        """The grid of a sample."""
        units = min(n_cells // CELLS_PER_ROW_UNIT, MAX_ROW_UNITS, MAX_ROWS_VALUES // (ROW_UNIT * n_genes))
        rows = ROW_UNIT * max(units, 1)
        return cls(n_cells, n_genes, min(rows, n_cells), min(CHUNK_VALUES // rows, n_genes))

    def part(self, n_cells: int) -> "Grid":
        """The grid of some of the sample's cells, in the same chunks."""
        return Grid(n_cells, self.n_genes, min(self.rows, n_cells), self.columns)

    def encode(self, values: np.ndarray) -> list[bytes]:
        """The chunks of float32 values (rows of one chunk or what is left, n_genes), in the order of the genes."""
        padded = np.zeros((self.rows, -(-self.n_genes // self.columns) * self.columns), dtype="<f4")
        padded[: len(values), : self.n_genes] = values
        return [
            zlib.compress(_shuffle(padded[:, start : start + self.columns]), GZIP_LEVEL)
            for start in range(0, self.n_genes, self.columns)
        ]


def _shuffle(chunk: np.ndarray) -> bytes:
    """First bytes of all values, then the second ones, …: alike bytes lie together."""
    return np.ascontiguousarray(chunk).view(np.uint8).reshape(-1, ITEM_SIZE).T.tobytes()


class ChunkStore(ABC):
    """A group of dense arrays on one grid; `group` is what anndata writes annotations to."""

    def __init__(self, group, grid: Grid):
        self.group, self.grid = group, grid

    @classmethod
    @abstractmethod
    def open(cls, path: Path, grid: Grid):
        """Context manager: a new store at `path`, complete once its block ends."""

    @abstractmethod
    def create(self, name: str) -> None:
        """Make an array, to be filled by `write`."""

    @abstractmethod
    def write(self, name: str, first_row: int, chunks: list[bytes]) -> None:
        """Write what :meth:`Grid.encode` gave for the rows that begin at `first_row`."""


class H5Store(ChunkStore):
    """Arrays in an HDF5 file."""

    @classmethod
    @contextmanager
    def open(cls, path: Path, grid: Grid) -> Iterator["H5Store"]:
        with h5py.File(path, "w") as file:
            yield cls(file, grid)

    def create(self, name: str) -> None:
        grid = self.grid
        dataset = self.group.create_dataset(
            name, (grid.n_cells, grid.n_genes), "<f4", chunks=(grid.rows, grid.columns), shuffle=True,
            compression="gzip", compression_opts=GZIP_LEVEL,
        )  # fmt: skip
        dataset.attrs.update({"encoding-type": "array", "encoding-version": "0.2.0"})

    def write(self, name: str, first_row: int, chunks: list[bytes]) -> None:
        dataset: h5py.Dataset = self.group[name]
        for i, chunk in enumerate(chunks):
            dataset.id.write_direct_chunk((first_row, i * self.grid.columns), chunk)


class ZarrStore(ChunkStore):
    """Arrays in a zarr folder of format 2, which every version of anndata and every viewer reads."""

    def __init__(self, group, grid: Grid, folder: Path):
        super().__init__(group, grid)
        self._folder = folder

    @classmethod
    @contextmanager
    def open(cls, path: Path, grid: Grid) -> Iterator["ZarrStore"]:
        import zarr  # takes a while, and most results are h5ad

        yield cls(zarr.open_group(str(path), mode="w", zarr_format=2), grid, path)
        zarr.consolidate_metadata(str(path))  # so that a viewer opens the folder by one request

    def create(self, name: str) -> None:
        import numcodecs

        grid = self.grid
        array = self.group.create_array(
            name, shape=(grid.n_cells, grid.n_genes), chunks=(grid.rows, grid.columns), dtype="<f4", fill_value=0.0,
            filters=[numcodecs.Shuffle(ITEM_SIZE)], compressors=numcodecs.Zlib(GZIP_LEVEL),
        )  # fmt: skip
        array.attrs.update({"encoding-type": "array", "encoding-version": "0.2.0"})

    def write(self, name: str, first_row: int, chunks: list[bytes]) -> None:
        for i, chunk in enumerate(chunks):
            (self._folder / name / f"{first_row // self.grid.rows}.{i}").write_bytes(chunk)
