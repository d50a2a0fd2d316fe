"""10x Xenium: `cell_feature_matrix.h5` (or the folder of that name) and `cells.parquet` or `cells.csv.gz`.

https://www.10xgenomics.com/support/software/xenium-onboard-analysis/latest/analysis/xoa-output-understanding-outputs
"""

from pathlib import Path

from spatialimpute.sources.folder import Bundle, check_10x
from spatialimpute.sources.formats import Header

CENTERS = ("x_centroid", "y_centroid")  # microns


class Xenium(Bundle):
    """Cells in rows of `cells`, ids in `cell_id`; control features have types of their own in the matrix."""

    kind = "Xenium folder"
    technologies = ("Xenium",)
    signs = ("cell_feature_matrix*", "cells.parquet", "cells.csv.gz", "experiment.xenium")

    def files(self) -> list[Path]:
        matrix = self._find("cell_feature_matrix.h5", "cell_feature_matrix")
        return [matrix, self._find("cells.parquet", "cells.csv.gz", "cells.csv")]

    def header(self) -> Header:
        matrix, cells = self.files()
        check_10x(matrix)
        return Header(self.kind, self._check_columns(cells, ("cell_id", *CENTERS)), True)

    def _read(self):
        from spatialimpute.sources.cell_table import join, place, read_cells
        from spatialimpute.sources.readers import read_10x

        matrix, path = self.files()
        cells = read_cells(path, ids=("cell_id",), numeric=CENTERS).set_index("cell_id")
        data = join(read_10x(matrix), matrix, cells, path)
        return place(data, CENTERS, "um", self.technologies)
