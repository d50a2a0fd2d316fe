"""Moments and quantiles against brute force over stored samples; chunks, kNN share, empty cells, memory, the file."""

import gc
import threading
from dataclasses import replace
from pathlib import Path

import anndata as ad
import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from spatialimpute.evaluation.reliability import gene_table
from spatialimpute.files.imputed import ImputedWriter, write_latent
from spatialimpute.methods.gimvi import posterior as imputation
from spatialimpute.methods.gimvi.data import Member, TrainingData, member_seed
from spatialimpute.methods.gimvi.networks import Noise
from spatialimpute.methods.gimvi.posterior import Imputer, StackSampler, held_out_predictions, quantiles
from spatialimpute.methods.gimvi.support import Support, encode_reference
from spatialimpute.methods.gimvi.training import train
from tissue import PAPER, SMALL, draw, make_counts

FINAL = [Member(None, 0.0, 0), Member(None, 0.0, 1), Member(None, 0.0, 2, 8)]


@pytest.fixture(scope="module")
def tissue():
    """References, spatial, panel; spatial cells 3 and 7 have no counts."""
    references, spatial, gene_sets = draw(depths=(60, 12))
    X = spatial.X.tolil()
    X[[3, 7]] = 0
    return references, replace(spatial, X=X.tocsr()), gene_sets


@pytest.fixture(scope="module")
def stacks(tissue):
    references, spatial, gene_sets = tissue
    return train(TrainingData(references, spatial, gene_sets, SMALL), FINAL)


def chunks_and_samples(imputer, monkeypatch):
    """All chunks, and the samples that each was folded from, (N, C, members * n_samples)."""
    stored = []
    draw_samples = Imputer._samples

    def spy(self, cells):
        samples, latent, total = draw_samples(self, cells)
        stored.append(samples.copy())
        return samples, latent, total

    monkeypatch.setattr(Imputer, "_samples", spy)
    return list(imputer), np.concatenate(stored)


def joined(chunks, name):
    return np.concatenate([getattr(chunk, name) for chunk in chunks])


@settings(max_examples=60, deadline=None)
@given(
    n=st.integers(1, 12),
    probabilities=st.lists(st.floats(0, 1), min_size=1, max_size=3),
    seed=st.integers(0, 1000),
)
def test_quantiles_are_numpys(n, probabilities, seed):
    samples = np.random.default_rng(seed).normal(size=(3, 2, n))
    expected = np.quantile(samples, probabilities, axis=-1)
    np.testing.assert_allclose(quantiles(samples, tuple(probabilities)), expected, atol=1e-12)


@pytest.mark.parametrize("block_floats", [imputation.BLOCK_FLOATS, 50_000])
@pytest.mark.parametrize("interval", [0.9, 0.5])
def test_moments_and_quantiles_against_all_samples(tissue, stacks, block_floats, interval, monkeypatch):
    _, spatial, gene_sets = tissue
    monkeypatch.setattr(imputation, "BLOCK_FLOATS", block_floats)
    imputer = Imputer(stacks, spatial, gene_sets, n_samples=7, interval=interval)
    chunks, samples = chunks_and_samples(imputer, monkeypatch)
    assert (len(chunks) > 1) == (block_floats == 50_000)
    assert samples.shape == (120, 24, 21)
    total = np.asarray(spatial.select(gene_sets.shared).sum(1)).ravel()
    np.testing.assert_array_equal(np.concatenate([chunk.cells for chunk in chunks]), np.arange(120))
    np.testing.assert_array_equal(joined(chunks, "panel_total"), total)
    counts = samples.astype(np.float64) * total[:, None, None]
    np.testing.assert_allclose(joined(chunks, "mean"), counts.mean(-1), rtol=1e-5, atol=1e-7)
    np.testing.assert_allclose(joined(chunks, "sd"), counts.std(-1), rtol=1e-4, atol=1e-6)
    tails = [(1 - interval) / 2, (1 + interval) / 2]
    lower, upper = np.quantile(counts, tails, axis=-1)
    np.testing.assert_allclose(joined(chunks, "lower"), lower, rtol=1e-5, atol=1e-7)
    np.testing.assert_allclose(joined(chunks, "upper"), upper, rtol=1e-5, atol=1e-7)


