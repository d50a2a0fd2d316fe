"""What a member sees: cells and their weights, scaling of the input, library priors, minibatches."""

import tracemalloc
from dataclasses import replace

import numpy as np
import pytest
import torch
from spatialimpute.errors import InputError
from spatialimpute.folds import fold_of
from spatialimpute.methods.gimvi.data import DeviceData, Member, TrainingData
from spatialimpute.methods.gimvi.minibatch import CsrTensor, gather
from spatialimpute.methods.gimvi.model import GimVI
from spatialimpute.methods.gimvi.order import CellOrder
from spatialimpute.methods.gimvi.settings import PRESETS, as_dict, resolve_settings
from spatialimpute.methods.knn import neighbors
from spatialimpute.technologies import LIKELIHOOD_BY_TECHNOLOGY
from tissue import SMALL, draw, with_noise

MEMBERS = [Member("0", 0.0, 0), Member("1", 0.0, 0), Member(None, 0.0, 1)]


@pytest.fixture(scope="module")
def tissue():
    return draw(batches=(2, 3), depths=(60, 12))


def log_normalized(counts, genes, depth):
    X = counts.select(genes).toarray().astype(float)
    return np.log1p(X / np.maximum(X.sum(1, keepdims=True), 1) * depth)


@pytest.mark.parametrize("reweight", [True, False])
@pytest.mark.parametrize("fold", ["0", None])
def test_view_against_loops(tissue, fold, reweight):
    references, spatial, gene_sets = tissue
    view = TrainingData(references, spatial, gene_sets, replace(SMALL, reweight=reweight)).view(fold)
    genes = fold_of(gene_sets, fold).in_use
    assert view.in_use.tolist() == [gene in genes for gene in gene_sets.shared]
    totals = [np.asarray(counts.select(genes).sum(1)).ravel() for counts in (references[0], spatial)]
    assert view.depth == np.median(totals[1][totals[1] > 0])
    for cells, total in zip(view.cells, totals, strict=True):
        assert cells.tolist() == np.flatnonzero(total > 0).tolist()
    weights = [np.ones(len(cells)) for cells in view.cells]
    if reweight:
        nearest = neighbors(references[0].select(genes)[view.cells[0]], spatial.select(genes)[view.cells[1]], k=50)
        use = np.bincount(nearest.ravel(), minlength=len(view.cells[0]))
        weights[0] = 0.5 + 0.5 * np.minimum(use / use.mean(), 10)
        np.testing.assert_allclose(view.weights[0], weights[0])
    else:
        assert view.weights == [None, None]
    columns = [gene_sets.shared.index(gene) for gene in genes]
    row = 0
    for counts, cells, weight in zip((references[0], spatial), view.cells, weights, strict=True):
        logs = log_normalized(counts, genes, view.depth)[cells]
        batch = counts.obs["batch"].to_numpy()[cells]
        for b in sorted(set(batch)):
            mean = np.average(logs[batch == b], axis=0, weights=weight[batch == b])
            sd = np.sqrt(np.average((logs[batch == b] - mean) ** 2, axis=0, weights=weight[batch == b]))
            np.testing.assert_allclose(view.mean[row, columns], mean, rtol=1e-4, atol=1e-5)
            np.testing.assert_allclose(view.sd[row, columns], sd + 0.01, rtol=1e-3, atol=1e-4)
            row += 1
    assert row == 5
    others = np.setdiff1d(np.arange(15), columns)
    assert not view.mean[:, others].any() and (view.sd[:, others] == 1).all()


def test_library_priors_are_each_batchs_moments(tissue):
    references, spatial, gene_sets = tissue
    data = TrainingData(references, spatial, gene_sets, replace(SMALL, latent_library=True))
    in_use = torch.tensor(np.stack([data.view(member.fold).in_use for member in MEMBERS]))
    model = GimVI(data.architecture(0, False), in_use)
    data.prepare(model, MEMBERS)
    assert list(model.library) == ["0"]  # the spatial side's is observed
    log_total = np.log(references[0].X.toarray().sum(1))
    for b, name in enumerate(["b0", "b1"]):
        inside = log_total[references[0].obs["batch"] == name]
        np.testing.assert_allclose(model.library["0"].prior_mean[:, b], inside.mean(), rtol=1e-5)
        np.testing.assert_allclose(model.library["0"].prior_var[:, b], inside.var(), rtol=1e-4)


@pytest.mark.parametrize("reweight", [True, False])
def test_cells_drawn_for_training(tissue, reweight):
    references, spatial, gene_sets = tissue
    data = TrainingData(references, spatial, gene_sets, replace(SMALL, reweight=reweight))
    if reweight:  # weights farther apart than this tissue's
        for member in MEMBERS:
            weights = data.view(member.fold).weights
            weights[0] = np.random.default_rng(0).gamma(1, 1, len(weights[0])) + 0.1
    device_data = DeviceData(data, MEMBERS, 0, torch.device("cpu"))
    again = DeviceData(data, MEMBERS[1:], 0, torch.device("cpu"))
    schedules = list(zip(*map(device_data.cells, range(40)), strict=True))
    of_fewer = list(zip(*map(again.cells, range(40)), strict=True))
    for s in range(2):
        schedule, held_out = torch.stack(schedules[s]), device_data.held_out[s]
        assert schedule.shape == (40, 3, 32) and held_out.shape == (3, 7)
        assert torch.equal(schedule[:, 1:], torch.stack(of_fewer[s]))
        assert torch.equal(held_out[1:], again.held_out[s])
        for m, member in enumerate(MEMBERS):
            allowed = set(data.view(member.fold).cells[s].tolist())
            drawn, kept = schedule[:, m].flatten().tolist(), set(held_out[m].tolist())
            assert set(drawn) <= allowed and kept <= allowed
            assert not set(drawn) & kept
            times = np.bincount(drawn, minlength=150)[sorted(allowed - kept)]
            if reweight and s == 0:
                weights = dict(zip(data.view(member.fold).cells[0], data.view(member.fold).weights[0], strict=True))
                expected = np.array([weights[cell] for cell in sorted(allowed - kept)])
                expected *= len(drawn) / expected.sum()
                assert ((times - expected) ** 2 / expected).mean() < 1.5  # chi-square per degree of freedom
                assert np.corrcoef(times, expected)[0, 1] > 0.8
            else:  # passes over all cells
                assert times.max() - times.min() <= 1


