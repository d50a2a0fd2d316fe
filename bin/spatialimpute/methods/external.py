"""A method in another language or environment: it gets a fold as a folder of text files, and leaves a prediction.

    spatial.mtx            cells x genes in use, raw counts (Matrix Market, coordinates)
    spatial_genes.txt      names of its columns
    spatial_cells.tsv      a row per row of it: `batch`, and `x`, `y`[, `z`] where there are places
    reference1.mtx …       cells x modeled genes, raw counts
    reference1_genes.txt   names of its columns
    reference1_cells.tsv   a row per row of it: `depth`, `batch`, `celltype` (the last two may be empty)
    targets.txt            genes to predict
    cells.txt              rows of spatial.mtx to predict, from 1

It is called as `<command> <folder> <threads> <seed>` and writes `mean.mtx` (Matrix Market, array): the rows of
cells.txt x targets.txt, frequencies relative to a cell's total over the genes in use.
"""

import os
import shlex
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import scipy.sparse as sp
from scipy.io import mmread, mmwrite

from spatialimpute.errors import InputError, MethodError
from spatialimpute.files.counts import Counts
from spatialimpute.files.inputs import DEPTH
from spatialimpute.methods.base import MethodByFold, SpatialView

SCRIPTS = Path(__file__).parents[2] / "methods"
#: Lines of a method's last words that an error repeats.
LAST_WORDS = 5
#: How a process ends that SIGKILL ended, and one whose own child it ended.
KILLED = (-9, 128 + 9)


class External(MethodByFold):
    """A method of `bin/methods`, run fold by fold.

    Parameters
    ----------
    name : its name in the results
    command : interpreter and script, `Rscript knn.R`; the script is one of bin/methods unless its path is given
    threads, seed : handed to it

    Raises
    ------
    InputError
        The command is not two words.
    MethodError
        There is no such interpreter or script, it fails, or what it leaves is no prediction.
    MemoryError
        It was killed, as the system does where memory runs out.
    """

    def __init__(self, name: str, command: str, threads: int = 1, seed: int = 0):
        self.name, self.threads, self.seed = name, threads, seed
        try:
            interpreter, script = shlex.split(command)
        except ValueError:
            raise InputError(f"{name}: expected an interpreter and a script, found the command {command!r}") from None
        self.interpreter = shutil.which(interpreter)
        if self.interpreter is None:
            raise MethodError(f"{name}: there is no {interpreter!r} here; set up the method's environment")
        self.script = SCRIPTS / script
        if not self.script.exists():
            raise MethodError(f"{name}: {self.script}: no such script")

    def prepare(self, references: Sequence[Counts]) -> None:
        super().prepare(references)
        self._references = tempfile.TemporaryDirectory(prefix=f"{self.name}-")
        for i, reference in enumerate(references, start=1):
            cells = reference.obs.reindex(columns=[DEPTH, "batch", "celltype"])
            write_side(Path(self._references.name), f"reference{i}", reference.X, reference.genes, cells)

    def fit(self, view: SpatialView) -> None:
        self._view = view

    def predict_blocks(self, cells: np.ndarray, genes: Sequence[str]) -> np.ndarray:
        """All cells at once: a method that learns as it predicts would otherwise learn again for every block."""
        return self.predict(cells, genes)

    def predict(self, cells: np.ndarray, genes: Sequence[str]) -> np.ndarray:
        with tempfile.TemporaryDirectory(prefix=f"{self.name}-") as name:
            folder = Path(name)
            for path in Path(self._references.name).iterdir():
                (folder / path.name).symlink_to(path)
            self._write(folder, cells, genes)
            self._run(folder)
            return self._read(folder, (len(cells), len(genes)))

    def _write(self, folder: Path, cells: np.ndarray, genes: Sequence[str]) -> None:
        view = self._view
        places = {} if view.coords is None else dict(zip("xyz", view.coords.T, strict=False))
        table = pd.DataFrame({"batch": view.batch, **places})
        write_side(folder, "spatial", view.counts, view.genes, table)
        (folder / "targets.txt").write_text("".join(f"{gene}\n" for gene in genes))
        (folder / "cells.txt").write_text("".join(f"{cell + 1}\n" for cell in cells))

    def _run(self, folder: Path) -> None:
        threads = str(self.threads)
        names = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS")
        done = subprocess.run(
            [self.interpreter, str(self.script), str(folder), threads, str(self.seed)],
            cwd=folder, env=os.environ | dict.fromkeys(names, threads), capture_output=True, text=True, check=False,
        )  # fmt: skip
        if done.returncode in KILLED:
            raise MemoryError(f"{self.name}: {self.script.name} was killed")
        if done.returncode != 0:
            words = (done.stderr.strip() or done.stdout.strip() or "no message").splitlines()[-LAST_WORDS:]
            raise MethodError(f"{self.name}: {self.script.name} ended with {done.returncode}: " + "\n".join(words))

    def _read(self, folder: Path, shape: tuple[int, int]) -> np.ndarray:
        if not (folder / "mean.mtx").exists():
            raise MethodError(f"{self.name}: {self.script.name} left no mean.mtx")
        try:
            mean = np.asarray(mmread(folder / "mean.mtx"), dtype=np.float32)
        except (ValueError, TypeError) as error:
            raise MethodError(
                f"{self.name}: mean.mtx of {self.script.name} is not a Matrix Market array: {error}"
            ) from None
        if mean.shape != shape:
            raise MethodError(f"{self.name}: {self.script.name} predicts {mean.shape}, expected (cells, genes) {shape}")
        if not np.isfinite(mean).all() or (mean < 0).any():
            raise MethodError(f"{self.name}: {self.script.name} predicts values that are negative or not finite")
        return mean


def write_side(folder: Path, name: str, X: sp.csr_matrix, genes: Sequence[str], cells: pd.DataFrame) -> None:
    """Counts, gene names and cells of one dataset."""
    mmwrite(folder / f"{name}.mtx", X.astype(np.int64), field="integer", symmetry="general")
    (folder / f"{name}_genes.txt").write_text("".join(f"{gene}\n" for gene in genes))
    cells.to_csv(folder / f"{name}_cells.tsv", sep="\t", index=False)
