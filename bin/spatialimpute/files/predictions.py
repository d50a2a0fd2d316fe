"""`predictions.h5ad`: one method's (or model's) predictions of the held-out genes of all folds."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import anndata as ad
import numpy as np
import pandas as pd

from spatialimpute.errors import InputError
from spatialimpute.files.sealed import check_seal, sealed

SCHEMA_VERSION = "1"


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


def write_predictions(path: str | Path, predictions: Predictions) -> None:
    """Write predictions as AnnData: `X` the mean, `layers['sd']`, `var['fold']`."""
    about = {"schema_version": SCHEMA_VERSION, "method": predictions.method, "sample": predictions.sample}
    about |= {key: value for key in ("kappa", "place") if (value := getattr(predictions, key)) is not None}
    data = ad.AnnData(
        X=np.asarray(predictions.mean, dtype=np.float32),
        obs=pd.DataFrame(index=pd.Index(predictions.cells)),
        var=pd.DataFrame({"fold": pd.Categorical(predictions.fold)}, index=pd.Index(predictions.genes)),
        uns={"spatialimpute": about},
    )
    if predictions.sd is not None:
        data.layers["sd"] = np.asarray(predictions.sd, dtype=np.float32)
    with sealed(path) as partial:
        data.write_h5ad(partial)


def read_predictions(path: str | Path) -> Predictions:
    """Read a file of :func:`write_predictions`; raises InputError on another schema version, DamagedError on damage."""
    check_seal(path)
    data = ad.read_h5ad(path)
    about = dict(data.uns.get("spatialimpute", {}))
    if about.get("schema_version") != SCHEMA_VERSION:
        raise InputError(f"{path}: expected predictions of schema version {SCHEMA_VERSION}, found {about or 'none'}")
    return Predictions(
        mean=np.asarray(data.X),
        sd=np.asarray(data.layers["sd"]) if "sd" in data.layers else None,
        cells=data.obs_names.to_numpy(str),
        genes=data.var_names.to_numpy(str),
        fold=data.var["fold"].to_numpy(str),
        method=str(about["method"]),
        sample=str(about["sample"]),
        kappa=float(about["kappa"]) if "kappa" in about else None,
        place=int(about["place"]) if "place" in about else None,
    )


def read_folder(folder: str | Path, cells: Sequence[str], genes: Sequence[str]) -> list[Predictions]:
    """All predictions of a folder, by file name.

    Raises
    ------
    InputError
        Another schema version, or predictions that are not of these cells and genes, in this order.
    """
    found = []
    for path in sorted(Path(folder).glob("*.h5ad")):
        found.append(read_predictions(path))
        for what, ours, theirs in (("cells", cells, found[-1].cells), ("genes", genes, found[-1].genes)):
            if not np.array_equal(ours, theirs):
                raise InputError(
                    f"{path}: predictions of other {what} than the counts and the panel hold ({len(theirs)}, "
                    f"{len(ours)} expected, or in another order); make them again from these files"
                )
    return found