@pytest.mark.parametrize("weighted", [True, False])
@pytest.mark.parametrize("n_cells, size", [(2, 16), (50, 16), (50, 47), (1000, 16)])
def test_minibatches_are_cut_from_passes(n_cells, size, weighted):
    """Also where a minibatch is longer than a pass, and from whatever step one begins."""
    cells = np.arange(100, 100 + n_cells, dtype=np.int32)
    weights = np.random.default_rng(0).gamma(1, 1, n_cells) if weighted else None
    order = CellOrder(cells, weights, size, 10, (7, 0))
    length = n_cells - max(1, min(10, n_cells // 20))
    assert len(set(order.held_out)) == n_cells - length and len(order.held_out) == 10
    stream = np.concatenate([order.minibatch(step) for step in range(3 * length // size + 1)])
    assert stream.dtype == np.int32 and not set(stream) & set(order.held_out)
    passes = [stream[i * length : (i + 1) * length] for i in range(3)]
    if not weighted:
        assert all(sorted(cells_of_pass) == sorted(set(cells) - set(order.held_out)) for cells_of_pass in passes)
    if n_cells > 2:
        assert not np.array_equal(passes[0], passes[1])
    for step in (2, 0, 1):
        later = CellOrder(cells, weights, size, 10, (7, 0)).minibatch(step)
        np.testing.assert_array_equal(order.minibatch(step), later)
    other = CellOrder(cells, weights, size, 10, (7, 1))
    if n_cells > 2:
        assert not np.array_equal(other.minibatch(0), order.minibatch(0))


def test_a_cell_without_weight_is_never_drawn():
    order = CellOrder(np.arange(40, dtype=np.int32), np.arange(40) % 2.0, 400, 2, (0,))
    drawn = np.concatenate([order.minibatch(step) for step in range(5)])
    assert (drawn % 2 == 1).all() and len(set(drawn)) >= 18


def test_the_order_of_many_cells_is_one_pass_in_memory():
    """Whatever the number of steps: 200 epochs of a million cells would be 1.6 GB."""
    n_cells = 1_000_000
    tracemalloc.start()
    order = CellOrder(np.arange(n_cells, dtype=np.int32), None, 128, 256, (0,))
    for step in (0, 10_000, 1_000_000):
        assert len(order.minibatch(step)) == 128
    held, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert held < 9 * n_cells and peak < 20 * n_cells  # the cells themselves and a pass, 4 bytes each


def test_minibatch_against_dense(tissue):
    _, spatial, gene_sets = tissue
    matrix = spatial.select(gene_sets.shared)
    dense = torch.tensor(matrix.toarray())
    cells = torch.randint(0, 120, (2, 30), generator=torch.Generator().manual_seed(0))
    in_use = torch.ones(2, 15)
    in_use[1, ::2] = 0
    batch = torch.arange(120)
    for spatial_side in (True, False):
        minibatch = gather(CsrTensor(matrix), cells, batch, in_use, spatial_side)
        visible = dense[cells] * (in_use.unsqueeze(1) if spatial_side else 1)
        assert torch.equal(minibatch.counts.x, visible)
        assert torch.equal(minibatch.total, visible.sum(-1))
        assert torch.equal(minibatch.panel_total, (dense[cells] * in_use.unsqueeze(1)).sum(-1))
        assert torch.equal(minibatch.batch, cells)
        # The stored counts are the dense ones, and no nonzero one is missing.
        rebuilt = torch.zeros_like(visible).view(-1)
        rebuilt[minibatch.counts.flat] = minibatch.counts.value
        assert torch.equal(rebuilt.view_as(visible), visible)


def test_a_fold_without_counts_is_an_error():
    references, spatial, gene_sets = draw()
    silent = with_noise(spatial, fold_of(gene_sets, "2").in_use, mean=0)
    data = TrainingData(references, silent, gene_sets, SMALL)
    data.view(None)
    with pytest.raises(InputError, match="spatial: no cell has counts on the 10 panel genes in use"):
        data.view("2")


def test_settings_of_presets_and_overrides():
    assert resolve_settings("default") == PRESETS["default"]
    for technology, likelihood in LIKELIHOOD_BY_TECHNOLOGY.items():
        assert resolve_settings("paper", technology).spatial_likelihood == likelihood
    assert resolve_settings("paper", "something else").spatial_likelihood == "nb"
    assert resolve_settings("paper", spatial_likelihood="zinb").spatial_likelihood == "zinb"
    settings = resolve_settings("default", n_latent=7, seeds=None)
    assert settings == replace(PRESETS["default"], n_latent=7)
    assert as_dict(settings)["decoder_hidden"] == list(settings.decoder_hidden)
    with pytest.raises(InputError, match="'fast' is unknown; expected one of default, paper"):
        resolve_settings("fast")
    with pytest.raises(InputError, match="unknown training settings: n_layers"):
        resolve_settings("default", n_layers=2)
