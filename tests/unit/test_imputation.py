"""Draws that belong to cells, moments and quantiles against stored draws, shares, unknown cells, memory."""

import gc
import threading
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from posteriors import (
    FINAL,
    NAMES,
    Made,
    Stored,
    draw_with_silent_cells,
    make_posterior,
    reduce,
    repeated,
    summary_of,
)
from spatialimpute.ensemble import Recipe, fit_blend
from spatialimpute.imputation import blocks as imputation
from spatialimpute.imputation.blocks import BLOCK_CELLS, Posterior
from spatialimpute.imputation.reducers import Summarize, quantiles
from spatialimpute.imputation.rows import impute_rows
from spatialimpute.methods.gimvi.data import TrainingData
from spatialimpute.methods.gimvi.draws import posterior_draws
from spatialimpute.methods.gimvi.posterior import StackSampler, mean_frequencies
from spatialimpute.methods.gimvi.support import Support
from spatialimpute.methods.gimvi.training import train
from tissue import SMALL, draw


@pytest.fixture(scope="module")
def tissue():
    return draw_with_silent_cells()


@pytest.fixture(scope="module")
def stacks(tissue):
    references, spatial, gene_sets = tissue
    return train(TrainingData(references, spatial, gene_sets, SMALL), FINAL)


@pytest.fixture(scope="module")
def support(tissue, stacks):
    references, _, gene_sets = tissue
    return Support.of(stacks[0], references, gene_sets)


# ---- draws ----


def test_chunks_of_cells_and_genes_change_nothing_but_rounding(tissue, stacks, monkeypatch):
    """Today's size, tiny blocks, and few targets."""
    _, spatial, gene_sets = tissue
    stored = Stored(make_posterior(stacks, spatial, gene_sets))
    (whole,) = reduce(make_posterior(stacks, spatial, gene_sets), stored)
    assert len(stored.blocks) == 1
    monkeypatch.setitem(imputation.BLOCK_FLOATS, "cpu", 1_000)
    monkeypatch.setattr(imputation, "BLOCK_GENES", 10)
    posterior = make_posterior(stacks, spatial, gene_sets)
    stored = Stored(posterior)
    (parts,) = reduce(posterior, stored)
    assert len(stored.blocks) > 50
    np.testing.assert_allclose(parts, whole, rtol=1e-5)
    targets = [gene_sets.genes[i] for i in (20, 2, 16)]
    some = make_posterior(stacks, spatial, replace(gene_sets, targets=targets))
    np.testing.assert_allclose(reduce(some, Stored(some))[0], whole[..., [20, 2, 16]], rtol=1e-5)


def test_ten_shards_give_the_bits_of_the_whole(tissue, stacks, support):
    _, few, gene_sets = tissue
    spatial = repeated(few, 9 * BLOCK_CELLS + 100)
    blend = fit_blend(mean_frequencies(stacks, few, gene_sets, gene_sets.targets), {}, Recipe())

    def impute(start, stop):
        cells = spatial.take(np.arange(start, stop))
        posterior = Posterior(stacks, cells, gene_sets, blend, {}, 4, 0, first=start)
        return impute_rows(posterior, support, slice(0, stop - start), 0.9)

    whole = impute(0, len(spatial.cells))
    shards = [impute(start, min(start + BLOCK_CELLS, len(spatial.cells))) for start in range(0, 10 * 1024, 1024)]
    assert len(shards) == 10
    for name in NAMES:
        joined = np.concatenate([shard.values[name] for shard in shards])
        assert joined.tobytes() == whole.values[name].tobytes()
    for name in ("latent", "panel_total", "supported"):
        assert np.concatenate([getattr(s, name) for s in shards]).tobytes() == getattr(whole, name).tobytes()
    assert not np.array_equal(whole.values["mean"][:100], whole.values["mean"][1200:1300])  # the same cells again


def test_same_seed_same_bits(tissue, stacks):
    _, spatial, gene_sets = tissue
    first, again, other = (summary_of(make_posterior(stacks, spatial, gene_sets, seed=s)) for s in (0, 0, 1))
    for name in NAMES:
        assert getattr(first, name).tobytes() == getattr(again, name).tobytes()
    assert not np.array_equal(first.mean, other.mean)


# ---- what is kept of them ----


