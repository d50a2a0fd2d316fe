"""Which matrices of an AnnData file are read: `X`, `raw` and the layer `counts`, and where none of these can hold raw
counts, those of the other layers that can.
"""

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterable

USUAL = "counts"
#: Values that are looked at before a matrix is read.
N_PEEKED = 1 << 16


def other_layers(file) -> tuple[list[str], dict[str, str]]:
    """Layers to read beside `counts`, and what the others hold.

    Parameters
    ----------
    file : of h5py, or a group of zarr, in anndata's layout; of loom the group that holds `matrix` and `layers`

    Returns
    -------
    names : layers whose first values are whole, where `X`, `counts` and `raw` begin with others; else none
    found : layer -> its first value that is no count, for messages
    """
    usual = ("X", "matrix", f"layers/{USUAL}", "raw/X", "raw.X")
    if "layers" not in file or any(_odd_value(file[name]) is None for name in usual if name in file):
        return [], {}
    names, found = [], {}
    for name in _keys(file["layers"]):
        value = _odd_value(file[f"layers/{name}"]) if name not in (USUAL, "") else None
        if value is not None:
            found[name] = value
        elif name not in (USUAL, ""):
            names.append(name)
    return names, found


def _keys(group) -> "Iterable[str]":
    return sorted(str(name) for name in group.keys())


def _odd_value(element) -> str | None:
    """The first of a matrix's first values that is no count, "nothing" where there is none; None if all are counts."""
    if not hasattr(element, "dtype"):
        if "data" not in element:
            return "nothing"
        values = element["data"][:N_PEEKED]
    elif len(element.shape) != 2 or element.dtype.kind not in "iufb":
        return "no matrix of numbers"
    else:
        values = element[: max(1, N_PEEKED // max(1, element.shape[1]))]
    values = np.asarray(values).ravel()
    if values.dtype.kind not in "iufb":
        return "no matrix of numbers"
    with np.errstate(invalid="ignore"):
        odd = ~((values >= 0) & (values == np.rint(values)))
    if odd.any():
        return f"{float(values[odd][0]):g}"
    return None if values.any() else "nothing but zeros"
