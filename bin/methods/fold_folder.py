"""A fold as `spatialimpute.methods.external` writes it, for Python scripts of other environments: AnnData in, mean out.

Knows nothing of the package, which is not in those environments.
"""

import os
import sys
from dataclasses import dataclass
from pathlib import Path

THREAD_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS")
# Before numpy and torch are imported: their thread pools read the environment then.
FOLDER, THREADS, SEED = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
os.environ |= dict.fromkeys(THREAD_VARIABLES, sys.argv[2])

import anndata as ad  # noqa: E402
import numpy as np  # noqa: E402
import pandas as pd  # noqa: E402
import scipy.io  # noqa: E402


@dataclass
class Fold:
    """One fold.

    Attributes
    ----------
    spatial : cells x genes in use, raw counts; `obsm['spatial']` where there are places
    reference : all references' cells x their common genes, raw counts; those without counts on the genes in use are
        left out
    in_use : the genes in use; a prediction is relative to a cell's total over them
    targets : genes to predict; those that some reference lacks are in none
    cells : rows of `spatial` to predict
    """

    spatial: ad.AnnData
    reference: ad.AnnData
    in_use: list[str]
    targets: list[str]
    cells: np.ndarray


def read_fold() -> Fold:
    """The fold of the folder that is the script's first argument."""
    spatial = _read_side("spatial")
    names = sorted(FOLDER.glob("reference*.mtx"), key=lambda path: int(path.stem.removeprefix("reference")))
    references = [_read_side(path.stem) for path in names]
    reference = ad.concat(references, join="inner", index_unique="-") if len(references) > 1 else references[0]
    in_use = list(spatial.var_names)
    counted = np.asarray(reference[:, in_use].X.sum(axis=1)).ravel() > 0
    cells = np.loadtxt(FOLDER / "cells.txt", dtype=int, ndmin=1) - 1
    return Fold(spatial, reference[counted].copy(), in_use, (FOLDER / "targets.txt").read_text().splitlines(), cells)


def _read_side(name: str) -> ad.AnnData:
    X = scipy.io.mmread(FOLDER / f"{name}.mtx").tocsr().astype(np.float32)
    obs = pd.read_csv(FOLDER / f"{name}_cells.tsv", sep="\t", dtype={"batch": str, "celltype": str})
    obs.index = [f"{name}_{i}" for i in range(len(obs))]
    genes = (FOLDER / f"{name}_genes.txt").read_text().splitlines()
    data = ad.AnnData(X, obs=obs, var=pd.DataFrame(index=genes))
    places = [axis for axis in "xyz" if axis in obs]
    if places:
        data.obsm["spatial"] = obs[places].to_numpy()
    return data


def write_mean(fold: Fold, mean: np.ndarray) -> None:
    """Write the prediction of `fold.cells` x `fold.targets`, relative to a cell's total over the genes in use."""
    assert mean.shape == (len(fold.cells), len(fold.targets)), mean.shape
    scipy.io.mmwrite(FOLDER / "mean.mtx", np.asarray(mean, dtype=np.float64), precision=7)