def test_samples_are_drawn_from_each_members_posterior(tissue, stacks, monkeypatch):
    """Every sample by hand: z from its Gaussian, softmax over all genes, divided by the panel's sum, scaled."""
    _, spatial, gene_sets = tissue
    imputer = Imputer(stacks, spatial, gene_sets, n_samples=4, seed=3)
    _, samples = chunks_and_samples(imputer, monkeypatch)
    column, scaled = 0, []
    for stack, scale in zip(stacks, imputer.scales, strict=True):
        sampler = StackSampler(stack, spatial, gene_sets)
        mean, sd, _ = sampler.encode(np.arange(120))
        generators = [torch.Generator().manual_seed(member_seed(member, 3) ^ 1) for member in stack.members]
        draws = Noise(generators).normal(4, *mean.shape[1:])
        decoder = stack.model.decoder
        for m in range(len(stack.members)):
            for i in range(4):
                z = mean[m] + sd[m] * draws[m, i]
                with torch.no_grad():
                    features = decoder.features(z.expand(len(stack.members), 1, -1, -1), None, slice(1, 2))[m, 0]
                    rho = torch.softmax(features @ decoder.rho.weight[m] + decoder.rho.bias[m], -1).numpy()
                frequency = rho / rho[:, :15].sum(1, keepdims=True)
                np.testing.assert_allclose(samples[..., column], frequency * scale[m], rtol=1e-3, atol=1e-6)
                column += 1
        scaled.append(sampler.mean_frequency(np.arange(120), imputer.columns) * scale)
    # Every member is brought to the same mean frequency per gene, the mean of all members'.
    scaled = np.concatenate(scaled)
    np.testing.assert_allclose(scaled, np.tile(scaled[0], (3, 1)), rtol=1e-4)


def test_mean_frequency_is_over_cells_with_counts(tissue, stacks):
    _, spatial, gene_sets = tissue
    sampler = StackSampler(stacks[0], spatial, gene_sets)
    mean, _, total = sampler.encode(np.arange(120))
    assert (total == 0).sum() >= 2 * len(stacks[0].members)
    frequencies = sampler.frequencies(mean.unsqueeze(1), slice(0, 24))[:, 0]
    expected = [frequencies[m, total[m] > 0].mean(0).numpy() for m in range(len(mean))]
    np.testing.assert_allclose(sampler.mean_frequency(np.arange(120), slice(0, 24)), expected, rtol=1e-5)


def test_chunk_size_changes_draws_alone(tissue, stacks, monkeypatch):
    _, spatial, gene_sets = tissue
    results = []
    for block_floats in (imputation.BLOCK_FLOATS, 200_000):
        monkeypatch.setattr(imputation, "BLOCK_FLOATS", block_floats)
        imputer = Imputer(stacks, spatial, gene_sets, n_samples=100)
        results.append((imputer, list(imputer)))
    (one, whole), (many, parts) = results
    assert len(whole) == 1 and len(parts) > 4
    for a, b in zip(one.scales, many.scales, strict=True):
        np.testing.assert_array_equal(a, b)
    np.testing.assert_array_equal(joined(whole, "panel_total"), joined(parts, "panel_total"))
    np.testing.assert_allclose(joined(whole, "latent"), joined(parts, "latent"), rtol=1e-4, atol=1e-5)
    counted = joined(whole, "panel_total") > 0
    error = joined(whole, "sd")[counted] * np.sqrt(2 / 300)
    z = (joined(whole, "mean")[counted] - joined(parts, "mean")[counted]) / error
    assert np.abs(z).mean() < 1 and np.abs(z).max() < 7


