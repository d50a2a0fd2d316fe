"""NanoString/Bruker CosMx flat files: `*_exprMat_file.csv[.gz]` and `*_metadata_file.csv[.gz]`.

https://nanostring-biostats.github.io/CosMx-Analysis-Scratch-Space/posts/flat-file-exports/flat-files-compare.html
"""

from collections.abc import Iterable
from pathlib import Path

from spatialimpute.errors import InputError
from spatialimpute.sources.base import Header
from spatialimpute.sources.cell_table import join, keep, place, read_cells, to_floats, to_microns
from spatialimpute.sources.folder import Folder
from spatialimpute.sources.table import read_counts_table

KEYS = ("fov", "cell_ID")
CENTERS = ("CenterX_global_px", "CenterY_global_px")
#: The run configuration's `ImPixel_nm` of commercial instruments (the documents round it to 0.12028). Prototypes had
#: other cameras, which the files do not tell.
UM_PER_PIXEL = 0.120280945


class CosMx(Folder):
    """Cells are numbered within each field of view; number 0 is what was found outside of cells."""

    kind = "CosMx folder"
    technologies = ("CosMx",)
    signs = ("*exprMat_file.csv*", "*metadata_file.csv*")

    def files(self) -> list[Path]:
        hint = "export the flat files of the run together"
        matrix = self._find("*exprMat_file.csv", "*exprMat_file.csv.gz", hint=hint)
        return [matrix, self._find("*metadata_file.csv", "*metadata_file.csv.gz", hint=hint)]

    def header(self) -> Header:
        matrix, cells = self.files()
        self._check_columns(matrix, KEYS)
        return Header(self._check_columns(cells, (*KEYS, *CENTERS)), True)

    def _read(self, keys: Iterable[str]):
        matrix, path = self.files()
        data, cells = read_counts_table(matrix, KEYS, with_places=False), read_cells(path, numeric=CENTERS)
        if "cell_ID" not in data.obs:  # in the first column it was taken for the cells' names
            data.obs["cell_ID"] = data.obs_names
        data.obs_names, cells.index = _ids(data.obs, matrix), _ids(cells, path)
        inside = ~data.obs_names.str.endswith("_0")
        data = keep(data, inside, "outside of cells", "cell_ID 0 is what was found outside of cells")
        data = join(data, matrix, cells[~cells.index.str.endswith("_0")], path)
        data = place(data, CENTERS, "px")
        to_microns(data, UM_PER_PIXEL, "CosMx")
        return data


def _ids(table, path: Path):
    """`<fov>_<cell_ID>` of each row; either number may be stored as a float."""
    import pandas as pd

    parts = []
    for key in KEYS:
        numbers = to_floats(table[key])
        bad = numbers.isna() | (numbers % 1 != 0)
        if bad.any():
            at = int(bad.to_numpy().argmax())
            raise InputError(
                f"{path}: row {at + 2}, column {key!r}: found {table[key].iloc[at]!r}, expected a whole number; "
                "export the file again"
            )
        parts.append(numbers.astype(int).astype(str))
    return pd.Index((parts[0] + "_" + parts[1]).to_numpy())
