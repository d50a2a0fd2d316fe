"""A sample's imputed parts, each an h5ad of a range of its cells, read in order as if they were one."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import anndata as ad
import h5py
import numpy as np

from spatialimpute.errors import InputError
from spatialimpute.files.imputed import LAYERS, ImputedRows, imputed_facts
from spatialimpute.files.sealed import check_seal


def part_name(start: int) -> str:
    """The file name of the part that begins at cell `start`; in the order of the cells by name too."""
    return f"part.{start:012d}.h5ad"


@dataclass(frozen=True)
class Part:
    """One part: cells `start` to `stop` of `n_cells`; `facts` say how it was made."""

    path: Path
    start: int
    stop: int
    n_cells: int
    facts: dict

    @classmethod
    def open(cls, path: str | Path) -> "Part":
        """Raises InputError where the file is no part, DamagedError where it is not what was written."""
        check_seal(path)
        with h5py.File(path, "r") as file:
            if "uns/part" not in file:
                raise InputError(f"{path}: expected a part that impute.py --rows wrote; this is no part")
            rows = ad.io.read_elem(file["uns/part"])
        return cls(Path(path), int(rows["start"]), int(rows["stop"]), int(rows["n_cells"]), imputed_facts(path))


class Parts:
    """All parts of a sample.

    Attributes
    ----------
    facts : how they were made
    genes : the gene table
    layers : which of LAYERS they hold
    reference_latents : latent codes of each reference's cells

    Raises
    ------
    InputError
        They do not cover all cells once, or were made in different ways.
    DamagedError
        A file is not what was written.
    """

    def __init__(self, paths: Sequence[str | Path]):
        self.parts = sorted((Part.open(path) for path in paths), key=lambda part: part.start)
        first = self.parts[0]
        self.facts, self.n_cells = first.facts, first.n_cells
        expected = 0
        for part in self.parts:
            if part.start != expected:
                raise InputError(
                    f"{part.path}: begins at cell {part.start:,}, expected {expected:,}; give every part once"
                )
            if str(part.facts) != str(first.facts):
                raise InputError(f"{part.path}: was made in another way than {first.path}; impute both again")
            expected = part.stop
        if expected != self.n_cells:
            raise InputError(
                f"{self.parts[-1].path}: the last cell is {expected:,} of {self.n_cells:,}; a part is missing"
            )
        with h5py.File(first.path, "r") as file:
            self.genes = ad.io.read_elem(file["var"]).rename_axis("gene").reset_index()
            self.layers = [layer for layer in LAYERS if f"layers/{layer}" in file]
            latents = ad.io.read_elem(file["uns/reference_latents"])
        self.reference_latents = [latents[name] for name in sorted(latents, key=int)]

    def read(self, rows: slice) -> ImputedRows:
        """Some rows of the sample, from the parts that hold them."""
        pieces = []
        for part in self.parts:
            start, stop = max(rows.start, part.start) - part.start, min(rows.stop, part.stop) - part.start
            if start < stop:
                pieces.append(self._read(part, slice(start, stop)))
        values = {name: np.concatenate([piece.values[name] for piece in pieces]) for name in pieces[0].values}
        latent, totals, supported = (
            np.concatenate([getattr(piece, name) for piece in pieces])
            for name in ("latent", "panel_total", "supported")
        )
        return ImputedRows(rows, values, latent, totals, supported)

    def _read(self, part: Part, rows: slice) -> ImputedRows:
        with h5py.File(part.path, "r") as file:
            values = {"mean": file["X"][rows], **{layer: file[f"layers/{layer}"][rows] for layer in self.layers}}
            return ImputedRows(
                rows, values, file["obsm/X_gimvi"][rows], file["obs/panel_total"][rows], file["obs/supported"][rows]
            )


def part_uns(start: int, stop: int, n_cells: int, reference_latents: Sequence[np.ndarray]) -> dict:
    """Entries of `uns` that make a file a part; the first alone holds the references' latent codes."""
    uns: dict = {"part": {"start": start, "stop": stop, "n_cells": n_cells}}
    if reference_latents:
        uns["reference_latents"] = {str(i): codes for i, codes in enumerate(reference_latents)}
    return uns
