"""Cells of Visium HD as Space Ranger 4 segments them (`segmented_outputs`): outlines in place of positions.

https://www.10xgenomics.com/support/software/space-ranger/latest/analysis/outputs/segmented-outputs
"""

import re
from collections.abc import Iterable
from pathlib import Path

from spatialimpute.sources.base import Header
from spatialimpute.sources.cell_table import join, place
from spatialimpute.sources.folder import Folder, open_tenx
from spatialimpute.sources.polygons import read_centers
from spatialimpute.sources.space_ranger import read_scale_factors, scale_places

MATRIX = "filtered_feature_cell_matrix"
OUTLINES = "cell_segmentations.geojson"
KEY, CENTERS = "cell_id", ("x", "y")


class VisiumCells(Folder):
    """Outlines are numbered; the matrix writes number 1 as `cellid_000000001-1`."""

    kind = "Visium HD folder of segmented cells"
    technologies = ("Visium HD",)
    signs = (f"*{MATRIX}*", f"*{OUTLINES}*")

    def files(self) -> list[Path]:
        matrix, outlines = self._parts()
        return [*open_tenx(matrix).files(), outlines, *([self._scale] if self._scale else [])]

    @property
    def _scale(self) -> Path | None:
        found = self._matches("spatial/*scalefactors_json.json*") + self._matches("*scalefactors_json.json*")
        return found[0] if found else None

    def _parts(self) -> tuple[Path, Path]:
        """The matrix and the outlines."""
        matrix = self._find(f"*{MATRIX}.h5", f"*{MATRIX}")
        return matrix, self._find(OUTLINES, f"{OUTLINES}.gz", f"*{OUTLINES}", f"*{OUTLINES}.gz")

    def header(self) -> Header:
        matrix, _ = self._parts()
        open_tenx(matrix).header()
        read_scale_factors(self._scale)
        return Header([], True)

    def gene_columns(self) -> dict[str, list[str]] | None:
        return open_tenx(self._parts()[0]).gene_columns()

    def _read(self, keys: Iterable[str]):
        import pandas as pd

        matrix, path = self._parts()
        data = open_tenx(matrix).read()
        names = {_number(name): name for name in map(str, data.obs_names)}
        centers = {_number(number): point for number, point in read_centers(path, KEY).items()}
        index = [names.get(number, f"outline {number}") for number in centers]
        cells = pd.DataFrame(list(centers.values()), columns=list(CENTERS), index=index)
        data = place(join(data, matrix, cells, path), CENTERS, "px")
        scale_places(data, read_scale_factors(self._scale))
        return data


def _number(name: str) -> str:
    """The number in a cell's name, as the two files have it in common: `cellid_000000012-1` -> `12`."""
    found = re.fullmatch(r"(?:cellid_)?0*(\d+?)(?:-\d+)?(?:\.0)?", name.strip())
    return found[1] if found else name
