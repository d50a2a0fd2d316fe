"""Vizgen MERSCOPE: `cell_by_gene.csv` and `cell_metadata.csv`.

https://vizgen.github.io/vizgen-postprocessing/output_data_formats/
"""

from pathlib import Path

from spatialimpute.sources.folder import Bundle, column_names
from spatialimpute.sources.formats import Header

CENTERS = ("center_x", "center_y")  # microns


class Merscope(Bundle):
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
        return Header(self.kind, self._check_columns(cells, CENTERS), True)

    def _read(self):
        from spatialimpute.sources.cell_table import join, place, read_cells
        from spatialimpute.sources.tables import read_table

        matrix, path = self.files()
        key = column_names(path)[0]
        cells = read_cells(path, ids=(key,), numeric=CENTERS).set_index(key)
        data = join(read_table(matrix), matrix, cells, path)
        return place(data, CENTERS, "um", self.technologies)
