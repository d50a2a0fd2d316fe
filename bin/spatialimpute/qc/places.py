"""Where the cells are: those that are nowhere are left out and counted, whatever the file."""

from pathlib import Path

import anndata as ad
import numpy as np

from spatialimpute.errors import InputError
from spatialimpute.sources.cell_table import NO_PLACE, keep

#: Cells at one place, and their share of all cells, from which it is doubted that it is theirs.
FEWEST_HEAPED, SHARE_HEAPED = 10, 0.001


def placed_cells(raw: ad.AnnData, source: str) -> ad.AnnData:
    """The cells that have a place; the others are accounted for.

    A cell has none where the file says so (NaN, or no row in a second file), or where it lies at the origin with
    others: there tools put cells that they cannot place. A third coordinate that no cell has is left out. Other places
    that many cells share are a warning.

    Parameters
    ----------
    raw : as read, with float coordinates of shape (n_cells, 2 or 3) in `obsm['spatial']`

    Raises
    ------
    InputError
        No coordinates, none that is a number, an infinite one, or all cells at one place.
    """
    if "spatial" not in raw.obsm:
        columns = ", ".join(map(str, raw.obs.columns)) or "none"
        raise InputError(
            f"{source}: no coordinates found (columns: {columns}); give them "
            f"in obsm['spatial'], in columns x and y, or in a second file {Path(source).stem}.coords.csv"
        )
    coords = np.asarray(raw.obsm["spatial"], dtype=np.float64)
    if coords.shape[1] == 3 and np.isnan(coords[:, 2]).all():
        coords = coords[:, :2]
    raw.obsm["spatial"] = coords
    infinite = np.isinf(coords).any(axis=1)
    if infinite.any():
        cell = int(np.flatnonzero(infinite)[0])
        raise InputError(
            f"{source}: cell {str(raw.obs_names[cell])!r} has coordinates {coords[cell].tolist()} "
            f"({int(infinite.sum())} cells in all); expected finite numbers: place these cells or remove them"
        )
    placed = ~np.isnan(coords).any(axis=1)
    if len(placed) and not placed.any():
        raise InputError(
            f"{source}: none of {len(placed)} cells has a place (cell {str(raw.obs_names[0])!r} has coordinates "
            f"{coords[0].tolist()}); expected numbers: place the cells"
        )
    coords = coords[placed]
    if len(coords) > 1 and (coords == coords[0]).all():
        raise InputError(f"{source}: all cells are at {coords[0].tolist()}; expected the place of each cell")
    at_origin = placed & (raw.obsm["spatial"] == 0).all(axis=1)
    parked = at_origin if at_origin.sum() > 1 else np.zeros(len(placed), dtype=bool)
    placed &= ~parked
    _warn_of_heaps(raw, placed)
    reason = "no place in the file, so they cannot be on a map"
    return keep(raw, placed, NO_PLACE, reason + (", or together at the origin" if parked.any() else ""))


def _warn_of_heaps(raw: ad.AnnData, placed: np.ndarray) -> None:
    """Say where many cells have one place."""
    if not placed.any():
        return
    places, count = np.unique(raw.obsm["spatial"][placed], axis=0, return_counts=True)
    if (most := count.max()) >= max(FEWEST_HEAPED, SHARE_HEAPED * placed.sum()):
        raw.uns["read_warnings"] = [
            *raw.uns.get("read_warnings", []),
            f"{most:,} cells are all at {places[count.argmax()].tolist()}: is that their place? If not, leave it empty",
        ]
