"""Simulated tissue, where the truth of every gene is known: imputation finds it, better than every baseline."""

from dataclasses import replace

import numpy as np
import pytest
from samples import write_sample
from spatialimpute.ensemble import Recipe, fit_blend
from spatialimpute.evaluation.evaluate import evaluate
from spatialimpute.evaluation.fold_graphs import FoldGraphs
from spatialimpute.evaluation.metrics import spearman_partial
from spatialimpute.evaluation.recipe import GRID
from spatialimpute.evaluation.truth import Truth
from spatialimpute.files.gene_sets import GeneSets
from spatialimpute.files.predictions import open_folder, write_predictions
from spatialimpute.folds import all_folds, fold_of
from spatialimpute.genes import draw_folds
from spatialimpute.imputation.blocks import Posterior
from spatialimpute.imputation.reducers import Summarize
from spatialimpute.methods.base import SpatialView
from spatialimpute.methods.gimvi.data import TrainingData
from spatialimpute.methods.gimvi.method import ensemble
from spatialimpute.methods.gimvi.posterior import held_out_predictions, mean_frequencies
from spatialimpute.methods.gimvi.settings import PRESETS
from spatialimpute.methods.gimvi.training import train
from spatialimpute.methods.registry import find_method
from spatialimpute.simulation.tissue import Tissue
from tissue import make_counts

BASELINES = ("knn", "linear", "celltype", "total")
N_CELLS, N_GENES, N_PANEL = 1000, 240, 80
SETTINGS = replace(PRESETS["default"], max_steps=500)


class World:
    """A spatial section and a reference of one tissue, and the true frequencies of all genes in the section."""

    def __init__(self, seed=0):
        tissue = Tissue(N_GENES, N_PANEL, seed)
        self.genes = [*tissue.genes[tissue.panel], *np.delete(tissue.genes, tissue.panel)]
        rng = np.random.default_rng([seed, 10])
        cells = tissue.cells(N_CELLS, rng, tissue.share, N_CELLS)
        counts = tissue.spatial_counts(cells, rng)[:, :N_PANEL]
        self.spatial = replace(make_counts(counts, self.genes[:N_PANEL], "spatial"), coords=cells.coords)
        self.truth = tissue.frequencies(cells)[:, [list(tissue.genes).index(gene) for gene in self.genes]]
        rng = np.random.default_rng([seed, 11])
        cells = tissue.cells(N_CELLS, rng, tissue.reference_share, N_CELLS)
        counts = tissue.reference_counts(cells, rng)
        self.reference = make_counts(
            counts, tissue.genes, "reference", celltype=cells.celltype, depth=counts.sum(1).astype(float)
        )
        shared = self.genes[:N_PANEL]
        folds = draw_folds(shared, [self.reference], 5, 0)
        self.gene_sets = GeneSets(self.genes, shared, [], self.genes, folds)

    def data(self):
        return TrainingData([self.reference], self.spatial, self.gene_sets, SETTINGS)

    def total(self, fold=None):
        return np.asarray(self.spatial.select(fold_of(self.gene_sets, fold).in_use).sum(1)).ravel()

    def score(self, frequencies, genes, total):
        """Partial rank correlation of the truth and a prediction, (genes,)."""
        columns = [self.genes.index(gene) for gene in genes]
        return spearman_partial(self.truth[total > 0][:, columns], frequencies[total > 0], total[total > 0])

    def held_out_scores(self, frequencies_of):
        """Of a function from a fold to the frequencies of its held-out genes, (N, H) each."""
        return np.concatenate(
            [
                self.score(frequencies_of(fold), fold.held_out, self.total(fold.name))
                for fold in all_folds(self.gene_sets)
            ]
        )

    def baseline(self, name, fold, genes):
        """Frequencies (N, genes) by a baseline that knows the genes in use in a fold."""
        view, known = SpatialView.of(self.spatial, fold)
        method = find_method(name)()
        method.prepare([self.reference])
        method.fit(view)
        out = np.full((N_CELLS, len(genes)), np.nan)
        out[known] = method.predict(np.arange(len(known)), genes)
        return out


@pytest.fixture(scope="module")
def world():
    return World()


