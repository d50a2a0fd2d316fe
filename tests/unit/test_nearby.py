"""What the graph adds to draws: the estimator of EVALUATE, the bits of the whole in ranges, nothing where no share."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from posteriors import FINAL, NAMES, Made, all_draws, draw_with_silent_cells, made_blend, make_posterior, repeated
from samples import with_depth, write_sample
from spatialimpute.ensemble import Blend, Recipe, blend_moments, member_estimates
from spatialimpute.files.blend import write_blend
from spatialimpute.files.graph import write_graph
from spatialimpute.folds import fold_of, scored_cells
from spatialimpute.graph import cell_graph
from spatialimpute.imputation import nearby as nearby_module
from spatialimpute.imputation.blocks import BLOCK_CELLS, Posterior
from spatialimpute.imputation.models import GRAPH, FinalModels
from spatialimpute.imputation.nearby import Nearby
from spatialimpute.imputation.rows import impute_rows
from spatialimpute.methods.base import SpatialView
from spatialimpute.methods.gimvi.blending import final_blend
from spatialimpute.methods.gimvi.data import TrainingData
from spatialimpute.methods.gimvi.saving import save
from spatialimpute.methods.gimvi.support import Support
from spatialimpute.methods.gimvi.training import train
from spatialimpute.methods.registry import find_method
from tissue import SMALL

RECIPE = Recipe({"knn": 0.2, "linear": 0.1}, 0.4, 0.1)
TISSUES = {"one batch": {}, "batches": {"batches": (1, 3)}}


@pytest.fixture(scope="module", params=TISSUES)
def tissue(request):
    return draw_with_silent_cells(**TISSUES[request.param])


@pytest.fixture(scope="module")
def stacks(tissue):
    references, spatial, gene_sets = tissue
    return train(TrainingData(references, spatial, gene_sets, replace(SMALL, max_steps=100)), FINAL)


def graph_of(spatial, gene_sets):
    view, known = SpatialView.of(spatial, fold_of(gene_sets, None))
    n_cells = len(spatial.cells)
    return view, known, cell_graph(view, known, n_cells, scored_cells(gene_sets, n_cells))


@pytest.fixture
def final(tissue, stacks, tmp_path):
    """The sample's inputs, of which a third of the cells is scored, and the final models as TRAIN leaves them."""
    references, spatial, gene_sets = tissue
    gene_sets = replace(gene_sets, scored_cells=list(range(1, 120, 3)))
    inputs = write_sample(tmp_path / "inputs", references, spatial, gene_sets)
    view, known, graph = graph_of(spatial, gene_sets)
    save(stacks, tmp_path / "models", gene_sets, SMALL)
    blend, learned = final_blend(stacks, spatial, view, known, with_depth(references), gene_sets, RECIPE)
    write_blend(tmp_path / "models", blend, gene_sets.targets, learned)
    write_graph(tmp_path / "models" / GRAPH, graph)
    return inputs, FinalModels.read(tmp_path / "models", gene_sets)


def posterior_of(final, first=0, stop=None, n_samples=6):
    inputs, models = final
    spatial = inputs.spatial(slice(first, stop))
    return models.posterior(inputs, spatial, first, inputs.references(), n_samples, 0, torch.device("cpu"))


def restored(final):
    """The other methods, as they are stored."""
    inputs, models = final
    others = {name: find_method(name)() for name in models.blend.weights}
    for name, method in others.items():
        method.prepare(inputs.references())
        method.restore(models.learned[name], inputs.gene_sets.shared)
    return others


def plain_draws(models, inputs, n_samples):
    """Draws of each member alone, (M, n, N, G)."""
    gene_sets = inputs.gene_sets
    blend = Blend(np.ones((3, len(gene_sets.targets)), np.float32))
    draws = all_draws(Posterior(models.stacks, inputs.spatial(), gene_sets, blend, {}, n_samples, 0))
    return draws.reshape(3, n_samples, *draws.shape[1:])


# ---- one estimator ----


@pytest.mark.parametrize("block_floats", [nearby_module.BLOCK_FLOATS, 5_000])
def test_moments_of_the_draws_are_those_of_the_estimate(final, block_floats, monkeypatch):
    """IMPUTE draws what EVALUATE computes from members' moments, if anchors are drawn as often as cells."""
    monkeypatch.setattr(nearby_module, "N_DRAWS", 6)
    monkeypatch.setattr(nearby_module, "BLOCK_FLOATS", block_floats)
    inputs, models = final
    assert models.blend.recipe == RECIPE and len(models.graph.anchors) > 30
    found = all_draws(posterior_of(final))
    plain = plain_draws(models, inputs, 6)
    means, sds = plain.mean(axis=1), plain.std(axis=1)
    counts = inputs.spatial().select(inputs.gene_sets.shared)
    others = {name: method.estimate(counts, inputs.gene_sets.targets) for name, method in restored(final).items()}
    anchors = models.graph.anchors
    own = member_estimates(means[:, anchors], {name: one[anchors] for name, one in others.items()}, models.blend)
    near = models.graph.average(np.arange(120), 0.4, 0.1)
    nearby = np.stack([near @ of_member for of_member in own])
    mean, sd = blend_moments(means, sds, others, models.blend, nearby)
    known = np.asarray(counts.sum(axis=1)).ravel() > 0
    assert not known[[3, 7]].any() and np.isnan(found[:, ~known]).all()
    np.testing.assert_allclose(found.mean(axis=0)[known], mean[known], rtol=1e-4)
    np.testing.assert_allclose(found.std(axis=0)[known], sd[known], rtol=1e-3, atol=1e-7)
    alone, _ = blend_moments(means, sds, others, models.blend)
    assert np.abs(mean / (2 * alone) - 1)[known].max() > 0.1  # the graph does something to it


