"""The one estimator: draws and moments agree, no component leads because it predicts more counts, the graph's share."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from spatialimpute.ensemble import Blend, Recipe, blend_draws, blend_moments, fit_blend, member_estimates

M, B, G = 3, 40, 15
KNN = "knn"


@pytest.fixture
def parts():
    """Means and standard deviations of three members on scales of their own, and a kNN estimate."""
    return make_parts(0)


def make_parts(seed):
    rng = np.random.default_rng(seed)
    means = rng.gamma(2, 0.01, (M, B, G)).astype(np.float32) * np.arange(1, M + 1, dtype=np.float32)[:, None, None]
    sds = (rng.random((M, B, G)) * 0.01).astype(np.float32)
    return means, sds, rng.gamma(2, 0.03, (B, G)).astype(np.float32)


def fit(means, knn, weight=0.0, *shares):
    return fit_blend(np.nanmean(means, axis=1), {KNN: np.nanmean(knn, axis=0)}, Recipe({KNN: weight}, *shares))


def blended(means, sds, knn, weight=0.0):
    return blend_moments(means, sds, {KNN: knn}, fit(means, knn, weight))


def test_members_against_loops(parts):
    means, sds, knn = parts
    means[:, 7, :5] = sds[:, 7, :5] = np.nan  # a cell without counts on the genes in use of the fold
    mean, sd = blended(means, sds, knn)
    assert np.isnan(mean[7, :5]).all() and np.isnan(sd[7, :5]).all() and not np.isnan(np.delete(mean, 7, 0)).any()
    for j in (0, 6, 14):
        own = [np.mean([v for v in one[:, j] if not np.isnan(v)]) for one in means]
        overall = np.mean(own)
        for c in (0, 8, 39):
            # A mixture of the members' distributions, each scaled to the common mean.
            scaled = [one[c, j] * overall / m for one, m in zip(means, own, strict=True)]
            spreads = [one[c, j] * overall / m for one, m in zip(sds, own, strict=True)]
            assert mean[c, j] == pytest.approx(np.mean(scaled), rel=1e-5)
            variance = np.mean([s**2 + m**2 for s, m in zip(spreads, scaled, strict=True)]) - np.mean(scaled) ** 2
            assert sd[c, j] == pytest.approx(np.sqrt(variance), rel=1e-4)
    np.testing.assert_allclose(np.nanmean(mean, 0), np.mean(np.nanmean(means, 1), 0), rtol=1e-5)


def test_one_member_alone_is_itself(parts):
    means, sds, knn = parts
    mean, sd = blended(means[:1], sds[:1], knn)
    np.testing.assert_allclose(mean, means[0], rtol=1e-6)
    np.testing.assert_allclose(sd, sds[0], rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("weight", [0.0, 0.2, 0.5])
def test_another_method_against_loops(parts, weight):
    means, sds, knn = parts
    alone, alone_sd = blended(means, sds, knn)
    mean, sd = blended(means, sds, knn, weight)
    np.testing.assert_allclose(sd, (1 - weight) * alone_sd, rtol=1e-6)
    for j in (0, 14):
        scale = alone[:, j].mean() / knn[:, j].mean()
        np.testing.assert_allclose(mean[:, j], (1 - weight) * alone[:, j] + weight * scale * knn[:, j], rtol=1e-5)
    np.testing.assert_allclose(mean.mean(0), alone.mean(0), rtol=1e-5)


def test_two_other_methods(parts):
    means, sds, knn = parts
    others = {KNN: knn, "spage": knn[::-1] * 4}
    other_means = {method: values.mean(0) for method, values in others.items()}
    blend = fit_blend(means.mean(1), other_means, Recipe({KNN: 0.2, "spage": 0.3, "tangram": 0.0}))
    assert blend.weights == {KNN: 0.2, "spage": 0.3} and blend.member_weight == pytest.approx(0.5)
    mean, _ = blend_moments(means, sds, others, blend)
    alone, _ = blended(means, sds, knn)
    scale = alone.mean(0) / knn.mean(0)
    expected = 0.5 * alone + 0.2 * scale * knn + 0.3 * scale * knn[::-1]
    np.testing.assert_allclose(mean, expected, rtol=1e-5)


@pytest.mark.parametrize("shares", [(), (0.4, 0.1), (0.6, 0.4)], ids=["alone", "graph", "graph alone"])
@pytest.mark.parametrize("weight", [0.0, 0.3])
def test_moments_are_those_of_the_draws(parts, weight, shares):
    """EVALUATE has moments, IMPUTE draws: one estimator."""
    means, _, knn = parts
    rng = np.random.default_rng(1)
    draws = torch.from_numpy((means[:, None] * rng.gamma(4, 0.25, (M, 30, B, G))).astype(np.float32))
    sds, means = (part.numpy() for part in torch.std_mean(draws, dim=1, correction=0))
    blend = fit(means, knn, weight, *shares)
    nearby = rng.gamma(2, 0.01, (M, B, G)).astype(np.float32) if shares else None
    mean, sd = blend_moments(means, sds, {KNN: knn}, blend, nearby)
    given = draws.clone()
    found = blend_draws(given, {KNN: knn}, blend, nearby)
    assert found.data_ptr() == given.data_ptr() and found.shape == draws.shape
    all_draws = found.flatten(0, 1).numpy()
    np.testing.assert_allclose(all_draws.mean(0), mean, rtol=1e-4)
    np.testing.assert_allclose(all_draws.std(0), sd, rtol=1e-3)


@pytest.mark.parametrize("weight", [0.0, 0.3])
def test_what_the_graph_adds_against_loops(parts, weight):
    """Every draw keeps its own share; of the rest, each member's is added to the member's draws."""
    means, sds, knn = parts
    nearby = np.random.default_rng(2).gamma(2, 0.01, (M, B, G)).astype(np.float32)
    blend = fit(means, knn, weight, 0.3, 0.2)
    mean, sd = blend_moments(means, sds, {KNN: knn}, blend, nearby)
    own = member_estimates(means, {KNN: knn}, blend)
    assert own.dtype == np.float32
    for c, j in ((0, 0), (39, 14)):
        scaled = [(1 - weight) * blend.member_scales[m, j] * means[m, c, j] for m in range(M)]
        with_knn = [value + (weight * blend.scales[KNN][j] * knn[c, j] if weight else 0) for value in scaled]
        np.testing.assert_allclose(own[:, c, j], with_knn, rtol=1e-5)
        centers = [0.5 * value + nearby[m, c, j] for m, value in enumerate(with_knn)]
        spreads = [0.5 * (1 - weight) * blend.member_scales[m, j] * sds[m, c, j] for m in range(M)]
        assert mean[c, j] == pytest.approx(np.mean(centers), rel=1e-5)
        variance = np.mean(np.square(spreads)) + np.var(centers)
        assert sd[c, j] == pytest.approx(np.sqrt(variance), rel=1e-4)


def test_no_share_of_the_graph_is_to_the_bit_as_without(parts):
    means, sds, knn = parts
    draws = torch.from_numpy(np.random.default_rng(1).gamma(4, 0.25, (M, 5, B, G)).astype(np.float32))
    without, zero = fit(means, knn, 0.3), fit(means, knn, 0.3, 0.0, 0.0)
    for ours, theirs in zip(
        blend_moments(means, sds, {KNN: knn}, zero), blend_moments(means, sds, {KNN: knn}, without), strict=True
    ):
        assert ours.tobytes() == theirs.tobytes()
    found, expected = (blend_draws(draws.clone(), {KNN: knn}, blend) for blend in (zero, without))
    assert torch.equal(found, expected)


def test_some_genes(parts):
    means, sds, knn = parts
    blend = fit(means, knn, 0.3)
    whole = blend_moments(means, sds, {KNN: knn}, blend)
    for genes in (np.array([3, 0, 14]), np.arange(G) % 4 == 1, slice(4, 9)):
        some = blend_moments(means[..., genes], sds[..., genes], {KNN: knn[:, genes]}, blend.take(genes))
        for ours, theirs in zip(some, whole, strict=True):
            np.testing.assert_array_equal(ours, theirs[:, genes])
    assert blend.take(np.array([2])).recipe == blend.recipe


def test_a_component_that_predicts_nothing_stays_finite(parts):
    means, sds, knn = parts
    means[1, :, 4] = sds[1, :, 4] = knn[:, 5] = 0
    mean, sd = blended(means, sds, knn, 0.5)
    assert np.isfinite(mean).all() and np.isfinite(sd).all()
    assert (mean >= 0).all()


seeds = st.integers(0, 10_000)
weights = st.sampled_from([0.0, 0.001, 0.25, 0.5, 0.999])


@given(
    seed=seeds, weight=weights, factor=st.floats(1e-3, 1e3), member=st.integers(0, M - 1), gene=st.integers(0, G - 1)
)
@settings(max_examples=50, deadline=None)
def test_the_scale_of_a_component_does_not_matter(seed, weight, factor, member, gene):
    """Relative to the common mean, which it has its part in: profiles over cells stay as they are."""
    means, sds, knn = make_parts(seed)
    before = blended(means, sds, knn, weight)
    common = means.mean(1).mean(0)[gene]
    means[member, :, gene] *= np.float32(factor)
    sds[member, :, gene] *= np.float32(factor)
    moved = means.mean(1).mean(0)[gene] / common
    after = blended(means, sds, knn, weight)
    expected = [values.copy() for values in before]
    for values in expected:
        values[:, gene] *= moved
    for ours, theirs in zip(after, expected, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-3, atol=1e-7)
    knn[:, gene] *= np.float32(factor)  # another method's scale matters not at all
    for ours, theirs in zip(blended(means, sds, knn, weight), after, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-4)


@given(seed=seeds, weight=weights)
@settings(max_examples=50, deadline=None)
def test_the_estimate_lies_between_its_components(seed, weight):
    means, sds, knn = make_parts(seed)
    blend = fit(means, knn, weight)
    mean, sd = blend_moments(means, sds, {KNN: knn}, blend)
    scaled = [*(means * blend.member_scales[:, None]), knn * blend.scales.get(KNN, 0)][: M + (weight > 0)]
    assert (mean >= np.min(scaled, axis=0) * (1 - 1e-5)).all() and (mean <= np.max(scaled, axis=0) * (1 + 1e-5)).all()
    assert (sd >= 0).all()
    if weight == 0:
        assert blend.scales == {} and blend.member_weight == 1
        np.testing.assert_allclose(mean, np.mean(scaled, axis=0), rtol=1e-5)
    if weight == 0.999:
        assert blend.member_weight == pytest.approx(0.001)
        np.testing.assert_allclose(mean, scaled[-1], rtol=0.05, atol=1e-3 * mean.max())
        assert sd.max() < 0.001 * np.max(sds * blend.member_scales[:, None] + scaled[:M])


def test_nothing_is_fitted_when_it_is_applied(parts):
    """A stored blend gives a cell the same estimate, whoever is with it."""
    means, sds, knn = parts
    blend = fit(means, knn, 0.4)
    stored = Blend(blend.member_scales.copy(), Recipe(dict(blend.weights)), dict(blend.scales))
    whole, _ = blend_moments(means, sds, {KNN: knn}, blend)
    one, _ = blend_moments(means[:, 5:6], sds[:, 5:6], {KNN: knn[5:6]}, stored)
    np.testing.assert_array_equal(one, whole[5:6])
