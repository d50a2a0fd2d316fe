"""Rounding to what draws can tell; results of threads in order."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from spatialimpute.imputation.in_order import map_in_order
from spatialimpute.imputation.precision import round_summary
from spatialimpute.imputation.reducers import Summary

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
