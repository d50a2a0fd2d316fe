"""`imputed.h5ad`, written chunk by chunk, and `latent.h5ad`."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import anndata as ad
import h5py
import numpy as np
import pandas as pd

from spatialimpute.files.counts import Counts
from spatialimpute.files.sealed import sealed

SCHEMA_VERSION = "1"
LAYERS = ("sd", "lower", "upper")


class ImputedWriter:
    """Writes `imputed.h5ad`; dense arrays go to disk as their chunks arrive.

    X: posterior mean, expected counts on the panel's depth; layers sd, lower, upper; obs: those of the counts,
    `panel_total` (X / panel_total is the frequency rho) and `supported`; obsm: `spatial`, `X_gimvi`; var: the gene
    table; uns['spatialimpute']: how it was made.
    """

    @classmethod
    @contextmanager
    def open(cls, path: str | Path, counts: Counts, genes: pd.DataFrame, about: dict) -> Iterator["ImputedWriter"]:
        """A writer of a file that is there once the `with` block ends well.

        Parameters
        ----------
        genes : the gene table, in the order of the columns to come
        about : JSON-ready facts
        """
        with sealed(path) as partial:
            with h5py.File(partial, "w") as file:
                writer = cls(file, counts, genes)
                yield writer
                writer._write_annotations(about)

    def __init__(self, file: h5py.File, counts: Counts, genes: pd.DataFrame):
        self.file, self.counts, self.genes = file, counts, genes.set_index("gene")
        n_cells = len(counts.cells)
        self.panel_total = np.zeros(n_cells, dtype=np.float32)
        self.supported = np.zeros(n_cells, dtype=bool)
        self.latent: np.ndarray | None = None
        for name in ("X", *(f"layers/{layer}" for layer in LAYERS)):
            dataset = file.create_dataset(name, (n_cells, len(genes)), dtype=np.float32)
            dataset.attrs.update({"encoding-type": "array", "encoding-version": "0.2.0"})

    def write(self, chunk, supported: np.ndarray) -> None:
        """Write one :class:`spatialimpute.methods.gimvi.posterior.Chunk`; its cells are consecutive."""
        rows = slice(int(chunk.cells[0]), int(chunk.cells[-1]) + 1)
        self.file["X"][rows] = chunk.mean
        for layer in LAYERS:
            self.file[f"layers/{layer}"][rows] = getattr(chunk, layer)
        if self.latent is None:
            self.latent = np.zeros((len(self.panel_total), chunk.latent.shape[1]), dtype=np.float32)
        self.latent[rows], self.panel_total[rows], self.supported[rows] = chunk.latent, chunk.panel_total, supported

    def _write_annotations(self, about: dict) -> None:
        obs = self.counts.obs.set_axis(pd.Index(self.counts.cells, name="cell"), axis=0).assign(
            panel_total=self.panel_total, supported=self.supported
        )
        obsm = {"spatial": self.counts.coords, "X_gimvi": self.latent}
        write = ad.io.write_elem
        write(self.file, "obs", obs)
        write(self.file, "var", _writable(self.genes))
        write(self.file, "obsm", {key: value for key, value in obsm.items() if value is not None})
        write(self.file, "uns", {"spatialimpute": {"schema_version": SCHEMA_VERSION, **about}})
        for empty in ("varm", "obsp", "varp"):
            write(self.file, empty, {})
        self.file["layers"].attrs.update({"encoding-type": "dict", "encoding-version": "0.1.0"})
        self.file.attrs.update({"encoding-type": "anndata", "encoding-version": "0.1.0"})


def _writable(table: pd.DataFrame) -> pd.DataFrame:
    """Columns as numbers or text: h5ad has no column of both."""
    table = table.copy()
    for name, column in table.items():
        if name in ("fold", "verdict", "reason"):
            table[name] = column.fillna("").astype(str)
        elif column.dtype != bool:
            table[name] = pd.to_numeric(column)
    return table


def write_latent(
    path: str | Path, spatial: Counts, spatial_latent: np.ndarray, references: list[Counts], latents: list[np.ndarray]
) -> None:
    """Write the latent codes of all cells of both sides: obsm['X_gimvi'], obs `dataset`, `side`, `celltype`."""
    rows = []
    for counts, side in [(spatial, "spatial"), *((reference, "reference") for reference in references)]:
        celltype = counts.obs.get("celltype", pd.Series(None, counts.obs.index, dtype=object))
        celltype = celltype.astype(object).fillna("").astype(str)
        name = counts.info.get("id", side)
        cells = [f"{name}:{cell}" for cell in counts.cells]
        rows.append(pd.DataFrame({"dataset": name, "side": side, "celltype": celltype.to_numpy()}, index=cells))
    data = ad.AnnData(
        obs=pd.concat(rows).astype("category"), obsm={"X_gimvi": np.concatenate([spatial_latent, *latents])}
    )
    with sealed(path) as partial:
        data.write_h5ad(partial)
