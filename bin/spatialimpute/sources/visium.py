"""10x Visium and Visium HD: the filtered matrix and `spatial/` with the spots' positions and the image's scale.

https://www.10xgenomics.com/support/software/space-ranger/latest/analysis/outputs/spatial-outputs
"""

from collections.abc import Iterable
from pathlib import Path

from spatialimpute.errors import InputError
from spatialimpute.sources.base import OUTSIDE_TISSUE, Header
from spatialimpute.sources.cell_table import column_names, join, keep, place, read_cells, to_numbers
from spatialimpute.sources.folder import Folder, listing, open_tenx
from spatialimpute.sources.space_ranger import read_scale_factors, scale_places
from spatialimpute.sources.tenx_mtx import TenxMtx
from spatialimpute.sources.text import SAFE_NUMBERS, is_number, open_rows
from spatialimpute.sources.visium_cells import VisiumCells

POSITIONS = ("barcode", "in_tissue", "array_row", "array_col", "pxl_row_in_fullres", "pxl_col_in_fullres")
CENTERS = ("pxl_col_in_fullres", "pxl_row_in_fullres")  # x, y
MATRIX, RAW, PROBES = "filtered_feature_bc_matrix", "raw_feature_bc_matrix", "raw_probe_bc_matrix"
#: As written, and as repositories have it, where files of one folder bear their sample's name and may be packed.
TABLES = ("tissue_positions.parquet", "tissue_positions.csv", "tissue_positions_list.csv")
TABLE_PATTERNS = tuple(
    f"{folder}{name}{gz}"
    for folder in ("spatial/", "spatial/*", "*")
    for name in TABLES
    for gz in ("", ".gz")
    if (name, gz) != (TABLES[0], ".gz")
)
SCALE_PATTERNS = ("spatial/scalefactors_json.json", "spatial/*scalefactors_json.json*", "*scalefactors_json.json*")


class Visium(Folder):
    """Space Ranger's `outs`, or one bin size of Visium HD (`binned_outputs/square_008um`)."""

    kind = "Visium folder"
    signs = (f"*{MATRIX}*", "spatial/*tissue_positions*", "*tissue_positions*", *SCALE_PATTERNS[:2], "binned_outputs")

    @classmethod
    def is_it(cls, path: Path) -> bool:
        return super().is_it(path) and not VisiumCells.is_it(path)

    @classmethod
    def is_placed(cls, path: Path) -> bool:
        """Whether positions of spots lie in the folder."""
        return path.is_dir() and any(list(path.glob(pattern)) for pattern in TABLE_PATTERNS)

    @property
    def technologies(self) -> tuple[str, ...]:
        return ("Visium HD",) if "bin_size_um" in read_scale_factors(self._scale) else ("Visium",)

    def files(self) -> list[Path]:
        matrix, positions = self._parts()
        return [*open_tenx(matrix).files(), positions, *([self._scale] if self._scale else [])]

    @property
    def _scale(self) -> Path | None:
        found = [path for pattern in SCALE_PATTERNS for path in self._matches(pattern)]
        return found[0] if found else None

    def _parts(self) -> tuple[Path, Path]:
        """The matrix and the positions."""
        bins = self.path / "binned_outputs"
        if bins.is_dir() and not self._matches(f"*{MATRIX}*"):
            cells = " or, for cells, segmented_outputs" if (self.path / "segmented_outputs").is_dir() else ""
            raise InputError(
                f"{self.path}: a Visium HD folder of several bin sizes; name the folder of one, for example "
                f"{self.path.name}/binned_outputs/square_008um{cells} (found {listing(bins)})"
            )
        patterns = [f"*{name}{end}" for name in (MATRIX, RAW) for end in (".h5", "")] + [f"*{PROBES}.h5"]
        if TenxMtx.is_it(self.path) and not any(map(self._matches, patterns)):
            matrix = self.path
        else:
            matrix = self._find(*patterns)
        hint = f"copy spatial/ too; of dissociated cells without it name {matrix.name} itself"
        return matrix, self._find(*TABLE_PATTERNS, hint=hint)

    def header(self) -> Header:
        matrix, positions = self._parts()
        open_tenx(matrix).header()
        read_scale_factors(self._scale)
        columns = column_names(positions)
        if not _has_header(columns):
            if len(columns) != len(POSITIONS):
                raise InputError(f"{positions}: {len(columns)} columns; expected {', '.join(POSITIONS)}: copy it again")
        else:
            self._check_columns(positions, POSITIONS)
        return Header(list(POSITIONS), True)

    def gene_columns(self) -> dict[str, list[str]] | None:
        return open_tenx(self._parts()[0]).gene_columns()

    def _read(self, keys: Iterable[str]):
        matrix, path = self._parts()
        data = join(open_tenx(matrix).read(), matrix, _read_positions(path), path)
        # Positions are those of all spots of the slide; only spots without counts, which is no loss, are left out.
        data.uns["read_warnings"] = []
        inside = (data.obs["in_tissue"] == 1).to_numpy()
        if not inside.any():
            raise InputError(f"{path}: no spot of {matrix.name} is in the tissue (in_tissue is 0); copy it again")
        data = keep(data, inside, OUTSIDE_TISSUE, f"in_tissue is 0 in {path.name}")
        data = place(data, CENTERS, "px")
        scale_places(data, read_scale_factors(self._scale))
        return data


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
