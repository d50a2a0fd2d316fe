"""Vizgen MERSCOPE: `cell_by_gene.csv` and `cell_metadata.csv`.

https://vizgen.github.io/vizgen-postprocessing/output_data_formats/. Post-processing and data releases put other words
before and behind these names (`cellpose_cell_by_gene.csv`, `<data set>_cell_by_gene_S1R1.csv`).
"""

from collections.abc import Iterable
from pathlib import Path

from spatialimpute.errors import InputError
from spatialimpute.sources.base import Header
from spatialimpute.sources.cell_table import are_row_numbers, column_names, join, place, read_cells
from spatialimpute.sources.folder import Folder, listing
from spatialimpute.sources.gene_columns import INDEX
from spatialimpute.sources.orientation import refuse_genes_in_rows
from spatialimpute.sources.table import read_counts_table
from spatialimpute.sources.text import text_columns
from spatialimpute.sources.vocabulary import CELL_ID_COLUMNS, find_name

CENTERS = ("center_x", "center_y")  # microns
COUNTS, CELLS = "cell_by_gene", "cell_metadata"


class Merscope(Folder):
    """Both tables name the cells in their first column, `cell` or `EntityID` or without a header."""

    kind = "MERSCOPE folder"
    technologies = ("MERSCOPE", "MERFISH")
    signs = (f"*{COUNTS}*.csv*", f"*{CELLS}*.csv*")

    def files(self) -> list[Path]:
        matrix = self._find(f"{COUNTS}.csv", f"{COUNTS}.csv.gz", f"*{COUNTS}*.csv", f"*{COUNTS}*.csv.gz")
        name = matrix.name.removesuffix(".gz").replace(COUNTS, CELLS)
        found = self._matches(f"*{CELLS}*.csv*")
        paired = [path for path in found if path.name.removesuffix(".gz") == name]
        if not paired and len(found) != 1:
            raise InputError(
                f"{self.path}: a {self.kind} needs {name}[.gz] beside {matrix.name}, which is missing; found "
                f"{listing(self.path)}: copy or export it too"
            )
        return [matrix, (paired or found)[0]]

    def header(self) -> Header:
        matrix, cells = self.files()
        refuse_genes_in_rows(matrix, self._check_columns(matrix, ()))
        return Header(self._check_columns(cells, CENTERS), True)

    def gene_columns(self) -> dict[str, list[str]]:
        return {INDEX: column_names(self.files()[0])}

    def labels(self) -> dict[str, list[str]]:
        return text_columns(self.files()[0])

    def _read(self, keys: Iterable[str]):
        matrix, path = self.files()
        key, *rest = column_names(path)
        named = find_name(rest, CELL_ID_COLUMNS) or key
        cells = read_cells(path, ids=(key, named), numeric=CENTERS)
        cells = cells.set_index(named if are_row_numbers(cells[key]) else key)
        counts = read_counts_table(matrix, with_places=False)
        data = place(join(counts, matrix, cells, path), CENTERS, "um")
        if others := [other.name for other in self._matches(f"*{COUNTS}*.csv*") if other != matrix]:
            data.uns["read_warnings"] = [
                *data.uns["read_warnings"],
                f"{matrix.name} is read; {', '.join(others)} is not: to use it put it into a folder of its own, with "
                "its table of cells",
            ]
        return data