@settings(max_examples=60, deadline=None)
@given(
    n=st.integers(1, 12),
    probabilities=st.lists(st.floats(0, 1), min_size=1, max_size=3),
    seed=st.integers(0, 1000),
)
def test_quantiles_are_numpys(n, probabilities, seed):
    draws = np.random.default_rng(seed).normal(size=(n, 6))
    expected = np.quantile(draws, probabilities, axis=0)
    np.testing.assert_allclose(quantiles(torch.from_numpy(draws), tuple(probabilities)), expected, atol=1e-12)


@pytest.mark.parametrize("block_floats", [imputation.BLOCK_FLOATS["cpu"], 5_000])
@pytest.mark.parametrize("interval", [0.9, 0.5])
def test_moments_and_quantiles_against_all_samples(tissue, stacks, block_floats, interval, monkeypatch):
    _, spatial, gene_sets = tissue
    monkeypatch.setitem(imputation.BLOCK_FLOATS, "cpu", block_floats)
    monkeypatch.setattr(imputation, "BLOCK_GENES", 11)
    posterior = make_posterior(stacks, spatial, gene_sets, n_samples=7)
    summarize, stored = Summarize(slice(0, 120), 24, interval), Stored(posterior)
    summary, draws = reduce(posterior, summarize, stored)
    assert draws.shape == (21, 120, 24)
    total = np.asarray(spatial.select(gene_sets.shared).sum(1)).ravel()
    np.testing.assert_array_equal(posterior.totals, total)
    counts = draws.astype(np.float64) * total[:, None]
    np.testing.assert_allclose(summary.mean, counts.mean(0), rtol=1e-5, atol=1e-7)
    np.testing.assert_allclose(summary.sd, counts.std(0), rtol=1e-4, atol=1e-6)
    tails = [(1 - interval) / 2, (1 + interval) / 2]
    lower, upper = np.quantile(counts, tails, axis=0)
    np.testing.assert_allclose(summary.lower, lower, rtol=1e-5, atol=1e-7)
    np.testing.assert_allclose(summary.upper, upper, rtol=1e-5, atol=1e-7)


def test_samples_are_drawn_from_each_members_posterior(tissue, stacks):
    """Every sample by hand: z from its Gaussian, softmax over all genes, divided by the panel's sum, scaled;
    of genes off the panel, a ZINB's mean."""
    _, spatial, gene_sets = tissue
    cells = np.flatnonzero(spatial.X.sum(1))
    posterior = make_posterior(stacks, spatial, gene_sets, n_samples=4, seed=3, first=2048)
    (draws,) = reduce(posterior, Stored(posterior))
    means = mean_frequencies(stacks, spatial, gene_sets, gene_sets.targets)
    scales = iter(means.mean(0) / means)
    row = 0
    for stack in stacks:
        mean, sd, _ = StackSampler(stack, spatial, gene_sets).encode(cells)
        decoder = stack.model.decoder
        for m, member in enumerate(stack.members):
            noise = torch.from_numpy(posterior_draws(member, 3, cells + 2048, 4, 4))
            scale = next(scales)
            for i in range(4):
                z = mean[m] + sd[m] * noise[i]
                with torch.no_grad():
                    features = decoder.features(z.expand(len(stack.members), 1, -1, -1), None, slice(1, 2))[m, 0]
                    rho = torch.softmax(features @ decoder.rho.weight[m] + decoder.rho.bias[m], -1).numpy()
                    seen = torch.sigmoid(-(features @ decoder.pi.weight[m] + decoder.pi.bias[m])).numpy()
                frequency = rho / rho[:, :15].sum(1, keepdims=True)
                frequency[:, 15:] *= seen[:, 15:]
                np.testing.assert_allclose(draws[row, cells], frequency * scale, rtol=1e-3, atol=1e-6)
                row += 1
    assert row == posterior.n_draws


def test_mean_frequency_is_over_cells_with_counts(tissue, stacks):
    _, spatial, gene_sets = tissue
    sampler = StackSampler(stacks[0], spatial, gene_sets)
    mean, _, total = sampler.encode(np.arange(120))
    assert (total == 0).sum() >= 2 * len(stacks[0].members)
    frequencies = sampler.frequencies(*sampler.decode(mean.unsqueeze(1)), slice(0, 24))[:, 0]
    expected = [frequencies[m, total[m] > 0].mean(0).numpy() for m in range(len(mean))]
    np.testing.assert_allclose(sampler.mean_frequency(np.arange(120), slice(0, 24)), expected, rtol=1e-5)


