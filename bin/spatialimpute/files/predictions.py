"""`predictions.h5ad`: one method's (or model's) predictions of the held-out genes of all folds."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import anndata as ad
import h5py
import numpy as np
import pandas as pd

from spatialimpute.errors import InputError
from spatialimpute.files.sealed import check_seal, sealed
from spatialimpute.folds import fold_columns

SCHEMA_VERSION = "2"


@dataclass
class Predictions:
    """Predicted frequencies: a gene's expected count divided by the cell's panel total.

    The panel total is over the panel genes in use for the gene's fold, so that library size is in no method's
    prediction and every method is given the same one when scored.

    Attributes
    ----------
    mean : float32 array, shape (n_cells, n_genes); NaN where a cell has no counts on the panel genes in use
    sd : float32 array of that shape, or None for a method without uncertainty
    cells, genes, fold : arrays of str; `fold[j]` is the fold in which gene j was held out
    method : `gimvi`, `spatialimpute` or a baseline's name
    kappa, place : None unless one gimVI member
    mean_frequency : (n_genes,), mean over the cells of :func:`spatialimpute.folds.scale_cells`, by which predictions
        are scaled before they are blended; None for a prediction that is blended already
    """

    mean: np.ndarray
    sd: np.ndarray | None
    cells: np.ndarray
    genes: np.ndarray
    fold: np.ndarray
    method: str
    sample: str
    kappa: float | None = None
    place: int | None = None
    mean_frequency: np.ndarray | None = None


def write_predictions(path: str | Path, predictions: Predictions) -> None:
    """Write predictions as AnnData: `X` the mean, `layers['sd']`, `var['fold']`, `var['mean_frequency']`."""
    about = {"schema_version": SCHEMA_VERSION, "method": predictions.method, "sample": predictions.sample}
    about |= {key: value for key in ("kappa", "place") if (value := getattr(predictions, key)) is not None}
    var = pd.DataFrame({"fold": pd.Categorical(predictions.fold)}, index=pd.Index(predictions.genes))
    if predictions.mean_frequency is not None:
        var["mean_frequency"] = np.asarray(predictions.mean_frequency, dtype=np.float64)
    data = ad.AnnData(
        X=np.asarray(predictions.mean, dtype=np.float32),
        obs=pd.DataFrame(index=pd.Index(predictions.cells)),
        var=var,
        uns={"spatialimpute": about},
    )
    if predictions.sd is not None:
        data.layers["sd"] = np.asarray(predictions.sd, dtype=np.float32)
    with sealed(path) as partial:
        data.write_h5ad(partial)


class PredictionsFile:
    """A file of :func:`write_predictions`, from which a few genes are read at a time.

    Attributes
    ----------
    cells, genes, fold, method, sample, kappa, place, mean_frequency : as in :class:`Predictions`

    Raises
    ------
    InputError
        The file is of another schema version.
    DamagedError
        It is not what was written.
    """

    def __init__(self, path: str | Path):
        check_seal(path)
        self.path = Path(path)
        with h5py.File(path, "r") as file:
            about = dict(ad.io.read_elem(file["uns"]).get("spatialimpute", {}))
            if about.get("schema_version") != SCHEMA_VERSION:
                raise InputError(
                    f"{path}: expected predictions of schema version {SCHEMA_VERSION}, found {about or 'none'}"
                )
            obs, var = ad.io.read_elem(file["obs"]), ad.io.read_elem(file["var"])
        self.cells, self.genes = obs.index.to_numpy(str), var.index.to_numpy(str)
        self.fold = var["fold"].to_numpy(str)
        self.mean_frequency = var["mean_frequency"].to_numpy() if "mean_frequency" in var else None
        self.method, self.sample = str(about["method"]), str(about["sample"])
        self.kappa = float(about["kappa"]) if "kappa" in about else None
        self.place = int(about["place"]) if "place" in about else None

    def read_rows(self, rows: slice) -> np.ndarray:
        """Mean of all genes in some of the cells, (n, n_genes)."""
        with h5py.File(self.path, "r") as file:
            return file["X"][rows]

    def read(self, fold: str | None = None) -> Predictions:
        """The genes of a fold, or all of them."""
        columns = slice(None) if fold is None else fold_columns(self.fold)[fold]
        with h5py.File(self.path, "r") as file:
            mean = file["X"][:, columns]
            sd = file["layers/sd"][:, columns] if "layers/sd" in file else None
        return Predictions(
            mean, sd, self.cells, self.genes[columns], self.fold[columns], self.method, self.sample, self.kappa,
            self.place, None if self.mean_frequency is None else self.mean_frequency[columns],
        )  # fmt: skip


def open_folder(folder: str | Path, cells: Sequence[str], genes: Sequence[str]) -> list[PredictionsFile]:
    """All predictions of a folder, by file name.

    Raises
    ------
    InputError
        Another schema version, or predictions that are not of these cells and of these genes in this order.
    """
    found = []
    for path in sorted(Path(folder).glob("*.h5ad")):
        found.append(PredictionsFile(path))
        for what, ours, theirs in (("cells", cells, found[-1].cells), ("genes", genes, found[-1].genes)):
            if not np.array_equal(ours, theirs):
                raise InputError(
                    f"{path}: predictions of other {what} than the counts and the gene sets hold ({len(theirs)}, "
                    f"{len(ours)} expected, or in another order); make them again from these files"
                )
    return found