def test_same_seed_same_bits(tissue, stacks):
    _, spatial, gene_sets = tissue
    first, again, other = (list(Imputer(stacks, spatial, gene_sets, n_samples=5, seed=s)) for s in (0, 0, 1))
    for name in ("mean", "sd", "lower", "upper", "latent"):
        assert joined(first, name).tobytes() == joined(again, name).tobytes()
    assert not np.array_equal(joined(first, "mean"), joined(other, "mean"))


def test_knn_share(tissue, stacks):
    _, spatial, gene_sets = tissue
    rng = np.random.default_rng(0)
    frequencies = rng.gamma(1, 1, (120, 24)).astype(np.float32) * 5
    plain = list(Imputer(stacks, spatial, gene_sets, n_samples=5))
    imputer = Imputer(stacks, spatial, gene_sets, n_samples=5, knn=lambda cells: frequencies[cells], knn_weight=0.25)
    mixed = list(imputer)
    overall = mean_of_ensemble(stacks, spatial, gene_sets)
    share = 0.25 * frequencies * (overall / frequencies.mean(0)) * joined(plain, "panel_total")[:, None]
    for name, shift in (("mean", share), ("lower", share), ("upper", share), ("sd", 0)):
        np.testing.assert_allclose(joined(mixed, name), 0.75 * joined(plain, name) + shift, rtol=1e-3, atol=1e-5)


def mean_of_ensemble(stacks, spatial, gene_sets):
    """The ensemble's mean frequency per gene."""
    means = [StackSampler(stack, spatial, gene_sets).mean_frequency(np.arange(120), slice(0, 24)) for stack in stacks]
    return np.concatenate(means).mean(0)


def test_weight_zero_asks_no_neighbor(tissue, stacks):
    _, spatial, gene_sets = tissue

    def knn(cells):
        raise AssertionError

    list(Imputer(stacks, spatial, gene_sets, n_samples=2, knn=knn, knn_weight=0.0))


def test_cells_without_counts_are_imputed_as_zero(tissue, stacks):
    _, spatial, gene_sets = tissue
    chunks = list(Imputer(stacks, spatial, gene_sets, n_samples=5))
    for name in ("mean", "sd", "lower", "upper"):
        values = joined(chunks, name)
        assert np.isfinite(values).all()
        assert not values[[3, 7]].any()
    assert np.isfinite(joined(chunks, "latent")).all()
    assert (joined(chunks, "lower") <= joined(chunks, "upper")).all()


def test_some_targets_in_their_order(tissue, stacks):
    _, spatial, gene_sets = tissue
    targets = [gene_sets.genes[i] for i in (20, 2, 16)]
    whole = list(Imputer(stacks, spatial, gene_sets, n_samples=5))
    some = list(Imputer(stacks, spatial, replace(gene_sets, targets=targets), n_samples=5))
    np.testing.assert_allclose(joined(some, "mean"), joined(whole, "mean")[:, [20, 2, 16]], rtol=1e-4)


def test_an_interval_holds_its_share_of_other_draws(tissue, stacks, monkeypatch):
    _, spatial, gene_sets = tissue
    _, fresh = chunks_and_samples(Imputer(stacks, spatial, gene_sets, n_samples=60, seed=5), monkeypatch)
    counted = np.asarray(spatial.select(gene_sets.shared).sum(1)).ravel() > 0
    for interval in (0.5, 0.9):
        chunks = list(Imputer(stacks, spatial, gene_sets, n_samples=60, interval=interval))
        total = joined(chunks, "panel_total")[:, None, None]
        inside = (joined(chunks, "lower")[..., None] <= fresh * total) & (
            fresh * total <= joined(chunks, "upper")[..., None]
        )
        assert inside[counted].mean() == pytest.approx(interval, abs=0.02)


# ---- cross-validated predictions ----


