"""The held-out convention, once: what a fold holds out, what stays in use, totals, and the cells that are scored."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pandas as pd
import scipy.sparse as sp

from spatialimpute.files.gene_sets import GeneSets

#: Cells from which a component's mean frequency per gene is measured before components are blended.
SCALE_CELLS = 4096


@dataclass(frozen=True)
class Fold:
    """Genes held out together; `name` None holds out none.

    Attributes
    ----------
    held_out : shared genes whose spatial counts nothing may see that predicts them
    in_use : the other shared genes; a cell's total, which predictions are relative to, is over these
    """

    name: str | None
    held_out: tuple[str, ...]
    in_use: tuple[str, ...]


def fold_of(gene_sets: GeneSets, name: str | None) -> Fold:
    """One fold by its name; None is the fold of the final models, which holds out nothing."""
    held_out = () if name is None else tuple(gene_sets.folds[name])
    out = set(held_out)
    return Fold(name, held_out, tuple(gene for gene in gene_sets.shared if gene not in out))


def in_use_mask(gene_sets: GeneSets, name: str | None) -> np.ndarray:
    """Which of the shared genes are in use in a fold, (P,) bool."""
    return np.isin(gene_sets.shared, fold_of(gene_sets, name).in_use)


def all_folds(gene_sets: GeneSets) -> list[Fold]:
    """Every fold, in the order of the file."""
    return [fold_of(gene_sets, name) for name in gene_sets.folds]


def held_out_genes(gene_sets: GeneSets) -> tuple[np.ndarray, np.ndarray]:
    """All held-out genes, fold after fold, and the fold of each: the columns of predictions, both (H,)."""
    pairs = [(gene, name) for name, genes in gene_sets.folds.items() for gene in genes]
    genes, folds = zip(*pairs, strict=True) if pairs else ((), ())
    return np.array(genes, dtype=str), np.array(folds, dtype=str)


def fold_columns(folds: np.ndarray) -> dict[str, slice]:
    """Fold -> its columns of an array of held-out genes, whose folds are given (H,); a fold's genes lie together."""
    where = {str(name): np.flatnonzero(folds == name) for name in dict.fromkeys(folds.tolist())}
    return {name: slice(int(columns[0]), int(columns[-1]) + 1) for name, columns in where.items()}


def cell_totals(counts: sp.csr_matrix) -> np.ndarray:
    """Counts of each cell over the genes in use, (n_cells,) float64; 0 where nothing is known of the cell."""
    return np.asarray(counts.sum(axis=1), dtype=np.float64).ravel()


def draw_scored_cells(obs: pd.DataFrame, n: int, seed: int) -> list[int] | None:
    """Indices of `n` cells, each batch with its share, ascending; None, which is all cells, where there are no more.

    Cross-validation predicts and scores these alone, so that its cost does not grow with the sample.

    Parameters
    ----------
    obs : the cells; `batch` where there are batches
    n : how many; 0 is all
    """
    if n == 0 or len(obs) <= n:
        return None
    batch = obs["batch"].astype(str).to_numpy() if "batch" in obs else np.zeros(len(obs), dtype=int)
    rng = np.random.default_rng(seed)
    order = np.argsort(rng.random(len(obs)))
    # Sorted by batch, then at random, every step-th cell: each batch gives its share, to within one cell.
    by_batch = order[np.argsort(batch[order], kind="stable")]
    chosen = by_batch[(np.arange(n) * len(obs)) // n]
    return sorted(int(cell) for cell in chosen)


def scored_cells(gene_sets: GeneSets, n_cells: int) -> np.ndarray:
    """Indices of the cells that cross-validation predicts and scores, (n_scored,), ascending."""
    return np.arange(n_cells) if gene_sets.scored_cells is None else np.array(gene_sets.scored_cells, dtype=np.int64)


def scale_cells(gene_sets: GeneSets, n_cells: int) -> np.ndarray:
    """At most SCALE_CELLS of the scored cells, evenly spaced: every component's means are measured on them."""
    cells = scored_cells(gene_sets, n_cells)
    return cells[np.unique(np.linspace(0, len(cells) - 1, SCALE_CELLS).astype(int))]


def blocks(n: int, size: int) -> Iterator[slice]:
    """Slices that cover range(n)."""
    for start in range(0, n, size):
        yield slice(start, min(start + size, n))