def test_share_of_another_method(tissue, stacks):
    _, spatial, gene_sets = tissue
    knn = Made(15, gene_sets.targets)
    frequencies = knn.estimate(spatial.select(gene_sets.shared), gene_sets.targets)
    plain = summary_of(make_posterior(stacks, spatial, gene_sets))
    mixed = summary_of(make_posterior(stacks, spatial, gene_sets, others={"knn": knn}, recipe=Recipe({"knn": 0.25})))
    overall = mean_frequencies(stacks, spatial, gene_sets, gene_sets.targets).mean(0)
    total = np.asarray(spatial.X.sum(1))
    share = 0.25 * frequencies * (overall / frequencies.mean(0)) * np.where(total > 0, total, np.nan)
    for name, shift in (("mean", share), ("lower", share), ("upper", share), ("sd", 0)):
        expected = 0.75 * getattr(plain, name) + shift
        np.testing.assert_allclose(getattr(mixed, name), expected, rtol=1e-3, atol=1e-5)


def test_of_cells_without_counts_nothing_is_known(tissue, stacks, support):
    _, spatial, gene_sets = tissue
    imputed = impute_rows(make_posterior(stacks, spatial, gene_sets), support, slice(0, 120), 0.9)
    unknown = np.asarray(spatial.X.sum(1)).ravel() == 0
    assert unknown[[3, 7]].all() and unknown.sum() < 20
    assert not imputed.panel_total[unknown].any() and not imputed.supported[unknown].any()
    for values in (*imputed.values.values(), imputed.latent):
        assert np.isnan(values[unknown]).all() and np.isfinite(values[~unknown]).all()
    assert imputed.supported[~unknown].mean() > 0.5


def test_a_sample_of_which_nothing_is_known(tissue, stacks, support):
    _, spatial, gene_sets = tissue
    empty = replace(spatial, X=spatial.X * 0)
    blend = fit_blend(mean_frequencies(stacks, spatial, gene_sets, gene_sets.targets), {}, Recipe())
    imputed = impute_rows(Posterior(stacks, empty, gene_sets, blend, {}, 2, 0), support, slice(0, 120), 0.9)
    assert np.isnan(imputed.values["mean"]).all() and not imputed.supported.any()


def test_an_interval_holds_its_share_of_other_draws(tissue, stacks):
    _, spatial, gene_sets = tissue
    fresh = make_posterior(stacks, spatial, gene_sets, n_samples=60, seed=5)
    (draws,) = reduce(fresh, Stored(fresh))
    counts = draws * fresh.totals[:, None]
    known = fresh.totals > 0
    for interval in (0.5, 0.9):
        summary = summary_of(make_posterior(stacks, spatial, gene_sets, n_samples=60), interval)
        inside = (summary.lower <= counts) & (counts <= summary.upper)
        assert inside[:, known].mean() == pytest.approx(interval, abs=0.02)


# ---- memory ----


def peak_growth(posterior) -> float:
    """Megabytes by which the process grew, at most, while all blocks were drawn and reduced."""
    page, statm = 4096, Path("/proc/self/statm")
    resident = lambda: int(statm.read_text().split()[1]) * page / 1e6  # noqa: E731
    gc.collect()
    before, peak, done = resident(), 0.0, threading.Event()

    def watch():
        nonlocal peak
        while not done.wait(0.002):
            peak = max(peak, resident())

    watcher = threading.Thread(target=watch)
    watcher.start()
    for chunk in range(0, len(posterior.totals), 1024):
        rows = slice(chunk, min(chunk + 1024, len(posterior.totals)))
        summarize = Summarize(rows, posterior.n_genes, 0.9)
        for block in posterior.blocks(rows):
            summarize.update(block)
    done.set()
    watcher.join()
    return peak - before


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="memory is read from /proc")
def test_memory_does_not_grow_with_cells(monkeypatch):
    n_genes, n_samples = 100, 40
    monkeypatch.setitem(imputation.BLOCK_FLOATS, "cpu", 2_000_000)
    references, spatial, gene_sets = draw(n_panel=15, n_genes=n_genes)
    (stack,) = train(TrainingData(references, spatial, gene_sets, replace(SMALL, max_steps=2)), FINAL[:1])
    growth = []
    for n in (2_000, 2_000, 16_000):  # the first warms up
        cells = repeated(spatial, n)
        growth.append(peak_growth(make_posterior([stack], cells, gene_sets, n_samples=n_samples)))
    all_samples = 16_000 * n_genes * n_samples * 4 / 1e6
    assert all_samples > 250
    assert growth[2] - growth[1] < 50, growth
