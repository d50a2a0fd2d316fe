"""What the folders of Space Ranger share: the scale of the image that places are given in."""

from pathlib import Path
from typing import TYPE_CHECKING

from spatialimpute.errors import InputError
from spatialimpute.sources.cell_table import to_microns
from spatialimpute.sources.guard import read_json

if TYPE_CHECKING:
    import anndata as ad

#: What Space Ranger's `spot_diameter_fullres` spans, by its documentation: a theoretical 65 um, not the 55 um of the
#: printed spots. With 65, neighboring spots come out at their 100 um; with 55 they would be at 85.
SPOT_UM = 65.0


def read_scale_factors(path: Path | None) -> dict[str, float]:
    """The content of `scalefactors_json.json`; empty where there is none.

    Raises
    ------
    InputError
        It is damaged, or a scale in it is no positive number.
    """
    if path is None:
        return {}
    factors = read_json(path)
    for key in ("microns_per_pixel", "spot_diameter_fullres"):
        value = factors.get(key, 1)
        if not isinstance(value, int | float) or not 0 < value < float("inf"):
            raise InputError(f"{path}: found {key} {value!r}, expected a positive number; copy it again")
    return factors


def scale_places(data: "ad.AnnData", factors: dict[str, float]) -> None:
    """Turn pixels of the full-resolution image into micrometers, or warn that no scale is known."""
    if "microns_per_pixel" in factors:
        to_microns(data, factors["microns_per_pixel"], "scalefactors_json.json")
    elif "spot_diameter_fullres" in factors:
        um_per_pixel = SPOT_UM / factors["spot_diameter_fullres"]
        to_microns(data, um_per_pixel, f"spot_diameter_fullres is {SPOT_UM:g} um")
    else:
        warning = "no spatial/scalefactors_json.json with a scale; coordinates stay in pixels"
        data.uns["read_warnings"] = [*data.uns.get("read_warnings", []), warning]
