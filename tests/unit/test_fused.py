"""The compiled likelihood against the one it stands for, which takes double precision and is tested against scipy."""

import math

import numba
import numpy as np
import pytest
import scipy.special
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from spatialimpute.methods.gimvi import fused
from spatialimpute.methods.gimvi.distributions import MASKED_LOGIT, CountBatch, CountLogLikelihood, count_log_likelihood
from spatialimpute.methods.gimvi.fused import FusedCountLogLikelihood

CASES = {"poisson": (False, False), "nb": (True, False), "zip": (False, True), "zinb": (True, True)}


def count_batch(x: torch.Tensor) -> CountBatch:
    flat = torch.nonzero(x.view(-1)).squeeze(1)
    cells, n_genes = x.shape[1:]
    parameter = flat // (cells * n_genes) * n_genes + flat % n_genes
    return CountBatch(x, x.view(-1)[flat], flat, flat // n_genes, parameter)


def draw(seed, members=2, cells=3, n_genes=40, largest=3.0, spread=2.0):
    """Counts, mostly 0, and parameters, in single precision."""
    rng = np.random.default_rng(seed)
    shape = (members, cells, n_genes)
    x = np.floor(rng.lognormal(0, largest, shape)) * (rng.random(shape) < 0.2)
    parameters = [
        spread * rng.normal(size=shape), rng.normal(5, 1, shape[:2]), spread * rng.normal(size=(members, n_genes)),
        spread * rng.normal(size=shape), rng.random((members, n_genes)),
    ]  # fmt: skip
    return torch.tensor(x, dtype=torch.float32), [torch.tensor(p, dtype=torch.float32) for p in parameters]


def evaluate(function, case, x, parameters, dtype):
    """Likelihood and gradients, with an upstream gradient of its own for each cell."""
    logits, library, log_theta, pi, weight = (value.to(dtype) for value in parameters)
    with_theta, with_pi = CASES[case]
    inputs = [logits, library, log_theta if with_theta else None, pi if with_pi else None]
    inputs = [None if value is None else value.clone().requires_grad_() for value in inputs]
    value = function.apply(*inputs, weight, count_batch(x.to(dtype)))
    upstream = torch.linspace(-1, 2, value.numel(), dtype=dtype).view_as(value)
    (value * upstream).sum().backward()
    return [value.detach()] + [one.grad for one in inputs if one is not None]


def assert_agree(case, x, parameters):
    """To single precision of the terms that are summed; or as nearly as operations of single precision come."""
    ours = evaluate(FusedCountLogLikelihood, case, x, parameters, torch.float32)
    single = evaluate(CountLogLikelihood, case, x, parameters, torch.float32)
    exact = evaluate(CountLogLikelihood, case, x, parameters, torch.float64)
    for one, other, truth in zip(ours, single, exact, strict=True):
        assert one.dtype == torch.float32 and one.shape == truth.shape
        error, allowed = (one - truth).abs().max(), 2 * (other - truth).abs().max() + 2e-6 * (truth.abs().max() + 1)
        assert error <= allowed, (case, error, allowed)


@pytest.mark.parametrize("case", CASES)
@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10_000))
def test_the_compiled_likelihood_is_the_one_that_is_tested(case, seed):
    assert_agree(case, *draw(seed))


@pytest.mark.parametrize("case", CASES)
def test_extremes(case):
    """Counts as of deep sequencing; dispersions, logits and dropouts far out; masked genes."""
    assert_agree(case, *draw(1, largest=5.0))
    x, parameters = draw(2, spread=6.0)
    assert_agree(case, x, parameters)
    x[..., :5] = 0
    parameters[0][..., :5] = MASKED_LOGIT
    assert_agree(case, x, parameters)
    gradients = evaluate(FusedCountLogLikelihood, case, x, parameters, torch.float32)[1]
    assert not gradients[..., :5].any()


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_what_is_not_finite_shows(case, value):
    """Or a training that has failed would go on."""
    x, parameters = draw(3)
    parameters[0][1, 2, 7] = value
    likelihood = evaluate(FusedCountLogLikelihood, case, x, parameters, torch.float32)[0]
    assert not torch.isfinite(likelihood[1, 2])
    assert torch.isfinite(likelihood[0]).all()