@pytest.fixture(scope="module")
def imputed(world):
    """The ensemble's mean, lower and upper frequencies, each (N, G)."""
    stacks = train(world.data(), ensemble(SETTINGS, {None: 0.0}, range(SETTINGS.seeds)))
    means = mean_frequencies(stacks, world.spatial, world.gene_sets, world.genes)
    posterior = Posterior(stacks, world.spatial, world.gene_sets, fit_blend(means, {}, Recipe()), {}, 50, 0)
    summarize = Summarize(slice(0, N_CELLS), N_GENES, 0.9)
    for block in posterior.blocks(slice(0, N_CELLS)):
        summarize.update(block)
    summary, total = summarize.result(), world.total()[:, None]
    assert (total > 0).all()
    return [values / total for values in (summary.mean, summary.lower, summary.upper)]


@pytest.fixture(scope="module")
def member(world):
    """Held-out genes by one member."""
    stacks = train(world.data(), ensemble(SETTINGS, dict.fromkeys(world.gene_sets.folds, 0.0), range(1)))
    (prediction,) = held_out_predictions(stacks, world.spatial, np.arange(N_CELLS), world.gene_sets, "s", 20, 0)
    return prediction


def of_folds(world, prediction):
    return world.held_out_scores(lambda fold: prediction.mean[:, prediction.fold == fold.name])


def test_held_out_genes_are_found_better_than_by_every_baseline(world, member, tmp_path):
    """By the estimate that is made of one member, shares of the baselines, and the graph of cells."""
    inputs = write_sample(tmp_path / "inputs", [world.reference], world.spatial, world.gene_sets)
    others = [find_method(name)().predict_folds(inputs, "s")[0] for name in GRID]
    for one in [member, *others]:
        write_predictions(tmp_path / f"{one.method}.h5ad", one)
    truth = Truth(inputs)
    files, kappas = open_folder(tmp_path, truth.cells, truth.genes), dict.fromkeys(truth.folds, 0.0)
    evaluation = evaluate(files, 0.0, kappas, truth, tuple(GRID), FoldGraphs(inputs).of)
    ours = of_folds(world, evaluation.prediction)
    assert ours.mean() > 0.5
    for name in BASELINES:
        theirs = world.held_out_scores(lambda fold, name=name: world.baseline(name, fold, fold.held_out))
        assert ours.mean() > theirs.mean() + 0.05, f"{name}: {theirs.mean():.3f}, ours {ours.mean():.3f}"
        assert np.median(ours - theirs) > 0.02, name

    def of_parts(**parts):
        return of_folds(world, evaluate(files, 0.0, kappas, truth, **parts).prediction).mean()

    assert of_parts(blend=tuple(GRID)) < ours.mean() - 0.01
    # Where cells follow the model, as simulated ones do, the other methods have nothing to add; the prior that keeps
    # them in may cost little.
    assert of_parts(graph=FoldGraphs(inputs).of) < ours.mean() + 0.02


def test_one_member_alone_finds_them_better_than_their_neighbors_do(world, member):
    ours = of_folds(world, member)
    assert ours.mean() > 0.42
    for name in ("knn", "linear", "total"):
        theirs = world.held_out_scores(lambda fold, name=name: world.baseline(name, fold, fold.held_out))
        assert ours.mean() > theirs.mean() + 0.03 and np.median(ours - theirs) > 0, name


def test_genes_never_measured_are_found_better_than_by_every_baseline(world, imputed):
    genes = world.genes[N_PANEL:]
    ours = world.score(imputed[0][:, N_PANEL:], genes, world.total())
    assert ours.mean() > 0.45
    for name in BASELINES:
        theirs = world.score(world.baseline(name, fold_of(world.gene_sets, None), genes), genes, world.total())
        assert ours.mean() > theirs.mean() + 0.1, f"{name}: {theirs.mean():.3f}, gimVI {ours.mean():.3f}"
        assert np.mean(ours > theirs) > 0.75, name


def test_intervals_cover_the_truth(world, imputed):
    """Up to each gene's efficiency in the spatial technology, which nothing could tell for an unmeasured gene."""
    mean, lower, upper = imputed
    truth = world.truth * (mean.mean(0) / world.truth.mean(0))
    inside = (lower <= truth) & (truth <= upper)
    for part in (slice(0, N_PANEL), slice(N_PANEL, None)):
        assert 0.82 < inside[:, part].mean() < 0.98
    # They follow the cell: intervals of other cells cover far less.
    others = np.roll(np.arange(N_CELLS), 1)
    assert ((lower <= truth[others]) & (truth[others] <= upper)).mean() < inside.mean() - 0.1
