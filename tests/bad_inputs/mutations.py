"""Ways to damage a file: in its bytes, and in the objects of an HDF5 file."""

from pathlib import Path

import h5py
import numpy as np
from hypothesis import strategies as st

#: (what, where as a share of the file, bytes)
BYTE_EDITS = st.lists(
    st.tuples(
        st.sampled_from(("set", "insert", "delete", "cut", "repeat")),
        st.floats(0, 1, exclude_max=True),
        st.one_of(
            st.binary(min_size=1, max_size=9),
            st.sampled_from(
                (b"\xff" * 8, b"\0" * 8, b"-1", b"1e99", b"nan", b"\n", b",", b"\t", b'"', b"%", b"9" * 19)
                + (b"e99363963259352", b"1e99363963259352")
            ),
        ),
    ),
    min_size=1,
    max_size=6,
)

#: Values that may take the place of any dataset or attribute.
VALUES = (
    0, -1, 2**62, 1.5, float("nan"), "text", b"\xff\xfe", True,
    np.array([], "f4"), np.zeros((0, 3), "f4"), np.zeros((3, 0), "i8"), np.arange(5), np.arange(12.0).reshape(3, 4),
    np.zeros((2, 2, 2)), np.array(["a", "b"], "S"), np.array(["\u00e9"] * 12, "O"),
    np.full(12, -3, "i4"), np.full(12, 2**31, "u8"), np.array([np.inf] * 12), np.array([(1, 2.0)] * 12, "i4,f8"),
    np.array([1 + 2j] * 12), np.array([True, False] * 6), h5py.Empty("f4"), [10**12, 3], [12, 11], [-1, -1],
    "csr_matrix", "csc_matrix", "array", "dataframe", "categorical", "string-array", "dict", "nullable-integer", "null",
)  # fmt: skip
#: (what, which object as a share of all, which value as a share of all, which other object)
OBJECT_EDITS = st.lists(
    st.tuples(
        st.sampled_from(("delete", "replace", "attribute", "no attribute", "link", "move", "group", "element")),
        *[st.floats(0, 1, exclude_max=True)] * 3,
    ),
    min_size=1,
    max_size=3,
)


def edit_bytes(path: Path, edits) -> None:
    """Apply BYTE_EDITS."""
    content = bytearray(path.read_bytes())
    for what, place, value in edits:
        at = int(place * len(content))
        if what == "set":
            content[at : at + len(value)] = value
        elif what == "insert":
            content[at:at] = value
        elif what == "delete":
            del content[at : at + 4 * len(value)]
        elif what == "cut":
            del content[max(at, 1) :]
        else:
            content[at:at] = content[at : at + 16 * len(value)]
    path.write_bytes(content)


def edit_objects(path: Path, edits) -> None:
    """Apply OBJECT_EDITS; what HDF5 itself refuses is left out."""
    with h5py.File(path, "r+") as file:
        for what, which, chosen, other in edits:
            names: list[str] = []
            file.visit(names.append)
            if not names:
                return
            name, value = names[int(which * len(names))], VALUES[int(chosen * len(VALUES))]
            try:
                _edit_object(file, what, name, value, names[int(other * len(names))], other)
            except (TypeError, ValueError, OSError, KeyError, RuntimeError):
                continue


def _edit_object(file: h5py.File, what: str, name: str, value, other_name: str, other: float) -> None:
    attributes = dict(file[name].attrs)
    if what == "attribute":
        keys = [*attributes, "encoding-type", "shape", "_index", "column-order"]
        file[name].attrs[keys[int(other * len(keys))]] = value
    elif what == "no attribute" and attributes:
        del file[name].attrs[list(attributes)[int(other * len(attributes))]]
    elif what == "element" and isinstance(file[name], h5py.Dataset) and file[name].size:
        flat = np.atleast_1d(file[name][()])
        flat.flat[int(other * flat.size)] = value
        file[name][...] = flat.reshape(file[name].shape)
    elif what in ("delete", "replace", "link", "move", "group"):
        if what == "move":
            file.move(name, f"{other_name}_moved")
            return
        del file[name]
        if what == "replace":
            file[name] = value
            file[name].attrs.update(attributes)
        elif what == "link":
            file[name] = h5py.SoftLink(f"/{other_name}")
        elif what == "group":
            file.create_group(name).attrs.update(attributes)
