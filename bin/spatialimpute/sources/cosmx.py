"""NanoString/Bruker CosMx flat files: `*_exprMat_file.csv[.gz]` and `*_metadata_file.csv[.gz]`.

https://nanostring-biostats.github.io/CosMx-Analysis-Scratch-Space/posts/flat-file-exports/flat-files-compare.html
"""

from collections.abc import Iterable
from pathlib import Path

from spatialimpute.errors import InputError
from spatialimpute.sources.base import Header
from spatialimpute.sources.cell_table import column_names, join, keep, place, read_cells, to_floats, to_microns
from spatialimpute.sources.folder import Folder
from spatialimpute.sources.gene_columns import INDEX
from spatialimpute.sources.table import read_counts_table

KEYS = ("fov", "cell_ID")
CENTERS = ("CenterX_global_px", "CenterY_global_px")
LOCAL = ("CenterX_local_px", "CenterY_local_px")
#: The run configuration's `ImPixel_nm` of commercial instruments (the documents round it to 0.12028), and the pixel of
#: prototypes, of which the first public data sets are.
UM_PER_PIXEL, PROTOTYPE = 0.120280945, 0.18
#: Pixels of a field: 4,256 x 4,256, of prototypes 5,472 x 3,648.
FIELD, PROTOTYPE_FIELD = 4256, (5472, 3648)
#: Pixels are told apart by what their areas say of them with this relative tolerance.
TOLERANCE = 0.05


class CosMx(Folder):
    """Cells are numbered within each field of view; number 0 is what was found outside of cells."""

    kind = "CosMx folder"
    technologies = ("CosMx",)
    signs = ("*exprMat*.csv*", "*metadata_file.csv*")

    def files(self) -> list[Path]:
        hint = "export the flat files of the run together"
        matrix = self._find("*exprMat_file.csv", "*exprMat_file.csv.gz", "*exprMat*.csv", "*exprMat*.csv.gz", hint=hint)
        names = ("*metadata_file.csv", "*metadata_file.csv.gz", "*metadata*.csv", "*metadata*.csv.gz")
        return [matrix, self._find(*names, hint=hint, beside=matrix.name.partition("exprMat")[0])]

    def header(self) -> Header:
        matrix, cells = self.files()
        self._check_columns(matrix, KEYS)
        return Header(self._check_columns(cells, (*KEYS, *CENTERS)), True)

    def gene_columns(self) -> dict[str, list[str]]:
        return {INDEX: column_names(self.files()[0])}

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
        scale, origin = _um_per_pixel(data.obs)
        if scale is not None:
            to_microns(data, scale, origin)
        else:
            data.uns["read_warnings"] = [
                *data.uns["read_warnings"],
                f"{path.name} does not tell the size of a pixel ({UM_PER_PIXEL:g} um of commercial instruments, "
                f"{PROTOTYPE:g} um of prototypes): {origin}; coordinates stay in pixels",
            ]
        return data


def _um_per_pixel(cells) -> tuple[float | None, str]:
    """Size of a pixel and what tells it; None and what is missing where nothing does.

    Areas in both units tell it; else places within a field: none of an instrument's lies beyond its field, and where
    they exceed the other's in a direction in which that is smaller, they are not the other's.
    """
    if {"Area", "Area.um2"} <= set(cells):
        ratio = (to_floats(cells["Area.um2"]) / to_floats(cells["Area"])).median() ** 0.5
        for known, whose in ((UM_PER_PIXEL, "commercial instruments"), (PROTOTYPE, "prototypes")):
            if abs(ratio / known - 1) < TOLERANCE:
                return known, f"that of CosMx's {whose}, as Area.um2 / Area says"
        if 0 < ratio < float("inf"):
            return None, f"Area.um2 / Area says {ratio:.4g} um, which is neither"
    if not set(LOCAL) <= set(cells):
        return None, f"it has neither {' and '.join(LOCAL)} nor Area.um2"
    low, high = sorted(to_floats(cells[name]).max() for name in LOCAL)
    wide, narrow = PROTOTYPE_FIELD
    if FIELD < high <= wide and low <= narrow:
        return PROTOTYPE, f"that of a CosMx prototype, told by its fields of {wide} x {narrow} pixels"
    if narrow < low and high <= FIELD:
        return UM_PER_PIXEL, f"that of CosMx's commercial instruments, told by their fields of {FIELD} x {FIELD} pixels"
    return None, f"places within a field reach to {low:g} and {high:g} pixels, which fits both or none"


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
