"""Count likelihoods against scipy, their gradients against finite differences."""

import numpy as np
import pytest
import scipy.special
import scipy.stats
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from spatialimpute.methods.gimvi.distributions import MASKED_LOGIT, CountBatch, count_log_likelihood

MEMBERS, CELLS, GENES = 2, 3, 5


def sparse(x: np.ndarray) -> CountBatch:
    x = torch.tensor(x)
    flat = torch.nonzero(x.view(-1)).squeeze(1)
    cells, n_genes = x.shape[1:]
    parameter = flat // (cells * n_genes) * n_genes + flat % n_genes
    return CountBatch(x, x.view(-1)[flat], flat, flat // n_genes, parameter)


def draw(seed: int):
    rng = np.random.default_rng(seed)
    x = rng.poisson(1.5, (MEMBERS, CELLS, GENES)).astype(float) * rng.integers(0, 2, (MEMBERS, CELLS, GENES))
    logits = rng.normal(size=x.shape)
    log_library = rng.normal(2, 0.5, x.shape[:2])
    log_theta = rng.normal(size=(MEMBERS, GENES))
    pi = rng.normal(size=x.shape)
    return x, logits, log_library, log_theta, pi


def reference(x, logits, log_library, log_theta, pi, gene_weight=1.0):
    """The same log-likelihood from scipy.stats, with the data's constant taken out; each gene's term by its weight."""
    mu = np.exp(log_library)[..., None] * scipy.special.softmax(logits, axis=-1)
    if log_theta is None:
        log_p = scipy.stats.poisson.logpmf(x, mu)
    else:
        theta = np.exp(log_theta)[:, None]
        log_p = scipy.stats.nbinom.logpmf(x, theta, theta / (theta + mu))
    if pi is not None:
        dropout = scipy.special.expit(pi)
        log_p = np.where(x == 0, np.log(dropout + (1 - dropout) * np.exp(log_p)), np.log1p(-dropout) + log_p)
    return ((log_p + scipy.special.gammaln(x + 1)) * gene_weight).sum(-1)


CASES = {"poisson": (False, False), "nb": (True, False), "zip": (False, True), "zinb": (True, True)}


@pytest.mark.parametrize("case", CASES)
@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10_000))
def test_log_likelihood_equals_scipy(case, seed):
    with_theta, with_pi = CASES[case]
    x, logits, log_library, log_theta, pi = draw(seed)
    log_theta, pi = log_theta if with_theta else None, pi if with_pi else None
    tensors = [None if v is None else torch.tensor(v) for v in (logits, log_library, log_theta, pi)]
    ours = count_log_likelihood(sparse(x), *tensors)
    np.testing.assert_allclose(ours.numpy(), reference(x, logits, log_library, log_theta, pi), rtol=1e-10)


@pytest.mark.parametrize("case", CASES)
@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10_000))
def test_weighted_log_likelihood_is_the_weighted_sum_of_scipys_terms(case, seed):
    with_theta, with_pi = CASES[case]
    x, logits, log_library, log_theta, pi = draw(seed)
    log_theta, pi = log_theta if with_theta else None, pi if with_pi else None
    weight = np.random.default_rng(seed).random((MEMBERS, GENES)) * 3
    weight[0, 1] = 0  # a gene that does not count
    tensors = [None if v is None else torch.tensor(v) for v in (logits, log_library, log_theta, pi, weight)]
    ours = count_log_likelihood(sparse(x), *tensors)
    expected = reference(x, logits, log_library, log_theta, pi, weight[:, None])
    np.testing.assert_allclose(ours.numpy(), expected, rtol=1e-10, atol=1e-12)


def draw_weight() -> torch.Tensor:
    return torch.tensor(np.random.default_rng(5).random((MEMBERS, GENES)) * 2)


@pytest.mark.parametrize("weighted", [False, True], ids=["plain", "weighted"])
@pytest.mark.parametrize("case", CASES)
def test_gradients_equal_finite_differences(case, weighted):
    with_theta, with_pi = CASES[case]
    x, *parameters = draw(7)
    used = [True, True, with_theta, with_pi]
    inputs = [torch.tensor(v, requires_grad=True) for v, use in zip(parameters, used, strict=True) if use]
    counts, weight = sparse(x), draw_weight() if weighted else None

    def likelihood(*values):
        values = iter(values)
        return count_log_likelihood(counts, *[next(values) if use else None for use in used], weight)

    assert torch.autograd.gradcheck(likelihood, inputs)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("case", CASES)
def test_weights_of_one_are_none(case, dtype):
    """Value and gradients, in both implementations: to the order in which terms are summed."""
    with_theta, with_pi = CASES[case]
    x, *parameters = draw(11)
    found = []
    for weight in (None, torch.ones(MEMBERS, GENES, dtype=dtype)):
        used = zip(parameters, [True, True, with_theta, with_pi], strict=True)
        inputs = [torch.tensor(v, dtype=dtype, requires_grad=True) if use else None for v, use in used]
        value = count_log_likelihood(sparse(x.astype(str(dtype).removeprefix("torch."))), *inputs, weight)
        upstream = torch.linspace(-1, 2, value.numel(), dtype=dtype).view_as(value)
        value.backward(upstream)
        found.append([value.detach(), *(one.grad for one in inputs if one is not None)])
    for plain, weighted in zip(*found, strict=True):
        torch.testing.assert_close(weighted, plain, rtol=1e-12 if dtype == torch.float64 else 2e-6, atol=1e-12)


@pytest.mark.parametrize("case", CASES)
def test_masked_gene_is_as_if_absent(case):
    """Eq. 5: rho is renormalized over the genes in use, and a masked gene's counts enter nothing."""
    with_theta, with_pi = CASES[case]
    x, logits, log_library, log_theta, pi = draw(3)
    without = [x[..., 1:], logits[..., 1:], log_library]
    without += [log_theta[:, 1:] if with_theta else None, pi[..., 1:] if with_pi else None]
    expected = reference(*without)
    counts = sparse(x + (np.arange(GENES) == 0))  # noise where the member may not look
    counts.x = counts.x * (torch.arange(GENES) > 0)
    counts.value = counts.x.view(-1)[counts.flat]
    logits[..., 0] = MASKED_LOGIT
    tensors = [torch.tensor(v) if v is not None else None for v in (logits, log_library)]
    tensors += [torch.tensor(log_theta) if with_theta else None, torch.tensor(pi) if with_pi else None]
    np.testing.assert_allclose(count_log_likelihood(counts, *tensors).numpy(), expected, rtol=1e-10)
