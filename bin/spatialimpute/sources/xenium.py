"""10x Xenium: `cell_feature_matrix.h5` (or the folder of that name) and `cells.parquet` or `cells.csv.gz`.

https://www.10xgenomics.com/support/software/xenium-onboard-analysis/latest/analysis/xoa-output-understanding-outputs
"""

from collections.abc import Iterable
from pathlib import Path

from spatialimpute.sources.base import Header
from spatialimpute.sources.cell_table import join, place, read_cells
from spatialimpute.sources.folder import Folder, open_tenx

CENTERS = ("x_centroid", "y_centroid")  # microns


class Xenium(Folder):
    """Cells in rows of `cells`, ids in `cell_id`; control features have types of their own in the matrix."""

    kind = "Xenium folder"
    technologies = ("Xenium",)
    signs = ("cell_feature_matrix*", "cells.parquet", "cells.csv.gz", "experiment.xenium")

    def files(self) -> list[Path]:
        matrix, cells = self._parts()
        return [*open_tenx(matrix).files(), cells]

    def _parts(self) -> tuple[Path, Path]:
        matrix = self._find("cell_feature_matrix.h5", "cell_feature_matrix")
        return matrix, self._find("cells.parquet", "cells.csv.gz", "cells.csv")

    def header(self) -> Header:
        matrix, cells = self._parts()
        open_tenx(matrix).header()
        return Header(self._check_columns(cells, ("cell_id", *CENTERS)), True)

    def _read(self, keys: Iterable[str]):
        matrix, path = self._parts()
        cells = read_cells(path, ids=("cell_id",), numeric=CENTERS).set_index("cell_id")
        return place(join(open_tenx(matrix).read(), matrix, cells, path), CENTERS, "um")