def test_each_draw_keeps_its_own_share(final):
    """Draws differ from one another as they do without the graph, times the share that is the cell's own."""
    inputs, models = final
    found = all_draws(posterior_of(final)).reshape(3, 6, 120, -1)
    scale = models.blend.member_scales[:, None, None] * models.blend.member_weight
    expected = 0.5 * scale * plain_draws(models, inputs, 6)
    np.testing.assert_allclose(found - found[:, :1], expected - expected[:, :1], rtol=1e-2, atol=1e-6)


def test_few_draws_tell_an_anchors_mean(final, monkeypatch):
    """A cell averages over so many that the number of draws of each changes little of what it gets."""
    inputs, models = final
    anchors = inputs.spatial(models.graph.anchors)

    def nearby(n_draws):
        monkeypatch.setattr(nearby_module, "N_DRAWS", n_draws)
        given = (models.stacks, models.blend, restored(final), models.graph, anchors, inputs.gene_sets)
        return Nearby.of(*given, 0, torch.device("cpu")).of_cells(np.arange(120))

    few, more, exact = nearby(nearby_module.N_DRAWS), nearby(25 * nearby_module.N_DRAWS), nearby(2000)
    unknown = np.flatnonzero(~exact.any(axis=(0, 2)))
    assert set(unknown) >= {3, 7} and not few[:, unknown].any()
    few, more, exact = (np.delete(values, unknown, axis=1) for values in (few, more, exact))
    errors = [np.abs(values / exact - 1).mean() for values in (few, more)]
    assert errors[0] < 0.04 and errors[1] < errors[0] / 2


# ---- ranges ----


def test_ranges_give_the_bits_of_the_whole(tissue, stacks):
    references, few, gene_sets = tissue
    spatial = repeated(few, 3 * BLOCK_CELLS + 100)
    spatial.coords = np.random.default_rng(0).random((len(spatial.cells), 2))
    gene_sets = replace(gene_sets, scored_cells=list(range(0, len(spatial.cells), 7)))
    _, _, graph = graph_of(spatial, gene_sets)
    others = {"knn": Made(15, gene_sets.targets)}
    blend = made_blend(stacks, few, gene_sets, others, Recipe({"knn": 0.2}, 0.4, 0.1))
    support = Support.of(stacks[0], references, gene_sets)

    def impute(start, stop):
        cells = spatial.take(np.arange(start, stop))
        anchors = spatial.take(graph.anchors)
        nearby = Nearby.of(stacks, blend, others, graph, anchors, gene_sets, 0, torch.device("cpu"))
        posterior = Posterior(stacks, cells, gene_sets, blend, others, 4, 0, first=start, nearby=nearby)
        return impute_rows(posterior, support, slice(0, stop - start), 0.9)

    whole = impute(0, len(spatial.cells))
    edges = [0, BLOCK_CELLS, 3 * BLOCK_CELLS, len(spatial.cells)]
    parts = [impute(start, stop) for start, stop in zip(edges[:-1], edges[1:], strict=True)]
    for name in NAMES:
        assert np.concatenate([part.values[name] for part in parts]).tobytes() == whole.values[name].tobytes()
    assert np.isfinite(whole.values["mean"]).mean() > 0.9


# ---- no share ----


def test_no_share_of_the_graph_is_no_graph(tissue, stacks):
    _, spatial, gene_sets = tissue
    _, _, graph = graph_of(spatial, gene_sets)
    blend = made_blend(stacks, spatial, gene_sets)
    assert blend.recipe.own == 1
    anchors = spatial.take(graph.anchors)
    nothing = Nearby.of(stacks, blend, {}, graph, anchors, gene_sets, 0, torch.device("cpu"))
    assert not nothing.of_cells(np.arange(120)).any()
    with_it, without = (make_posterior(stacks, spatial, gene_sets, nearby=one) for one in (nothing, None))
    assert all_draws(with_it).tobytes() == all_draws(without).tobytes()


def test_a_graph_without_share_is_not_read(tissue, stacks, tmp_path):
    _, _, gene_sets = tissue
    save(stacks, tmp_path, gene_sets, SMALL)
    write_blend(tmp_path, Blend(np.ones((3, 24), np.float32)), gene_sets.targets, {})
    assert FinalModels.read(tmp_path, gene_sets).graph is None
    write_blend(tmp_path, Blend(np.ones((3, 24), np.float32), Recipe({}, 0.2, 0.0)), gene_sets.targets, {})
    with pytest.raises(FileNotFoundError):
        FinalModels.read(tmp_path, gene_sets)
