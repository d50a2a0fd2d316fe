"""Places of shapes in well-known binary, as GeoParquet holds them: points, or the centers of polygons.

https://libgeos.org/specifications/wkb. A shape is the byte 1 (little endian), its type, and numbers of 4 and 8 bytes.
"""

import struct
from collections.abc import Sequence

import numpy as np

from spatialimpute.sources.polygons import center_of_several, centers_of_rings

POINT, POLYGON, MULTIPOLYGON = (b"\x01" + struct.pack("<I", kind) for kind in (1, 3, 6))
_COUNT, _PAIR = 4, 16


def places(shapes: Sequence[bytes]) -> np.ndarray:
    """Points, and centers of polygons, shape (n, 2).

    Shapes of one size are taken at once, since bins are squares by the million.

    Raises
    ------
    ValueError
        A shape is none of these, or cut short.
    """
    by_size: dict[int, list[int]] = {}
    for i, shape in enumerate(shapes):
        by_size.setdefault(len(shape), []).append(i)
    found = np.empty((len(shapes), 2))
    for size, rows in by_size.items():
        found[rows] = _places([shapes[i] for i in rows], size)
    return found


def _places(shapes: list[bytes], size: int) -> np.ndarray:
    n_corners = (size - len(POLYGON) - 2 * _COUNT) // _PAIR
    one_ring = POLYGON + struct.pack("<II", 1, max(0, n_corners))
    for head, n_pairs in ((POINT, 1), (one_ring, n_corners)):
        if n_pairs > 0 and size == len(head) + n_pairs * _PAIR and all(shape.startswith(head) for shape in shapes):
            pairs = np.frombuffer(b"".join(shape[len(head) :] for shape in shapes), "<f8").reshape(-1, n_pairs, 2)
            return pairs[:, 0] if n_pairs == 1 else centers_of_rings(pairs)
    return np.array([center_of_several(_polygons(shape)) for shape in shapes])


def _polygons(shape: bytes) -> list[list[np.ndarray]]:
    """The rings of a polygon, or of each of several."""
    if shape.startswith(POLYGON):
        return [_rings(shape, 0)[0]]
    if not shape.startswith(MULTIPOLYGON):
        raise ValueError("neither a point nor a polygon")
    polygons, at = [], len(MULTIPOLYGON) + _COUNT
    for _ in range(_number(shape, len(MULTIPOLYGON))):
        rings, at = _rings(shape, at)
        polygons.append(rings)
    if not polygons:
        raise ValueError("no polygon")
    return polygons


def _rings(shape: bytes, at: int) -> tuple[list[np.ndarray], int]:
    """The rings of the polygon that begins at a byte, and where it ends."""
    if not shape.startswith(POLYGON, at):
        raise ValueError("no polygon")
    n_rings, at = _number(shape, at + len(POLYGON)), at + len(POLYGON) + _COUNT
    rings = []
    for _ in range(n_rings):
        n_corners, at = _number(shape, at), at + _COUNT
        rings.append(np.frombuffer(shape, "<f8", 2 * n_corners, at).reshape(-1, 2))
        at += n_corners * _PAIR
    if not rings or any(not len(ring) for ring in rings):
        raise ValueError("a polygon without corners")
    return rings, at


def _number(shape: bytes, at: int) -> int:
    if at + _COUNT > len(shape):
        raise ValueError("cut short")
    return struct.unpack_from("<I", shape, at)[0]
