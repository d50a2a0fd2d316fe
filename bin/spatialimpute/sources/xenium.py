"""10x Xenium: `cell_feature_matrix.h5` (or the folder of that name) and `cells.parquet` or `cells.csv.gz`.

https://www.10xgenomics.com/support/software/xenium-onboard-analysis/latest/analysis/xoa-output-understanding-outputs
"""

from collections.abc import Iterable
from pathlib import Path

from spatialimpute.errors import InputError
from spatialimpute.sources.base import Header
from spatialimpute.sources.cell_table import join, place, read_cells
from spatialimpute.sources.folder import Folder, open_tenx

MATRIX, CENTERS = "cell_feature_matrix", ("x_centroid", "y_centroid")  # microns


#: Of an export for Xenium Explorer, which the viewer alone reads.
EXPLORER = "cell_feature_matrix.zarr.zip"


class Xenium(Folder):
    """Cells in rows of `cells`, ids in `cell_id`; control features have types of their own in the matrix."""

    kind = "Xenium folder"
    technologies = ("Xenium",)
    signs = (f"*{MATRIX}*", "*cells.parquet", "*cells.csv.gz", "experiment.xenium")

    def files(self) -> list[Path]:
        matrix, cells = self._parts()
        return [*open_tenx(matrix).files(), cells]

    def _parts(self) -> tuple[Path, Path]:
        if self._matches(EXPLORER) and not self._matches(f"*{MATRIX}.h5") and not self._matches(f"*{MATRIX}"):
            raise InputError(
                f"{self.path}: an export for Xenium Explorer, whose {EXPLORER} is for the viewer alone; name what it "
                "was made of: the instrument's folder with cell_feature_matrix.h5, the SpatialData store beside it, "
                "or an h5ad"
            )
        hint = "copy it from the export, or rename it if it has another name"
        if self._matches("*transcripts.*"):
            hint += "; transcripts alone are molecules, which are not counted by cell here"
        matrix = self._find(f"{MATRIX}.h5", MATRIX, f"*{MATRIX}.h5", f"*{MATRIX}", hint=hint)
        names = ("cells.parquet", "cells.csv.gz", "cells.csv")
        prefix = matrix.name.removesuffix(".h5").removesuffix(MATRIX)
        return matrix, self._find(*names, *(f"*{name}" for name in names), beside=prefix)

    def header(self) -> Header:
        matrix, cells = self._parts()
        open_tenx(matrix).header()
        return Header(self._check_columns(cells, ("cell_id", *CENTERS)), True)

    def gene_columns(self) -> dict[str, list[str]] | None:
        return open_tenx(self._parts()[0]).gene_columns()

    def cell_ids(self) -> list[str]:
        """All cells of the instrument's table, in its order, which is that of its other files too."""
        return read_cells(self._parts()[1], ids=("cell_id",))["cell_id"].tolist()

    def _read(self, keys: Iterable[str]):
        matrix, path = self._parts()
        cells = read_cells(path, ids=("cell_id",), numeric=CENTERS).set_index("cell_id")
        return place(join(open_tenx(matrix).read(), matrix, cells, path), CENTERS, "um")
