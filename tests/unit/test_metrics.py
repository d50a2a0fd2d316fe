"""Vectorized scores against brute-force loops, and the properties the scores must have."""

import numpy as np
import pytest
import scipy.sparse as sp
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import entropy, pearsonr, rankdata, spearmanr, zscore
from spatialimpute.evaluation import metrics

N, H = 60, 7


@pytest.fixture
def data():
    rng = np.random.default_rng(3)
    counts = rng.poisson(rng.gamma(0.7, 2.0, (N, H))).astype(float)
    prediction = rng.gamma(1.0, 0.02, (N, H)) * (1 + counts)
    return counts, prediction, rng.integers(5, 200, N).astype(float)


def brute_ssim(x, y):
    x, y = x / x.max(), y / y.max()
    c1, c2 = 1e-4, 9e-4
    luminance = (2 * x.mean() * y.mean() + c1) / (x.mean() ** 2 + y.mean() ** 2 + c1)
    contrast = (2 * x.std() * y.std() + c2) / (x.var() + y.var() + c2)
    covariance = np.mean((x - x.mean()) * (y - y.mean()))
    return luminance * contrast * (covariance + c2 / 2) / (x.std() * y.std() + c2 / 2)


def brute_partial(x, y, *given):
    """Correlation of the residuals that ranks leave on the ranks of what is given."""
    design = np.column_stack([np.ones(len(x)), *map(rankdata, given)])
    residuals = [v - design @ np.linalg.lstsq(design, v, rcond=None)[0] for v in (rankdata(x), rankdata(y))]
    return np.corrcoef(residuals)[0, 1]


def brute_jsd(x, y):
    p, q = x / x.sum(), y / y.sum()
    return 0.5 * entropy(p, (p + q) / 2) + 0.5 * entropy(q, (p + q) / 2)


def test_scores_against_loops(data):
    counts, prediction, total = data
    table = metrics.score_genes(counts, prediction, total)
    for j in range(H):
        x, y, expected = counts[:, j], prediction[:, j], prediction[:, j] * total
        row = table.iloc[j]
        assert row.spearman == pytest.approx(spearmanr(x, expected)[0])
        assert row.spearman_fraction == pytest.approx(spearmanr(x / total, y)[0])
        assert row.spearman_partial == pytest.approx(brute_partial(x, y, total))
        assert row.pearson == pytest.approx(pearsonr(x, expected)[0])
        assert row.rmse_z == pytest.approx(np.sqrt(np.mean((zscore(x) - zscore(expected)) ** 2)))
        assert row.ssim == pytest.approx(brute_ssim(x, expected))
        assert row.jsd == pytest.approx(brute_jsd(x, expected))
        assert row.n_cells == N
        assert row.detected == np.count_nonzero(x)


@pytest.mark.parametrize("genes_at_once", [1, H + 1])
def test_more_genes_than_one_chunk(data, genes_at_once, monkeypatch):
    counts, prediction, total = data
    monkeypatch.setattr(metrics, "BLOCK_FLOATS", genes_at_once * len(total))
    times = 3
    many = metrics.score_genes(np.tile(counts, times), np.tile(prediction, times), total)
    one = metrics.score_genes(counts, prediction, total)
    assert len(many) == H * times
    for start in range(0, len(many), H):
        np.testing.assert_allclose(many.iloc[start : start + H], one)


def test_constant_vectors_score_zero_not_nan(data):
    counts, prediction, total = data
    counts[:, 0] = 0
    prediction[:, 1] = 0.1
    prediction[:, 2] = 0
    table = metrics.score_genes(counts, prediction, total)
    assert np.isfinite(table.to_numpy(float)).all()
    assert table.spearman[0] == table.pearson[0] == table.spearman_partial[0] == 0
    assert table.spearman_partial[1] == table.spearman_fraction[1] == 0
    assert table.spearman[1] == pytest.approx(spearmanr(counts[:, 1], total)[0])
    assert table.jsd[0] == pytest.approx(np.log(2))


