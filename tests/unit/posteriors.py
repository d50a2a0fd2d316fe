"""Final models of a small tissue, the posterior that they have of it, and all its draws."""

from dataclasses import replace

import numpy as np
import scipy.sparse as sp
from spatialimpute.ensemble import Blend, Recipe, fit_blend
from spatialimpute.imputation.blocks import Posterior
from spatialimpute.imputation.reducers import Reducer, Summarize
from spatialimpute.methods.gimvi.data import Member
from spatialimpute.methods.gimvi.posterior import mean_frequencies
from tissue import draw

FINAL = [Member(None, 0.0, 0), Member(None, 0.0, 1), Member(None, 0.0, 2, 8)]
NAMES = ("mean", "sd", "lower", "upper")


def draw_with_silent_cells(**tissue):
    """References, spatial, gene sets; spatial cells 3 and 7 have no counts."""
    references, spatial, gene_sets = draw(**{"depths": (60, 12), **tissue})
    X = spatial.X.tolil()
    X[[3, 7]] = 0
    return references, replace(spatial, X=X.tocsr()), gene_sets


class Made:
    """Another method, whose estimate is some function of a cell's counts."""

    def __init__(self, n_panel: int, targets: list[str], seed: int = 0):
        self.targets, self.matrix = targets, np.random.default_rng(seed).gamma(1, 1, (n_panel, len(targets)))

    def estimate(self, counts: sp.csr_matrix, genes) -> np.ndarray:
        return np.log1p(counts @ self.matrix)[:, [self.targets.index(gene) for gene in genes]].astype(np.float32)


def made_blend(stacks, spatial, gene_sets, others=None, recipe=None) -> Blend:
    """The blend of the targets, with factors measured on all cells."""
    counts = spatial.select(gene_sets.shared)
    estimates = {
        name: method.estimate(counts, gene_sets.targets).mean(axis=0) for name, method in (others or {}).items()
    }
    means = mean_frequencies(stacks, spatial, gene_sets, gene_sets.targets)
    return fit_blend(means, estimates, recipe or Recipe())


def make_posterior(stacks, spatial, gene_sets, n_samples=5, seed=0, others=None, recipe=None, **more):
    """As the pipeline makes it."""
    blend = made_blend(stacks, spatial, gene_sets, others, recipe)
    return Posterior(stacks, spatial, gene_sets, blend, others or {}, n_samples, seed, **more)


class Stored(Reducer):
    """All draws, (n, N, G), NaN for cells in no block."""

    def __init__(self, posterior):
        self.draws = np.full((posterior.n_draws, len(posterior.totals), posterior.n_genes), np.nan, dtype=np.float32)
        self.blocks = []

    def update(self, block):
        self.draws[:, block.rows, block.genes] = block.draws.numpy()
        self.blocks.append((block.rows, block.genes))

    def result(self):
        return self.draws


def reduce(posterior, *reducers):
    """What reducers make of all draws."""
    for block in posterior.blocks(slice(0, len(posterior.totals))):
        for reducer in reducers:
            reducer.update(block)
    return [reducer.result() for reducer in reducers]


def all_draws(posterior) -> np.ndarray:
    return reduce(posterior, Stored(posterior))[0]


def summary_of(posterior, interval=0.9):
    rows = slice(0, len(posterior.totals))
    return reduce(posterior, Summarize(rows, posterior.n_genes, interval))[0]


def repeated(spatial, n):
    """`n` cells, those of `spatial` again and again."""
    cells = spatial.take(np.arange(n) % len(spatial.cells))
    names = np.array([f"c{i}" for i in range(n)])
    return replace(cells, cells=names, obs=cells.obs.set_axis(names))