def test_a_cell_alone_is_as_in_a_stack():
    x, parameters = draw(4)
    together = evaluate(FusedCountLogLikelihood, "zinb", x, parameters, torch.float32)[0]
    for m in range(2):
        alone = FusedCountLogLikelihood.apply(*(p[m : m + 1] for p in parameters), count_batch(x[m : m + 1]))
        assert torch.equal(alone[0], together[m])


def test_which_one_is_taken():
    x, parameters = draw(5)
    compiled = count_log_likelihood(count_batch(x), *parameters)
    double = count_log_likelihood(count_batch(x.double()), *(value.double() for value in parameters))
    assert torch.equal(compiled, FusedCountLogLikelihood.apply(*parameters, count_batch(x)))
    assert torch.equal(double, CountLogLikelihood.apply(*(v.double() for v in parameters), count_batch(x.double())))


# ---- functions of one number ----

exp = numba.vectorize(["float32(float32)"])(lambda x: fused._exp(x))
log = numba.vectorize(["float32(float32)"])(lambda x: fused._log(x))


def test_exp_and_log():
    x = np.linspace(-80, 80, 100_001).astype(np.float32)
    np.testing.assert_allclose(exp(x), np.exp(x.astype(np.float64)), rtol=3e-7)
    assert exp(np.float32(-1e4)) == 0 and np.isfinite(exp(np.float32(1e5)))
    x = np.exp(np.linspace(-85, 85, 100_001)).astype(np.float32)
    np.testing.assert_allclose(log(x), np.log(x.astype(np.float64)), rtol=3e-7, atol=1e-7)
    near = (1 - np.logspace(-7, -1, 1000)).astype(np.float32)
    np.testing.assert_allclose(log(near), np.log(near.astype(np.float64)), rtol=3e-7)


@pytest.mark.parametrize("count", [1, 2, 15, 16, 17, 40, 1_000, 215_110])
@pytest.mark.parametrize("theta", [1e-4, 0.3, 5.0, 1e4])
def test_ratios_of_gamma_functions(count, theta):
    value, slope = fused._gamma_ratio(float(count), theta)
    exact = scipy.special.loggamma(count + theta) - scipy.special.loggamma(theta)
    assert value == pytest.approx(exact, rel=1e-9, abs=1e-8)
    assert slope == pytest.approx(scipy.special.digamma(count + theta) - scipy.special.digamma(theta), rel=1e-8)


def test_nowhere_to_keep_what_was_compiled(monkeypatch):
    """As in a container whose file system is read-only: it is compiled again."""

    def nowhere(*given, cache=False, **options):
        if cache:
            raise RuntimeError("cannot cache function: no locator available")
        return numba.jit(*given, nopython=True, **options)

    monkeypatch.setattr(numba, "njit", nowhere)
    function = fused.kernel.__wrapped__(False, False)
    x, (logits, library, *_) = draw(6)
    rows = [x.view(6, 40).numpy(), logits.view(6, 40).numpy(), np.empty((0, 40), np.float32)]
    batch, total = count_batch(x), np.empty(6, np.float32)
    function(
        *rows, library.exp().view(-1).numpy(), np.empty((0, 40), np.float32), np.ones((2, 40), np.float32),
        batch.value.numpy(), batch.flat.numpy(), batch.row.numpy(), 3,
        total, np.empty(6, np.float32), np.empty((6, 40), np.float32), rows[2].copy(), rows[2].copy(),
    )  # fmt: skip
    expected = CountLogLikelihood.apply(logits, library, None, None, None, batch)
    np.testing.assert_allclose(total, expected.view(-1), rtol=1e-4)
