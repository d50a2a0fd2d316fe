"""Draws that belong to cells, moments and quantiles against stored draws, kNN share, unknown cells, memory."""

import gc
import threading
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from spatialimpute.ensemble import fit_blend
from spatialimpute.folds import held_out_genes, scale_cells
from spatialimpute.imputation import blocks as imputation
from spatialimpute.imputation.blocks import BLOCK_CELLS, Posterior
from spatialimpute.imputation.in_order import map_in_order
from spatialimpute.imputation.precision import round_summary
from spatialimpute.imputation.reducers import Reducer, Summarize, Summary, quantiles
from spatialimpute.imputation.rows import impute_rows
from spatialimpute.methods.gimvi import posterior as held_out
from spatialimpute.methods.gimvi.data import Member, TrainingData
from spatialimpute.methods.gimvi.draws import posterior_draws
from spatialimpute.methods.gimvi.posterior import StackSampler, held_out_predictions, mean_frequencies
from spatialimpute.methods.gimvi.support import Support, encode_reference
from spatialimpute.methods.gimvi.training import train
from tissue import PAPER, SMALL, draw

FINAL = [Member(None, 0.0, 0), Member(None, 0.0, 1), Member(None, 0.0, 2, 8)]
NAMES = ("mean", "sd", "lower", "upper")


@pytest.fixture(scope="module")
def tissue():
    """References, spatial, gene sets; spatial cells 3 and 7 have no counts."""
    references, spatial, gene_sets = draw(depths=(60, 12))
    X = spatial.X.tolil()
    X[[3, 7]] = 0
    return references, replace(spatial, X=X.tocsr()), gene_sets


@pytest.fixture(scope="module")
def stacks(tissue):
    references, spatial, gene_sets = tissue
    return train(TrainingData(references, spatial, gene_sets, SMALL), FINAL)


@pytest.fixture(scope="module")
def support(tissue, stacks):
    references, _, gene_sets = tissue
    return Support.of(stacks[0], references, gene_sets)


def make_posterior(stacks, spatial, gene_sets, n_samples=5, seed=0, knn=None, knn_weight=0.0, first=0):
    """As the pipeline makes it, with a blend fitted on all cells."""
    means = mean_frequencies(stacks, spatial, gene_sets, gene_sets.targets)
    if knn is None:
        return Posterior(stacks, spatial, gene_sets, fit_blend(means, {}, {}), {}, n_samples, seed, first=first)
    blend = fit_blend(means, {"knn": knn.mean(0)}, {"knn": knn_weight})
    return Posterior(stacks, spatial, gene_sets, blend, {"knn": lambda rows: knn[rows]}, n_samples, seed, first=first)


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
    for block in posterior.blocks(slice(0, len(posterior.totals))):
        for reducer in reducers:
            reducer.update(block)
    return [reducer.result() for reducer in reducers]


def summary_of(posterior, interval=0.9):
    rows = slice(0, len(posterior.totals))
    return reduce(posterior, Summarize(rows, posterior.n_genes, interval))[0]


def repeated(spatial, n):
    """`n` cells, those of `spatial` again and again."""
    cells = spatial.take(np.arange(n) % len(spatial.cells))
    names = np.array([f"c{i}" for i in range(n)])
    return replace(cells, cells=names, obs=cells.obs.set_axis(names))


# ---- draws ----


def test_draws_belong_to_member_and_cell():
    member, cells = FINAL[0], np.array([5, 1_000, 3_000_000])
    whole = posterior_draws(member, 0, cells, 6, 4)
    assert whole.shape == (6, 3, 4) and whole.dtype == np.float32
    np.testing.assert_array_equal(posterior_draws(member, 0, cells[1:2], 6, 4), whole[:, 1:2])
    np.testing.assert_array_equal(posterior_draws(Member(None, 5.0, 0), 0, cells, 6, 4), whole)  # kappas share them
    for other in (posterior_draws(FINAL[1], 0, cells, 6, 4), posterior_draws(member, 1, cells, 6, 4)):
        assert not np.isin(other, whole).any()


