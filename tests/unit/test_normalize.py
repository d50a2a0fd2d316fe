"""Depth, log1p and z-scores against dense arithmetic and scikit-learn."""

import numpy as np
import pytest
import scipy.sparse as sp
from sklearn.preprocessing import StandardScaler
from sklearn.preprocessing import normalize as unit_length
from spatialimpute.normalize import ZScore, log_normalize


@pytest.fixture
def counts():
    """Cells of very different depth; cell 5 is empty, gene 3 is zero everywhere."""
    rng = np.random.default_rng(0)
    X = rng.poisson(rng.gamma(1.0, 1.0, 12) * rng.lognormal(1.5, 0.8, (80, 1))).astype(np.float32)
    X[5], X[:, 3] = 0, 0
    return sp.csr_matrix(X)


def dense_log(X, depth, total):
    return np.log1p(X / np.maximum(total, 1)[:, None] * depth)


def test_log_normalize_against_dense(counts):
    X = counts.toarray()
    total = X.sum(axis=1)
    found = log_normalize(counts, 40.0)
    assert sp.issparse(found) and found.dtype == np.float64
    np.testing.assert_allclose(found.toarray(), dense_log(X, 40.0, total), rtol=1e-6)
    assert found.nnz == counts.nnz and found[5].nnz == 0
    # The total may be over more genes than there are columns.
    some, over_all = counts[:, :4], log_normalize(counts[:, :4], 40.0, total)
    np.testing.assert_allclose(over_all.toarray(), dense_log(some.toarray(), 40.0, total), rtol=1e-6)
    before = counts.toarray()
    log_normalize(counts, 3.0)
    np.testing.assert_array_equal(counts.toarray(), before)


def test_every_counted_cell_has_the_depth(counts):
    totals = np.expm1(log_normalize(counts, 25.0).toarray()).sum(axis=1)
    np.testing.assert_allclose(np.delete(totals, 5), 25.0)
    assert totals[5] == 0


def test_zscore_against_scikit_learn(counts):
    X = counts.toarray()
    total = X.sum(axis=1)
    scale = ZScore.fit(counts)
    assert scale.depth == np.median(total[total > 0])
    log = dense_log(X, scale.depth, total)
    theirs = StandardScaler().fit(log[total > 0])  # population sd; 1 where a gene is constant
    np.testing.assert_allclose(scale.mean, theirs.mean_, atol=1e-6)
    np.testing.assert_allclose(scale.sd, theirs.scale_, rtol=1e-5)
    assert scale.sd[3] == 1
    expected = theirs.transform(log)
    np.testing.assert_allclose(scale.transform(counts), expected, atol=1e-5)
    unit = scale.unit(counts)
    assert unit.dtype == np.float32
    np.testing.assert_allclose(unit, unit_length(expected), atol=1e-5)
    np.testing.assert_allclose(np.linalg.norm(unit, axis=1), 1, rtol=1e-5)


def test_zscore_with_weights_and_a_depth_against_scikit_learn(counts):
    X = counts.toarray()
    total = X.sum(axis=1)
    weight = np.random.default_rng(1).random(80)
    weight[:10] = 0
    scale = ZScore.fit(counts, 33.0, weight)
    assert scale.depth == 33.0
    log = dense_log(X, 33.0, total)
    theirs = StandardScaler().fit(log[total > 0], sample_weight=weight[total > 0])
    np.testing.assert_allclose(scale.mean, theirs.mean_, atol=1e-6)
    np.testing.assert_allclose(scale.sd, theirs.scale_, rtol=1e-5)
    # Only the weights' ratios count, and none that an empty cell has.
    more = weight * 7
    more[5] = 1e6
    other = ZScore.fit(counts, 33.0, more)
    np.testing.assert_allclose(other.mean, scale.mean, rtol=1e-10, atol=1e-15)
    np.testing.assert_allclose(other.sd, scale.sd, rtol=1e-10)
    same, plain = ZScore.fit(counts, weight=np.full(80, 0.3)), ZScore.fit(counts)
    assert same.depth == plain.depth
    np.testing.assert_allclose(same.mean, plain.mean, rtol=1e-10, atol=1e-15)
    np.testing.assert_allclose(same.sd, plain.sd, rtol=1e-10)


def test_zscore_from_its_arrays(counts):
    scale = ZScore.fit(counts)
    arrays = scale.as_arrays()
    assert arrays["depth"].shape == ()
    again = ZScore.from_arrays(arrays | {"something": np.ones(3)})
    assert again.unit(counts).tobytes() == scale.unit(counts).tobytes()


def test_cells_are_normalized_one_by_one(counts):
    """By statistics that were fixed before: a part of the cells gets what it gets among all."""
    scale = ZScore.fit(counts)
    np.testing.assert_array_equal(scale.unit(counts[20:37]), scale.unit(counts)[20:37])
    assert not np.allclose(ZScore.fit(counts[:40]).unit(counts[20:37]), scale.unit(counts[20:37]))


def test_nothing_to_learn_from():
    empty = sp.csr_matrix((4, 3), dtype=np.float32)
    scale = ZScore.fit(empty)
    assert (scale.depth, scale.mean.tolist(), scale.sd.tolist()) == (1.0, [0, 0, 0], [1, 1, 1])
    assert (scale.unit(empty) == 0).all()
    one = ZScore.fit(sp.csr_matrix(np.array([[2.0, 4.0]])))
    np.testing.assert_allclose(one.transform(sp.csr_matrix(np.array([[1.0, 2.0]]))), 0, atol=1e-12)
