"""What the peers' scripts share: arguments, one fold's matrices, the predictions file, clocks.

A peer's script predicts the held-out genes of one fold of one pair in the peers' environment and writes
`predictions.npz`: `mean` (cells x held-out genes, relative to the panel total of the genes in use), `cells`,
`genes`, `seconds` (wall) and `cpu_seconds` of the fit and prediction, and whatever else the peer can tell.
Scores are computed elsewhere, by the same code for every method.
"""

import argparse
import json
import os
import time
from dataclasses import dataclass
from pathlib import Path

import anndata as ad
import numpy as np


def arguments(description: str, **extra: dict) -> argparse.Namespace:
    """Parse the common arguments and `extra` ({name: add_argument's keywords}) and limit the threads.

    To be called before torch or scikit-learn are imported: the thread pools read the environment then.
    """
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--spatial", required=True, help="raw spatial counts, h5ad")
    parser.add_argument("--reference", required=True, help="raw reference counts, h5ad")
    parser.add_argument("--folds", required=True, help="JSON {pair: {folds: [[gene, ...], ...]}}")
    parser.add_argument("--pair", required=True)
    parser.add_argument("--fold", type=int, required=True)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", required=True)
    for name, keywords in extra.items():
        parser.add_argument(f"--{name}", **keywords)
    options = parser.parse_args()
    for variable in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS"):
        os.environ[variable] = str(options.threads)
    return options


@dataclass
class Fold:
    """One fold: `spatial` holds the panel genes in use alone, `reference` all of its genes."""

    spatial: ad.AnnData
    reference: ad.AnnData
    panel: list[str]
    held_out: list[str]


def load_fold(options: argparse.Namespace) -> Fold:
    """Read a pair's counts and leave the fold's genes out of the spatial side.

    Flagged duplicates are dropped, and on both sides the cells without counts on the panel genes in use.
    """
    folds = json.loads(Path(options.folds).read_text())[options.pair]["folds"]
    held_out = folds[options.fold]
    panel = [gene for k, fold in enumerate(folds) if k != options.fold for gene in fold]
    spatial, reference = ad.read_h5ad(options.spatial), ad.read_h5ad(options.reference)
    if "is_duplicate" in spatial.obs:
        spatial = spatial[~spatial.obs["is_duplicate"].to_numpy(bool)]
    spatial = spatial[:, panel]
    kept_spatial = np.asarray(spatial.X.sum(axis=1)).ravel() > 0
    kept_reference = np.asarray(reference[:, panel].X.sum(axis=1)).ravel() > 0
    return Fold(spatial[kept_spatial].copy(), reference[kept_reference].copy(), panel, held_out)


class Clock:
    """Wall and processor time since the start, the time inside `pause` not counted."""

    def __init__(self):
        self._wall, self._cpu = time.perf_counter(), time.process_time()

    def read(self) -> tuple[float, float]:
        return time.perf_counter() - self._wall, time.process_time() - self._cpu

    def __enter__(self):  # the clock stands still in a `with` block
        self._paused = self.read()
        return self

    def __exit__(self, *_):
        wall, cpu = self.read()
        self._wall += wall - self._paused[0]
        self._cpu += cpu - self._paused[1]


def write(options: argparse.Namespace, fold: Fold, mean: np.ndarray, clock: tuple[float, float], **more):
    """Write the predictions; `clock` is (wall, processor) seconds."""
    out = Path(options.out)
    out.parent.mkdir(parents=True, exist_ok=True)
    np.savez_compressed(
        out,
        mean=np.asarray(mean, np.float32),
        cells=fold.spatial.obs_names.to_numpy(str),
        genes=np.asarray(fold.held_out),
        seconds=clock[0],
        cpu_seconds=clock[1],
        **more,
    )
    print(f"{options.pair} fold {options.fold}: {clock[0]:.1f} s wall, {clock[1]:.1f} s processor")