def test_draws_are_independent_and_normal():
    drawn = posterior_draws(FINAL[0], 3, np.arange(2000), 31, 5)  # an odd number of numbers per cell
    assert len(np.unique(drawn)) > 0.98 * drawn.size
    assert stats.kstest(drawn.ravel(), "norm").pvalue > 0.01
    flat = drawn.swapaxes(0, 1).reshape(2000, -1).astype(np.float64)
    for correlation in (np.corrcoef(flat.T), np.corrcoef(flat[:200])):
        off = correlation[np.triu_indices(len(correlation), 1)]
        assert np.abs(off * np.sqrt(flat.shape[0] if len(off) == 155 * 154 // 2 else flat.shape[1])).max() < 5.5
    assert stats.kstest((flat**2).sum(1), stats.chi2(155).cdf).pvalue > 0.01


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
    blend = fit_blend(mean_frequencies(stacks, few, gene_sets, gene_sets.targets), {}, {})

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
    """Every sample by hand: z from its Gaussian, softmax over all genes, divided by the panel's sum, scaled."""
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
                frequency = rho / rho[:, :15].sum(1, keepdims=True)
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


def test_knn_share(tissue, stacks):
    _, spatial, gene_sets = tissue
    frequencies = np.random.default_rng(0).gamma(1, 1, (120, 24)).astype(np.float32) * 5
    plain = summary_of(make_posterior(stacks, spatial, gene_sets))
    mixed = summary_of(make_posterior(stacks, spatial, gene_sets, knn=frequencies, knn_weight=0.25))
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
    blend = fit_blend(mean_frequencies(stacks, spatial, gene_sets, gene_sets.targets), {}, {})
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


# ---- precision ----


@settings(max_examples=50, deadline=None)
@given(seed=st.integers(0, 10_000), n_draws=st.sampled_from([2, 20, 150, 5000]), spread=st.floats(0, 3))
def test_rounding_stays_below_the_error_and_keeps_the_order(seed, n_draws, spread):
    rng = np.random.default_rng(seed)
    mean = rng.lognormal(0, 4, (40, 5))
    sd = mean * rng.lognormal(-1, spread, mean.shape)
    tails = mean * rng.random((2, *mean.shape)) * [[[1]], [[-1]]] + mean * [[[0]], [[2]]]
    exact = Summary(*(values.astype(np.float32) for values in (mean, sd, *tails)))
    rounded = round_summary(exact, n_draws)
    error = exact.sd / np.sqrt(n_draws)
    for before, after in zip(exact, rounded, strict=True):
        assert (np.abs(after - before) <= error / 8 + before * 2.0**-12).all()
        bits = np.ascontiguousarray(after).view(np.int32)
        assert not (bits & ((1 << 12) - 1)).any()
    assert (rounded.lower <= rounded.mean).all() and (rounded.mean <= rounded.upper).all()


def test_rounding_leaves_what_is_unknown_and_what_is_certain():
    nan, zero = np.full((1, 2), np.nan, np.float32), np.zeros((1, 2), np.float32)
    assert all(np.isnan(values).all() for values in round_summary(Summary(nan, nan, nan, nan), 20))
    three = zero + np.float32(3)
    assert all((values == 3).all() for values in round_summary(Summary(three, zero, three, three), 20)[::2])


# ---- threads ----


def test_results_come_in_order_and_few_wait():
    begun, taken = [], []

    def work(i):
        begun.append(i)
        return i

    for result in map_in_order(work, range(50), 3):
        taken.append(result)
        assert len(begun) - len(taken) <= 2 * 3
    assert taken == list(range(50))


def test_an_error_in_a_thread_is_the_callers():
    with pytest.raises(ZeroDivisionError):
        list(map_in_order(lambda i: 1 / (3 - i), range(20), 2))


# ---- cross-validated predictions ----


@pytest.fixture(scope="module")
def fold_stacks(tissue):
    """Two kappas, of which the second has a member of one fold alone."""
    references, spatial, gene_sets = tissue
    data = TrainingData(references, spatial, gene_sets, replace(SMALL, max_steps=10))
    members = [Member(fold, 0.0, 0) for fold in gene_sets.folds] + [Member("1", 5.0, 0)]
    return train(data, members)


@pytest.mark.parametrize("piece_floats", [held_out.BLOCK_FLOATS, 4000])
def test_held_out_predictions_against_all_samples(tissue, fold_stacks, piece_floats, monkeypatch):
    """Each gene by the member that held it out; chunks of any size cover all cells."""
    _, spatial, gene_sets = tissue
    cells = np.arange(120)
    monkeypatch.setattr(held_out, "BLOCK_FLOATS", piece_floats)
    predictions = held_out_predictions(fold_stacks, spatial, cells, gene_sets, "s1", 6, 0)
    assert [(p.kappa, p.place, p.method, p.sample) for p in predictions] == [(k, 0, "gimvi", "s1") for k in (0.0, 5.0)]
    genes, folds = held_out_genes(gene_sets)
    assert predictions[0].genes.tolist() == genes.tolist() and predictions[0].fold.tolist() == folds.tolist()
    assert predictions[1].genes.tolist() == genes[folds == "1"].tolist()
    for stack in fold_stacks:
        sampler = StackSampler(stack, spatial, gene_sets)
        mean, sd, total = sampler.encode(cells)
        samples = sampler.frequencies(
            *sampler.decode(mean.unsqueeze(1) + sd.unsqueeze(1) * sampler.noise(0, cells, 6)), slice(0, 15)
        ).numpy()
        for m, member in enumerate(stack.members):
            prediction = predictions[int(member.kappa > 0)]
            columns = prediction.fold == member.fold
            position = [gene_sets.shared.index(gene) for gene in prediction.genes[columns]]
            counted = total[m].numpy() > 0
            assert np.isnan(prediction.mean[~counted][:, columns]).all() and (~counted).sum() >= 2
            expected = samples[m][:, counted][..., position]
            np.testing.assert_allclose(prediction.mean[counted][:, columns], expected.mean(0), rtol=1e-4)
            np.testing.assert_allclose(prediction.sd[counted][:, columns], expected.std(0), rtol=1e-3, atol=1e-6)
            in_use = [i for i, gene in enumerate(gene_sets.shared) if gene not in gene_sets.folds[member.fold]]
            np.testing.assert_allclose(samples[m][..., in_use].sum(-1), 1, rtol=1e-4)
            scaled = sampler.mean_frequency(scale_cells(gene_sets, 120), slice(0, 15))[m, position]
            np.testing.assert_allclose(prediction.mean_frequency[columns], scaled, rtol=1e-5)


def test_scored_cells_get_the_predictions_of_the_whole(tissue, fold_stacks):
    _, spatial, gene_sets = tissue
    some = np.array([0, 3, 50, 119])
    subset = replace(gene_sets, scored_cells=some.tolist())
    whole = held_out_predictions(fold_stacks, spatial, np.arange(120), gene_sets, "s", 6, 0)
    scored = held_out_predictions(fold_stacks, spatial.take(some), some, subset, "s", 6, 0)
    for all_cells, few in zip(whole, scored, strict=True):
        assert few.cells.tolist() == spatial.cells[some].tolist()
        np.testing.assert_allclose(few.mean, all_cells.mean[some], rtol=1e-5)
        np.testing.assert_allclose(few.sd, all_cells.sd[some], rtol=1e-4)
        means = mean_frequencies(fold_stacks, spatial.take(some), gene_sets, few.genes)
        assert np.abs(means - few.mean_frequency).min(0).max() < 1e-6


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


# ---- latent space ----


@pytest.mark.parametrize("settings", [SMALL, PAPER], ids=["default", "paper"])
def test_reference_codes_are_the_encoders(settings, monkeypatch):
    references, spatial, gene_sets = draw(n_cells=(90, 70, 60), batches=(2, 2))
    stacks = train(TrainingData(references, spatial, gene_sets, replace(settings, max_steps=5)), FINAL[:2])
    whole = encode_reference(stacks[0], 1, references[1], gene_sets)
    assert whole.shape == (70, 4)
    monkeypatch.setattr("spatialimpute.methods.gimvi.support.CHUNK", 17)
    np.testing.assert_allclose(encode_reference(stacks[0], 1, references[1], gene_sets), whole, rtol=1e-4, atol=1e-5)
    rows = np.array([40, 3])
    some = encode_reference(stacks[0], 1, references[1].take(rows), gene_sets)  # batches keep their numbers
    np.testing.assert_allclose(some, whole[rows], rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(encode_reference(stacks[0], 1, references[1], gene_sets, rows), some, rtol=1e-4)
    assert not np.allclose(encode_reference(stacks[0], 0, references[0], gene_sets)[:60], whole[:60])


def test_support_is_where_reference_cells_are():
    rng = np.random.default_rng(0)
    latents = [rng.normal(0, 1, (4000, 5)), rng.normal(0, 1, (3000, 5)) + 6]
    support = Support(np.concatenate(latents))
    inside = np.concatenate([rng.normal(0, 1, (500, 5)), rng.normal(0, 1, (500, 5)) + 6])
    assert support.contains(inside).mean() > 0.97
    assert not support.contains(rng.normal(0, 1, (500, 5)) - 6).any()
    assert not support.contains(np.full((1, 5), 3.0)).any()
    few = Support(rng.normal(0, 1, (5, 2)))
    assert few.contains(np.zeros((1, 2))).tolist() == [True]


def test_support_takes_some_cells_of_all_references(monkeypatch):
    references, spatial, gene_sets = draw(n_cells=(90, 70, 60))
    (stack,) = train(TrainingData(references, spatial, gene_sets, replace(SMALL, max_steps=5)), FINAL[:1])
    codes = np.concatenate([encode_reference(stack, s, counts, gene_sets) for s, counts in enumerate(references)])
    np.testing.assert_allclose(Support.of(stack, references, gene_sets).search._fit_X, codes, rtol=1e-5)
    monkeypatch.setattr("spatialimpute.methods.gimvi.support.MAX_REFERENCE_CELLS", 50)
    some, again = (Support.of(stack, references, gene_sets) for _ in range(2))
    assert some.search._fit_X.shape == (50, 4) and some.limit == again.limit
    nearest = np.abs(some.search._fit_X[:, None] - codes).sum(-1)
    assert nearest.min(1).max() < 1e-4 and {i < 90 for i in nearest.argmin(1)} == {True, False}
