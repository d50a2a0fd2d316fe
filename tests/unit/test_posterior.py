"""A member's draws, its cross-validated predictions, and the latent space of both sides."""

from dataclasses import replace

import numpy as np
import pytest
from scipy import stats
from spatialimpute.folds import held_out_genes, scale_cells
from spatialimpute.methods.gimvi import posterior as held_out
from spatialimpute.methods.gimvi.data import Member, TrainingData
from spatialimpute.methods.gimvi.draws import posterior_draws
from spatialimpute.methods.gimvi.posterior import StackSampler, held_out_predictions, mean_frequencies
from spatialimpute.methods.gimvi.support import Support, encode_reference
from spatialimpute.methods.gimvi.training import train
from tissue import PAPER, SMALL, draw

FINAL = [Member(None, 0.0, 0), Member(None, 0.0, 1), Member(None, 0.0, 2, 8)]


@pytest.fixture(scope="module")
def tissue():
    """References, spatial, gene sets; spatial cells 3 and 7 have no counts."""
    references, spatial, gene_sets = draw(depths=(60, 12))
    X = spatial.X.tolil()
    X[[3, 7]] = 0
    return references, replace(spatial, X=X.tocsr()), gene_sets


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
