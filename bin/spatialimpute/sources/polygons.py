"""Centers of cells whose outlines are all that a file says of their place."""

import gzip
import json
from pathlib import Path

import numpy as np

from spatialimpute.errors import InputError
from spatialimpute.sources.guard import require_memory

#: Bytes in memory per byte of a GeoJSON text while one outline after the other becomes a point.
TEXT_IN_MEMORY = 3


def center(rings: list) -> tuple[float, float]:
    """The centroid of a polygon's area, holes left out; of one without area the mean of its corners.

    Parameters
    ----------
    rings : the outline and then the holes, each a list of (x, y), the last the first again
    """
    return center_of_several([rings])


def center_of_several(polygons: list) -> tuple[float, float]:
    """The same of several polygons together, each a list of rings."""
    moments = np.zeros(3)
    for rings in polygons:
        for i, ring in enumerate(rings):
            moments += _moments(np.asarray(ring, float)[:, :2]) * (1 if i == 0 else -1)
    if moments[0] > 0:
        return moments[1] / moments[0], moments[2] / moments[0]
    corners = np.concatenate([np.asarray(rings[0], float)[:, :2] for rings in polygons])
    return tuple(corners.mean(axis=0))


def centers_of_rings(rings: np.ndarray) -> np.ndarray:
    """Centers of polygons without holes and of as many corners each.

    Parameters
    ----------
    rings : shape (n, n_corners, 2), the last corner the first again

    Returns
    -------
    float array, shape (n, 2)
    """
    moments = _moments(rings)
    with np.errstate(divide="ignore", invalid="ignore"):
        centers = moments[:, 1:] / moments[:, :1]
    return np.where(moments[:, :1] > 0, centers, rings.mean(axis=1))


def _moments(ring: np.ndarray) -> np.ndarray:
    """Area and the area times its centroid, whatever way round a ring goes: shape (..., n_corners, 2) to (..., 3)."""
    origin = ring[..., :1, :]
    x, y = np.moveaxis(ring - origin, -1, 0)  # relative to a corner: far from the axes' origin products lose digits
    next_x, next_y = np.roll(x, -1, axis=-1), np.roll(y, -1, axis=-1)
    cross = x * next_y - next_x * y
    area = cross.sum(axis=-1) / 2
    sums = [((values + after) * cross).sum(axis=-1) / 6 for values, after in ((x, next_x), (y, next_y))]
    places = [part + area * origin[..., 0, axis] for axis, part in enumerate(sums)]
    return np.sign(area)[..., None] * np.stack([area, *places], axis=-1)


def read_centers(path: Path, key: str) -> dict[str, tuple[float, float]]:
    """Centers of the outlines in a GeoJSON file (also `.gz`), by the property `key`.

    Raises
    ------
    InputError
        It is damaged, or a feature has no such property or no outline.
    MemoryError
        It does not fit.
    """
    require_memory(TEXT_IN_MEMORY * path.stat().st_size, f"the content of {path}")
    opener = gzip.open if path.suffix == ".gz" else open
    try:
        with opener(path, "rt", encoding="utf-8") as file:
            content = json.load(file, object_hook=_reduce)
        features = content["features"]
    except (ValueError, OSError, EOFError, RecursionError, LookupError, TypeError) as error:
        raise InputError(f"{path}: cannot be read as GeoJSON of outlines ({error}); copy it again") from None
    centers = {}
    for i, feature in enumerate(features, start=1):
        name = (feature.get("properties") or {}).get(key)
        if name is None or not isinstance(feature.get("geometry"), tuple):
            raise InputError(f"{path}: outline {i} has no {key} or is no polygon; copy or export it again")
        centers[str(name)] = feature["geometry"]
    if not centers:
        raise InputError(f"{path}: no outlines of cells; copy or export it again")
    return centers


def _reduce(found: dict):
    """A geometry as its center as soon as it is read, anything else as it is."""
    if found.get("type") == "Polygon":
        return center(found["coordinates"])
    if found.get("type") == "MultiPolygon":
        return center_of_several(found["coordinates"])
    return found
