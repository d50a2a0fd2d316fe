"""Vizgen MERSCOPE: `cell_by_gene.csv` and `cell_metadata.csv`.

https://vizgen.github.io/vizgen-postprocessing/output_data_formats/
"""

from collections.abc import Iterable
from pathlib import Path

from spatialimpute.sources.base import Header
from spatialimpute.sources.cell_table import are_row_numbers, column_names, join, place, read_cells
from spatialimpute.sources.folder import Folder
from spatialimpute.sources.table import read_counts_table
from spatialimpute.sources.vocabulary import CELL_ID_COLUMNS, find_name

CENTERS = ("center_x", "center_y")  # microns


class Merscope(Folder):
    """Both tables name the cells in their first column, `cell` or `EntityID` or without a header."""

    kind = "MERSCOPE folder"
    technologies = ("MERSCOPE", "MERFISH")
    signs = ("cell_by_gene.csv*", "cell_metadata.csv*")

    def files(self) -> list[Path]:
        matrix = self._find("cell_by_gene.csv", "cell_by_gene.csv.gz")
        return [matrix, self._find("cell_metadata.csv", "cell_metadata.csv.gz")]

    def header(self) -> Header:
        matrix, cells = self.files()
        self._check_columns(matrix, ())
        return Header(self._check_columns(cells, CENTERS), True)

    def _read(self, keys: Iterable[str]):
        matrix, path = self.files()
        key, *others = column_names(path)
        named = find_name(others, CELL_ID_COLUMNS) or key
        cells = read_cells(path, ids=(key, named), numeric=CENTERS)
        cells = cells.set_index(named if are_row_numbers(cells[key]) else key)
        return place(join(read_counts_table(matrix, with_places=False), matrix, cells, path), CENTERS, "um")
