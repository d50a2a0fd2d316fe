"""`imputed.h5ad` or `imputed.zarr`: the imputed genes of all cells, or of a part of them, written as rows arrive."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import anndata as ad
import h5py
import numpy as np
import pandas as pd

from spatialimpute.errors import InputError
from spatialimpute.files.chunks import ChunkStore, Grid, H5Store, ZarrStore
from spatialimpute.files.counts import OWN_GENE_COLUMNS, Counts
from spatialimpute.files.sealed import sealed

SCHEMA_VERSION = "2"
#: What may stand beside the mean.
LAYERS = ("sd", "lower", "upper", "without_own_count")
#: Columns of the gene table that hold text.
TEXTS = ("gene_id", "fold", "verdict", "reason", "suspect")
#: Values (cells x genes x arrays) up to which `auto` is h5ad: some ten gigabytes on disk.
MAX_H5AD_VALUES = 4_000_000_000


@dataclass(frozen=True)
class ImputedRows:
    """What is stored of B consecutive cells.

    Attributes
    ----------
    rows : which of the cells that are imputed together
    values : `mean` and each of LAYERS, expected counts on the panel's depth, (B, G) float32
    latent : (B, d), the first member's posterior mean of z
    panel_total : (B,), counts over the panel; where it is 0 nothing is known of a cell, so values and latent are NaN
    supported : (B,) bool, whether the cell lies where the references have cells; never where nothing is known
    """

    rows: slice
    values: Mapping[str, np.ndarray]
    latent: np.ndarray
    panel_total: np.ndarray
    supported: np.ndarray


@dataclass(frozen=True)
class EncodedRows:
    """The same with its values as chunks of bytes, by the name of their array in the file."""

    rows: slice
    chunks: Mapping[str, list[bytes]]
    latent: np.ndarray
    panel_total: np.ndarray
    supported: np.ndarray


def choose_format(asked: str, grid: Grid, layers: Sequence[str]) -> str:
    """`h5ad` or `zarr`, as asked for; `auto` is h5ad for samples of a size that one file suits."""
    if asked != "auto":
        return asked
    return "h5ad" if grid.n_cells * grid.n_genes * (1 + len(layers)) <= MAX_H5AD_VALUES else "zarr"


class ImputedWriter:
    """Writes an AnnData file or zarr folder, as the suffix of its path says.

    X: posterior mean, expected counts on the panel's depth; of LAYERS those that are asked for; obs:
    those of the counts, the user's own among them, `panel_total` (X / panel_total is the frequency rho),
    `supported` and `further`; obsm: `spatial`, `X_gimvi`; var: the gene table; uns['spatialimpute']: how it was made.

    Attributes
    ----------
    latent : (n_cells, d), the latent codes of the rows written so far
    supported : (n_cells,) bool, the same
    further : columns of cells that are known once all rows are, to be set before the end; None for none
    """

    @classmethod
    @contextmanager
    def open(
        cls, path: str | Path, grid: Grid, layers: Sequence[str], cells: Counts, genes: pd.DataFrame, uns: dict
    ) -> Iterator["ImputedWriter"]:
        """A writer of a file that is there once the `with` block ends well.

        Parameters
        ----------
        layers : those of LAYERS to write
        cells : of which annotations are written; their counts are not looked at
        genes : the gene table, in the order of the columns
        uns : JSON-ready facts and arrays; `spatialimpute` gets the schema version
        """
        kind = ZarrStore if Path(path).suffix == ".zarr" else H5Store
        with sealed(path) as partial, kind.open(partial, grid) as store:
            writer = cls(store, layers)
            yield writer
            writer._write_annotations(cells, genes, uns)

    def __init__(self, store: ChunkStore, layers: Sequence[str]):
        self.store = store
        self._names = {"mean": "X", **{layer: f"layers/{layer}" for layer in layers}}
        for name in self._names.values():
            store.create(name)
        self.panel_total = np.zeros(store.grid.n_cells, dtype=np.float32)
        self.supported = np.zeros(store.grid.n_cells, dtype=bool)
        self.latent: np.ndarray | None = None
        self.further: pd.DataFrame | None = None

    def encode(self, rows: ImputedRows) -> EncodedRows:
        """Make rows ready to be written; several threads may at once."""
        chunks = {name: self.store.grid.encode(rows.values[what]) for what, name in self._names.items()}
        return EncodedRows(rows.rows, chunks, rows.latent, rows.panel_total, rows.supported)

    def write(self, encoded: EncodedRows) -> None:
        """Write rows; those of the whole grid, one chunk's after the other."""
        rows = encoded.rows
        for name, chunks in encoded.chunks.items():
            self.store.write(name, rows.start, chunks)
        if self.latent is None:
            self.latent = np.zeros((len(self.panel_total), encoded.latent.shape[1]), dtype=np.float32)
        self.latent[rows], self.panel_total[rows] = encoded.latent, encoded.panel_total
        self.supported[rows] = encoded.supported

    def _write_annotations(self, cells: Counts, genes: pd.DataFrame, uns: dict) -> None:
        name = None if "cell" in cells.obs else "cell"  # anndata has the index under its name beside the columns
        obs = cells.obs.set_axis(pd.Index(cells.cells, name=name), axis=0)
        obs = obs.assign(panel_total=self.panel_total, supported=self.supported)
        if self.further is not None:
            obs = obs.assign(**{name: column.to_numpy() for name, column in self.further.items()})
        obsm = {"spatial": cells.coords, "X_gimvi": self.latent}
        facts = {"schema_version": SCHEMA_VERSION, **uns["spatialimpute"]}
        uns = uns | {"spatialimpute": _in_order(facts)}
        write, group = ad.io.write_elem, self.store.group
        write(group, "obs", obs)
        write(group, "var", _writable(genes.set_index("gene")))
        write(group, "obsm", {key: value for key, value in obsm.items() if value is not None})
        write(group, "uns", uns)
        for empty in ("varm", "obsp", "varp"):
            write(group, empty, {})
        group.require_group("layers").attrs.update({"encoding-type": "dict", "encoding-version": "0.1.0"})
        group.attrs.update({"encoding-type": "anndata", "encoding-version": "0.1.0"})