@pytest.mark.parametrize("block_floats", [imputation.BLOCK_FLOATS, 4000])
def test_held_out_predictions_against_all_samples(tissue, block_floats, monkeypatch):
    """Each gene by the member that held it out; chunks of any size cover all cells."""
    references, spatial, gene_sets = tissue
    data = TrainingData(references, spatial, gene_sets, replace(SMALL, max_steps=10))
    members = [Member(fold, kappa, 0) for fold in gene_sets.folds for kappa in (0.0, 5.0)]
    stacks = train(data, members)
    monkeypatch.setattr(imputation, "BLOCK_FLOATS", block_floats)
    stored, frequencies = {}, StackSampler.frequencies

    def spy(self, z, columns):
        out = frequencies(self, z, columns)
        for m, member in enumerate(self.members):
            stored.setdefault(member, []).append(out[m].numpy().copy())
        return out

    monkeypatch.setattr(StackSampler, "frequencies", spy)
    predictions = held_out_predictions(stacks, spatial, gene_sets, "s1", 6, 0)
    assert [(p.kappa, p.place, p.method, p.sample) for p in predictions] == [(k, 0, "gimvi", "s1") for k in (0.0, 5.0)]
    genes = [gene for fold in gene_sets.folds.values() for gene in fold]
    for prediction in predictions:
        assert prediction.genes.tolist() == genes
        assert prediction.fold.tolist() == [fold for fold, held_out in gene_sets.folds.items() for _ in held_out]
        for fold, held_out in gene_sets.folds.items():
            samples = np.concatenate(stored[Member(fold, prediction.kappa, 0)], axis=1)
            columns = prediction.fold == fold
            position = [gene_sets.shared.index(gene) for gene in held_out]
            counted = np.asarray(spatial.select(gene_sets.genes_in_use(fold)).sum(1)).ravel() > 0
            assert np.isnan(prediction.mean[~counted][:, columns]).all() and (~counted).sum() >= 2
            expected = samples[:, counted][..., position]
            np.testing.assert_allclose(prediction.mean[counted][:, columns], expected.mean(0), rtol=1e-4)
            np.testing.assert_allclose(prediction.sd[counted][:, columns], expected.std(0), rtol=1e-3, atol=1e-6)
            in_use = [i for i, gene in enumerate(gene_sets.shared) if gene not in held_out]
            np.testing.assert_allclose(samples[..., in_use].sum(-1), 1, rtol=1e-4)


# ---- memory ----


def peak_growth(imputer) -> float:
    """Megabytes by which the process grew, at most, while the imputer ran."""
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
    for _ in imputer:
        pass
    done.set()
    watcher.join()
    return peak - before


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="memory is read from /proc")
def test_memory_does_not_grow_with_cells(monkeypatch):
    n_genes, n_samples = 100, 40
    monkeypatch.setattr(imputation, "BLOCK_FLOATS", 2_000_000)
    references, spatial, gene_sets = draw(n_panel=15, n_genes=n_genes)
    (stack,) = train(TrainingData(references, spatial, gene_sets, replace(SMALL, max_steps=2)), FINAL[:1])
    growth = []
    for n in (2_000, 2_000, 16_000):  # the first warms up
        cells = spatial.take(np.arange(n) % len(spatial.cells))
        growth.append(peak_growth(Imputer([stack], cells, gene_sets, n_samples=n_samples)))
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
    assert not np.allclose(encode_reference(stacks[0], 0, references[0], gene_sets)[:60], whole[:60])


def test_support_is_where_reference_cells_are():
    rng = np.random.default_rng(0)
    latents = [rng.normal(0, 1, (4000, 5)), rng.normal(0, 1, (3000, 5)) + 6]
    support = Support(latents)
    inside = np.concatenate([rng.normal(0, 1, (500, 5)), rng.normal(0, 1, (500, 5)) + 6])
    assert support.contains(inside).mean() > 0.97
    assert not support.contains(rng.normal(0, 1, (500, 5)) - 6).any()
    assert not support.contains(np.full((1, 5), 3.0)).any()
    assert np.array_equal(Support(latents).contains(inside), support.contains(inside))
    few = Support([rng.normal(0, 1, (5, 2))])
    assert few.contains(np.zeros((1, 2))).tolist() == [True]


# ---- files ----


@pytest.fixture
def genes(tissue):
    references, spatial, gene_sets = tissue
    return gene_table(spatial, references, gene_sets, None, 0.2, 0.1)


