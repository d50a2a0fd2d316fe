"""`graph.h5`: the graph of a sample's spatial cells."""

from pathlib import Path

import h5py
import numpy as np

from spatialimpute.errors import InputError
from spatialimpute.files.sealed import check_seal, sealed
from spatialimpute.graph import CellGraph

SCHEMA_VERSION = "1"
#: Names no anchor: there are fewer, and they take half the space as 16-bit numbers.
NONE = np.uint16(0xFFFF)


def write_graph(path: str | Path, graph: CellGraph) -> None:
    """Write a graph."""
    with sealed(path) as partial, h5py.File(partial, "w") as file:
        file.attrs["schema_version"] = SCHEMA_VERSION
        arrays = {"anchors": graph.anchors, "neighbors": np.where(graph.neighbors < 0, NONE, graph.neighbors)}
        arrays["neighbors"] = arrays["neighbors"].astype(np.uint16)
        if graph.around is not None:
            arrays["around"] = graph.around
        for name, values in arrays.items():
            file.create_dataset(name, data=values, compression="gzip", compression_opts=1, shuffle=True)


def read_graph(path: str | Path) -> CellGraph:
    """Read what :func:`write_graph` wrote.

    Raises
    ------
    InputError
        Another schema version.
    DamagedError
        The file is not what was written.
    """
    check_seal(path)
    with h5py.File(path, "r") as file:
        version = file.attrs.get("schema_version")
        if version != SCHEMA_VERSION:
            raise InputError(
                f"{path}: expected a graph of schema version {SCHEMA_VERSION}, found {version}; train again"
            )
        neighbors = file["neighbors"][:]
        around = file["around"][:] if "around" in file else None
        return CellGraph(file["anchors"][:], np.where(neighbors == NONE, -1, neighbors.astype(np.int32)), around)
