"""10x Visium and Visium HD: the filtered matrix and `spatial/` with the spots' positions and the image's scale.

https://www.10xgenomics.com/support/software/space-ranger/latest/analysis/outputs/spatial-outputs
"""

from collections.abc import Iterable
from pathlib import Path

from spatialimpute.errors import InputError
from spatialimpute.sources.base import Header
from spatialimpute.sources.cell_table import column_names, join, keep, place, read_cells, to_microns, to_numbers
from spatialimpute.sources.folder import Folder, listing, open_tenx
from spatialimpute.sources.guard import read_json
from spatialimpute.sources.text import SAFE_NUMBERS, is_number, open_rows

POSITIONS = ("barcode", "in_tissue", "array_row", "array_col", "pxl_row_in_fullres", "pxl_col_in_fullres")
CENTERS = ("pxl_col_in_fullres", "pxl_row_in_fullres")  # x, y
MATRIX = "filtered_feature_bc_matrix"
#: What Space Ranger's `spot_diameter_fullres` spans, by its documentation: a theoretical 65 um, not the 55 um of the
#: printed spots. With 65, neighboring spots come out at their 100 um; with 55 they would be at 85.
SPOT_UM = 65.0


class Visium(Folder):
    """Space Ranger's `outs`, or one bin size of Visium HD (`binned_outputs/square_008um`)."""

    kind = "Visium folder"
    signs = (f"*{MATRIX}*", "spatial/*tissue_positions*", "spatial/scalefactors_json.json", "binned_outputs")

    @property
    def technologies(self) -> tuple[str, ...]:
        return ("Visium HD",) if "bin_size_um" in self._scale_factors() else ("Visium",)

    def files(self) -> list[Path]:
        matrix, positions = self._parts()
        return [*open_tenx(matrix).files(), positions, *self._matches("spatial/scalefactors_json.json")]

    def _parts(self) -> tuple[Path, Path]:
        """The matrix and the positions."""
        bins = self.path / "binned_outputs"
        if bins.is_dir() and not self._matches(f"*{MATRIX}*"):
            raise InputError(
                f"{self.path}: a Visium HD folder of several bin sizes; name the folder of one, for example "
                f"{self.path.name}/binned_outputs/square_008um (found {listing(bins)})"
            )
        matrix = self._find(f"*{MATRIX}.h5", f"*{MATRIX}")
        names = ("tissue_positions.parquet", "tissue_positions.csv", "tissue_positions_list.csv")
        hint = f"copy spatial/ too; of dissociated cells without it name {matrix.name} itself"
        return matrix, self._find(*(f"spatial/{name}" for name in names), hint=hint)

    def header(self) -> Header:
        matrix, positions = self._parts()
        open_tenx(matrix).header()
        self._scale_factors()
        columns = column_names(positions)
        if not _has_header(columns):
            if len(columns) != len(POSITIONS):
                raise InputError(f"{positions}: {len(columns)} columns; expected {', '.join(POSITIONS)}: copy it again")
        else:
            self._check_columns(positions, POSITIONS)
        return Header(list(POSITIONS), True)

    def _read(self, keys: Iterable[str]):
        matrix, path = self._parts()
        data = join(open_tenx(matrix).read(), matrix, _read_positions(path), path)
        # Positions are those of all spots of the slide; only spots without counts, which is no loss, are left out.
        data.uns["read_warnings"] = []
        inside = (data.obs["in_tissue"] == 1).to_numpy()
        data = keep(data, inside, "outside of the tissue", f"in_tissue is 0 in {path.name}")
        data = place(data, CENTERS, "px")
        factors = self._scale_factors()
        if "microns_per_pixel" in factors:
            to_microns(data, factors["microns_per_pixel"], "scalefactors_json.json")
        elif "spot_diameter_fullres" in factors:
            um_per_pixel = SPOT_UM / factors["spot_diameter_fullres"]
            to_microns(data, um_per_pixel, f"spot_diameter_fullres is {SPOT_UM:g} um")
        else:
            data.uns["read_warnings"] = ["no spatial/scalefactors_json.json with a scale; coordinates stay in pixels"]
        return data

    def _scale_factors(self) -> dict[str, float]:
        path = self.path / "spatial" / "scalefactors_json.json"
        if not path.exists():
            return {}
        factors = read_json(path)
        for key in ("microns_per_pixel", "spot_diameter_fullres"):
            value = factors.get(key, 1)
            if not isinstance(value, int | float) or not 0 < value < float("inf"):
                raise InputError(f"{path}: found {key} {value!r}, expected a positive number; copy it again")
        return factors


def _has_header(columns: list[str]) -> bool:
    """Before Space Ranger 2 the table had none, whatever it is named today: beside a barcode all are numbers."""
    return not columns[1:] or not all(is_number(name) for name in columns[1:])


def _read_positions(path: Path):
    """Positions of all spots by barcode."""
    import pandas as pd

    numeric = ("in_tissue", *CENTERS)
    if _has_header(column_names(path)):
        return read_cells(path, ids=("barcode",), numeric=numeric).set_index("barcode")
    with open_rows(path, POSITIONS, n_header=0) as rows:
        table = pd.read_csv(rows, header=None, names=POSITIONS, dtype={"barcode": str}, **SAFE_NUMBERS)
    to_numbers(path, table, numeric, first_row=1)
    return table.set_index("barcode")