def _writable(table: pd.DataFrame) -> pd.DataFrame:
    """Our columns as numbers or text, since AnnData has no column of both; the user's are as they can be written."""
    table = table.copy()
    for name in table.columns.intersection(OWN_GENE_COLUMNS):
        if name in TEXTS:
            table[name] = table[name].astype(object).fillna("").map(str)
        elif table[name].dtype != bool:
            table[name] = pd.to_numeric(table[name])
    return table


def _in_order(facts: dict) -> dict:
    """The facts, and those within them, in the order in which they are read again."""
    return {name: _in_order(value) if isinstance(value, dict) else value for name, value in sorted(facts.items())}


@contextmanager
def open_imputed(path: str | Path) -> Iterator:
    """The group of an imputed file or zarr folder, for anndata.io.read_elem and its arrays."""
    if Path(path).suffix == ".zarr":
        import zarr  # takes a while, and most results are h5ad

        yield zarr.open_group(str(path), mode="r")
    else:
        with h5py.File(path, "r") as file:
            yield file


def imputed_facts(path: str | Path) -> dict:
    """How an imputed file was made: its uns['spatialimpute'].

    Raises
    ------
    InputError
        Another schema version.
    """
    with open_imputed(path) as group:
        facts = dict(ad.io.read_elem(group["uns/spatialimpute"]))
    if facts.get("schema_version") != SCHEMA_VERSION:
        raise InputError(
            f"{path}: expected an imputed file of schema version {SCHEMA_VERSION}, "
            f"found {facts.get('schema_version')}; impute again"
        )
    return facts


def write_latent(
    path: str | Path,
    spatial: Counts,
    spatial_latent: np.ndarray,
    references: Sequence[Counts],
    latents: Sequence[np.ndarray],
) -> None:
    """Write the latent codes of all cells of both sides: obsm['X_gimvi'], obs `dataset`, `side`, `celltype`.

    Of `spatial` and `references` annotations alone are looked at.
    """
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
