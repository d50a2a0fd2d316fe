"""The interface of all formats of files and of all instruments' folders.

A subclass says how its files are told, what their headers promise and how they are read; what holds for all of them
(a header that is looked at first, errors of libraries made the user's to fix, coordinates from the usual places) is
here. Importing a format and looking at headers needs neither pandas nor anndata, since the check of inputs has to
answer within a second or two; what reads counts imports them then.
"""

import warnings
from abc import ABC, abstractmethod
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from spatialimpute.errors import InputError, SpatialImputeError
from spatialimpute.sources.cell_table import keep
from spatialimpute.sources.coordinates import find_places, read_sidecar

if TYPE_CHECKING:
    import anndata as ad

#: Column of the cells in matrices of all barcodes (`raw_probe_bc_matrix.h5`, also by scanpy): which of them are cells.
FILTERED_BARCODES = "filtered_barcodes"
#: Column of Visium's spots, also in files that other tools made of its folder: which of them have tissue on them.
IN_TISSUE = "in_tissue"
OUTSIDE_TISSUE = "outside of the tissue"
#: How a column says yes.
YES = ("true", "1", "1.0")


@dataclass
class Header:
    """What a source promises before its counts are read.

    Attributes
    ----------
    columns : names of the per-cell columns (all of a table's header)
    coordinates : whether the source itself holds coordinates
    """

    columns: list[str]
    coordinates: bool


class Source(ABC):
    """A file of counts, or a folder of files that belong together.

    Attributes
    ----------
    path : the file or folder
    kind : what messages call it
    part : the one of several matrices in it that is wanted, "" where the path names none
    technologies : names in the samplesheet that fit it; empty when any does
    others : columns of a table that no file of the sheet's other side knows as genes; None where that is unknown
    placed_elsewhere : whether the cells' places are in a second file
    has_parts : whether it may hold several matrices, of which the path then names one
    """

    kind: str
    technologies: tuple[str, ...] = ()
    has_parts = False

    def __init__(self, path: str | Path):
        self.path, self.part = Path(path), ""
        self.others: frozenset[str] | None = None
        self.placed_elsewhere = False

    @classmethod
    @abstractmethod
    def is_it(cls, path: Path) -> bool:
        """Whether the file or folder is of this kind, judged by names and headers alone.

        Raises
        ------
        InputError
            It can be of no other kind and is damaged.
        """

    def files(self) -> list[Path]:
        """All files that are read when this source is; its digest covers them.

        Raises
        ------
        InputError
            One of them is missing or there twice.
        """
        return [self.path]

    @abstractmethod
    def header(self) -> Header:
        """What the source promises, from headers alone.

        Raises
        ------
        InputError
            Part of it is missing, or it cannot be what its name says.
        """

    def gene_columns(self) -> dict[str, list[str]] | None:
        """Texts that may name a gene, without reading counts: of the index of the features, under `INDEX` of
        :mod:`~spatialimpute.sources.gene_columns`, and of each column of texts beside it.

        A name that is not among them is not in the source. None where that cannot be told quickly.
        """
        return None

    def labels(self) -> dict[str, list[str]]:
        """Texts of the first rows, {column: texts}, without reading counts; the column of the rows' names is "".

        Genes among them say that they are in rows. None that cannot be told quickly.
        """
        return {}

    def read(
        self, keys: Iterable[str] = (), coords: str | Path | None = None, others: Iterable[str] | None = None
    ) -> "ad.AnnData":
        """Counts and cells as they are; what they mean is QC's business.

        Parameters
        ----------
        keys : names of per-cell columns (batch, cell type) that a table holds among its genes
        coords : CSV/TSV with a cell id column and x, y[, z]; overrides coordinates within the source
        others : columns of a table that the other side's files do not know; None where that is unknown

        Returns
        -------
        Cells in rows and only what QC needs: the candidate matrices (`X`, `layers['counts']`, `raw`) as CSR, `obs`,
        `var` and, where there are coordinates, `obsm['spatial']` (n_cells, 2 or 3) with `uns['coordinate_unit']` ("um",
        "px" or "unknown"). `uns` also holds `technologies` and, where a folder's reader has something to say,
        `read_steps` (what was dropped or changed: arguments of QC's account), `read_warnings` and, of a SpatialData
        table, `annotates` (its region and instance keys). Dense matrices are read by blocks of rows, so that a million
        cells never exist densely.

        Raises
        ------
        InputError
            The header's, or: it is damaged, its parts do not fit together, or the coordinates do not fit the cells.
        MemoryError
            It holds more than this step's memory.
        """
        self.others = None if others is None else frozenset(others)
        self.placed_elsewhere = coords is not None
        try:
            with warnings.catch_warnings():
                # Readers complain about names that are not unique, which QC counts, and about old encodings.
                warnings.simplefilter("ignore")
                self.header()
                data = self._read(keys)
        except (SpatialImputeError, MemoryError):
            raise
        except Exception as error:  # whatever a library says of a file it cannot read, the file has to be fixed
            reason = (str(error).splitlines() or [type(error).__name__])[0]
            raise InputError(
                f"{self.path}: cannot be read as {self.kind} ({reason}); export or copy the file again"
            ) from error
        data.obs_names, data.var_names = data.obs_names.astype(str), data.var_names.astype(str)
        data.uns["technologies"] = self.technologies
        data = _only(data, FILTERED_BARCODES, "outside of cells", "says that these are no cells")
        if coords is not None:
            read_sidecar(data, self.path, Path(coords))
        else:
            find_places(data, self.path)
        return _only(data, IN_TISSUE, OUTSIDE_TISSUE, "is 0")

    @abstractmethod
    def _read(self, keys: Iterable[str]) -> "ad.AnnData":
        """What :meth:`read` returns, of a source whose header is in order; coordinates may lie where they are usual."""


def _only(data: "ad.AnnData", column: str, name: str, reason: str) -> "ad.AnnData":
    """Without the barcodes and spots that the assay itself set aside, where a column of the file says which those are;
    all where it says so of all."""
    if column not in data.obs:
        return data
    yes = data.obs[column].astype(str).str.casefold().isin(YES).to_numpy()
    wanted = yes | data.obs[column].isna().to_numpy()
    return keep(data, wanted, name, f"{column} of the file {reason}") if yes.any() else data