def test_imputed_file_is_complete(tissue, stacks, genes, tmp_path, monkeypatch):
    references, spatial, gene_sets = tissue
    monkeypatch.setattr(imputation, "BLOCK_FLOATS", 50_000)
    chunks = list(Imputer(stacks, spatial, gene_sets, n_samples=5))
    path = tmp_path / "imputed.h5ad"
    with ImputedWriter.open(path, spatial, genes, {"sample": "s1", "kappa": 0.0, "digests": ["a", "b"]}) as writer:
        for chunk in chunks:
            writer.write(chunk, chunk.cells % 2 == 0)
    assert [p.name for p in tmp_path.iterdir()] == ["imputed.h5ad"]
    data = ad.read_h5ad(path)
    assert data.obs_names.tolist() == spatial.cells.tolist()
    assert data.var_names.tolist() == gene_sets.targets
    assert data.X.dtype == np.float32
    np.testing.assert_allclose(data.X, joined(chunks, "mean"))
    assert set(data.layers) == {"sd", "lower", "upper"}
    for layer in data.layers:
        np.testing.assert_allclose(data.layers[layer], joined(chunks, layer))
    np.testing.assert_array_equal(data.obs["panel_total"], joined(chunks, "panel_total"))
    assert data.obs["supported"].tolist() == [i % 2 == 0 for i in range(120)]
    assert data.obs["celltype"].tolist() == spatial.obs["celltype"].tolist()
    np.testing.assert_array_equal(data.obsm["spatial"], spatial.coords)
    np.testing.assert_allclose(data.obsm["X_gimvi"], joined(chunks, "latent"))
    assert list(data.var) == list(genes.columns[1:])
    assert data.var["measured"].dtype == bool and data.var["measured"].sum() == 15
    np.testing.assert_allclose(data.var["reference_mean"], genes["reference_mean"])
    about = data.uns["spatialimpute"]
    assert about["schema_version"] == "1" and about["sample"] == "s1" and list(about["digests"]) == ["a", "b"]
    backed = ad.read_h5ad(path, backed="r")
    assert backed[5].X.shape == (1, 24)
    backed.file.close()


def test_nothing_is_left_after_an_error(tissue, stacks, genes, tmp_path):
    _, spatial, gene_sets = tissue
    chunk = next(iter(Imputer(stacks, spatial, gene_sets, n_samples=2)))
    path = tmp_path / "imputed.h5ad"
    with pytest.raises(RuntimeError, match="disk"), ImputedWriter.open(path, spatial, genes, {}) as writer:
        writer.write(chunk, chunk.cells >= 0)
        raise RuntimeError("disk")
    assert not list(tmp_path.iterdir())
    unwritable = genes.assign(score="high")  # found when the annotations are written, at the very end
    with pytest.raises(ValueError), ImputedWriter.open(path, spatial, unwritable, {}) as writer:
        writer.write(chunk, chunk.cells >= 0)
    assert not list(tmp_path.iterdir())


def test_latent_file_holds_both_sides(tissue, tmp_path):
    references, spatial, _ = tissue
    unlabeled = make_counts(np.ones((4, 2)), ["a", "b"], "other")
    codes = [np.random.default_rng(i).normal(size=(n, 3)).astype(np.float32) for i, n in enumerate((120, 150, 4))]
    write_latent(tmp_path / "latent.h5ad", spatial, codes[0], [references[0], unlabeled], codes[1:])
    data = ad.read_h5ad(tmp_path / "latent.h5ad")
    assert data.obs_names.is_unique and data.shape == (274, 0)
    np.testing.assert_array_equal(data.obsm["X_gimvi"], np.concatenate(codes))
    assert data.obs["side"].tolist() == ["spatial"] * 120 + ["reference"] * 154
    assert data.obs["dataset"].tolist() == ["spatial"] * 120 + ["reference0"] * 150 + ["other"] * 4
    labels = [*spatial.obs["celltype"], *references[0].obs["celltype"], *[""] * 4]
    assert pd.Series(data.obs["celltype"].astype(str)).tolist() == labels