def test_partial_given_several(data):
    counts, prediction, total = data
    detected = np.random.default_rng(5).integers(0, 9, N) + total // 20
    found = metrics.spearman_partial(counts, prediction, np.stack([total, detected], axis=1))
    expected = [brute_partial(x, y, total, detected) for x, y in zip(counts.T, prediction.T, strict=True)]
    np.testing.assert_allclose(found, expected)
    # What adds nothing, since it is constant or ranks cells as another does, changes nothing.
    more = np.stack([total, detected, np.ones(N), total**2], axis=1)
    np.testing.assert_allclose(metrics.spearman_partial(counts, prediction, more), expected)


def test_partial_of_the_total_itself_is_zero(data):
    counts, _, total = data
    assert metrics.spearman_partial(counts, np.tile(total[:, None], H), total) == pytest.approx(np.zeros(H))


@given(seed=st.integers(0, 2**32 - 1), n=st.integers(3, 40))
@settings(max_examples=50, deadline=None)
def test_invariances(seed, n):
    rng = np.random.default_rng(seed)
    x, y = rng.poisson(2.0, (n, 3)).astype(float), rng.gamma(1.0, 1.0, (n, 3))
    g, order = rng.integers(1, 9, n).astype(float), rng.permutation(n)
    # Rank scores see order only; all scores ignore the order of the cells and the scale of the prediction.
    np.testing.assert_allclose(metrics.spearman(x, y), metrics.spearman(x, np.exp(y)))
    np.testing.assert_allclose(
        metrics.spearman_partial(x, y, g), metrics.spearman_partial(x**3, np.sqrt(y), np.log(g)), atol=1e-9
    )
    for score in (metrics.pearson, metrics.spearman, metrics.rmse_z, metrics.ssim, metrics.jsd):
        np.testing.assert_allclose(score(x, y), score(x[order], 7 * y[order]), atol=1e-9)
        np.testing.assert_allclose(score(x, y), score(y, x), atol=1e-9)
    assert (np.abs(metrics.spearman_partial(x, y, g)) <= 1 + 1e-9).all()
    assert ((metrics.jsd(x, y) >= -1e-12) & (metrics.jsd(x, y) <= np.log(2) + 1e-12)).all()
    np.testing.assert_allclose(metrics.rmse_z(x, x), 0)
    np.testing.assert_allclose(metrics.ssim(y, y), 1)


def brute_moran(x, coords, k):
    x = x - x.mean()
    above = 0.0
    for i in range(len(x)):
        distance = np.linalg.norm(coords - coords[i], axis=1)
        distance[i] = np.inf
        above += x[i] * x[np.argsort(distance)[:k]].mean()
    return above / np.sum(x**2)


@pytest.mark.parametrize("block", [1, 10**6])
def test_moran_against_loop(data, block, monkeypatch):
    monkeypatch.setattr(metrics, "BLOCK_FLOATS", block)
    counts, _, _ = data
    coords = np.random.default_rng(0).uniform(size=(N, 2))
    expected = [brute_moran(counts[:, j], coords, 6) for j in range(H)]
    assert metrics.moran_i(counts, coords) == pytest.approx(expected)
    assert metrics.moran_i(sp.csr_matrix(counts), coords) == pytest.approx(expected)


def test_moran_of_patterns():
    grid = np.stack(np.meshgrid(np.arange(20.0), np.arange(20.0)), -1).reshape(-1, 2)
    rng = np.random.default_rng(0)
    values = np.column_stack([grid[:, 0], rng.normal(size=400), np.ones(400), (grid.sum(axis=1) % 2)])
    gradient, noise, constant, board = metrics.moran_i(values, grid, k=4)
    assert gradient > 0.9
    assert abs(noise) < 0.1
    assert constant == 0
    assert board < -0.8


def test_moran_with_cells_at_one_place():
    coords = np.zeros((12, 2))
    values = np.random.default_rng(0).normal(size=(12, 2))
    assert np.isfinite(metrics.moran_i(values, coords)).all()
    assert metrics.moran_i(values[:1], coords[:1]) == pytest.approx([0, 0])
