"""The count likelihood and its gradients in one pass over memory, compiled for the CPU by numba.

The arithmetic is that of :mod:`spatialimpute.methods.gimvi.distributions`, which is its oracle and takes its place on
a GPU. There every operation reads and writes whole tensors; here a cell's genes stay in the cache. Exponentials and
logarithms are polynomials, so that the compiler can take several genes at a time (Cephes' expf and logf, Moshier 1992;
relative error below 3e-7).
"""

from functools import cache

import numba
import numpy as np
import torch
from numba.core import types
from numba.extending import intrinsic
from torch import Tensor

#: Below it, zero inflation is nil in floating point, and its exponential would overflow.
MIN_PI = np.float32(-30.0)
#: Keeps log mu finite where rho has underflowed.
MIN_MU = 1e-30
#: Counts up to which ratios of gamma functions are products; beyond, the rest is Stirling's series.
MAX_PRODUCT = 16
#: All but those that let the compiler take numbers for finite: what is not must be seen.
FAST = {"reassoc", "contract", "arcp", "nsz", "afn"}


@intrinsic
def _as_int(typing_context, value):
    """The bits of a float32 as int32."""

    def generate(context, builder, signature, arguments):
        return builder.bitcast(arguments[0], context.get_value_type(types.int32))

    return types.int32(types.float32), generate


@intrinsic
def _as_float(typing_context, value):
    """int32 bits as a float32."""

    def generate(context, builder, signature, arguments):
        return builder.bitcast(arguments[0], context.get_value_type(types.float32))

    return types.float32(types.int32), generate


@numba.njit(fastmath=FAST, inline="always")
def _exp(x):
    """exp of a float32, exactly 0 below -87 and finite above 88."""
    within = np.float32(0.0) if x < np.float32(-87.0) else np.float32(1.0)
    x = min(max(x, np.float32(-87.0)), np.float32(88.0))
    biased = np.int32(x * np.float32(1.44269504) + np.float32(127.5))
    n = np.float32(biased - np.int32(127))
    r = x - n * np.float32(0.693359375) + n * np.float32(2.12194440e-4)
    p = np.float32(1.9875691500e-4)
    p = p * r + np.float32(1.3981999507e-3)
    p = p * r + np.float32(8.3334519073e-3)
    p = p * r + np.float32(4.1665795894e-2)
    p = p * r + np.float32(1.6666665459e-1)
    p = p * r + np.float32(5.0000001201e-1)
    return (p * r * r + r + np.float32(1.0)) * _as_float(np.int32(biased << np.int32(23))) * within


@numba.njit(fastmath=FAST, inline="always")
def _log(x):
    """log of a positive float32."""
    bits = _as_int(x)
    # The mantissa between sqrt(1/2) and sqrt(2), so that the polynomial is about 0.
    exponent = (bits - np.int32(0x3F3504F3)) >> np.int32(23)
    f = _as_float(np.int32(bits - (exponent << np.int32(23)))) - np.float32(1.0)
    e = np.float32(exponent)
    z = f * f
    p = np.float32(7.0376836292e-2)
    p = p * f + np.float32(-1.1514610310e-1)
    p = p * f + np.float32(1.1676998740e-1)
    p = p * f + np.float32(-1.2420140846e-1)
    p = p * f + np.float32(1.4249322787e-1)
    p = p * f + np.float32(-1.6668057665e-1)
    p = p * f + np.float32(2.0000714765e-1)
    p = p * f + np.float32(-2.4999993993e-1)
    p = p * f + np.float32(3.3333331174e-1)
    return f + (p * f * z + e * np.float32(-2.12194440e-4) - np.float32(0.5) * z) + e * np.float32(0.693359375)


@numba.njit
def _gamma_ratio(x, theta):
    """lgamma(x + theta) - lgamma(theta) and its derivative by theta, for a count x; float64."""
    product, inverse, n = 1.0, 0.0, min(int(x), MAX_PRODUCT)
    for k in range(n):
        product *= theta + k
        inverse += 1.0 / (theta + k)
    value = np.log(product)
    if x > MAX_PRODUCT:
        high, low = x + theta, MAX_PRODUCT + theta
        value += _stirling(high) - _stirling(low)
        inverse += _digamma(high) - _digamma(low)
    return value, inverse


@numba.njit
def _stirling(x):
    """lgamma(x) up to a constant, for x of at least MAX_PRODUCT."""
    return (x - 0.5) * np.log(x) - x + 1 / (12 * x) - 1 / (360 * x**3) + 1 / (1260 * x**5)


@numba.njit
def _digamma(x):
    """digamma(x) for x of at least MAX_PRODUCT."""
    return np.log(x) - 1 / (2 * x) - 1 / (12 * x**2) + 1 / (120 * x**4) - 1 / (252 * x**6)


@cache
def kernel(has_theta: bool, has_pi: bool, cached: bool = True):
    """The compiled function for Poisson or NB, with or without zero inflation.

    It takes x, logits, pi (R, G), library (R,), theta, gene_weight (M, G), the sparse counts value, flat, row (nnz,),
    cells per member, and fills total, grad_library (R,), grad_logits, grad_theta, grad_pi (R, G) with the gradients of
    the sum over cells; all float32. What does not exist is of no rows.
    """

    def fill(
        x, logits, pi, library, theta, weight, value, flat, row, cells,
        total, grad_library, grad_logits, grad_theta, grad_pi,
    ):  # fmt: skip
        n_rows, n_genes = logits.shape
        mu = np.empty(n_genes, np.float32)
        one = np.float32(1.0)
        k = 0
        for r in range(n_rows):
            m = r // cells
            largest, anything = logits[r, 0], np.float32(0.0)
            for g in range(n_genes):
                largest = max(largest, logits[r, g])
                anything += logits[r, g]
                mu[g] = logits[r, g]
            summed = np.float32(0.0)
            # In place: a loop over two arrays is compiled twice, for arrays apart and for arrays that may overlap, and
            # these sum up in another order; which one runs would depend on where in memory the arrays happen to lie.
            for g in range(n_genes):
                mu[g] = _exp(mu[g] - largest)
                summed += mu[g]
            scale = library[r] / summed
            likelihood, gradient = np.float32(0.0), np.float32(0.0)
            for g in range(n_genes):
                mean = mu[g] * scale
                mu[g] = mean
                count, w = x[r, g], weight[m, g]
                share, log_zero, to_theta, th = one, -mean, np.float32(0.0), one
                if has_theta:
                    th = theta[m, g]
                    share = th / (mean + th)
                    log_ratio = _log(share)
                    log_zero = log_ratio * th
                    to_theta = (log_ratio + one - share) * th
                term, counted = log_zero, one
                if has_pi:
                    a = _exp(-max(pi[r, g], MIN_PI))
                    anything += pi[r, g]
                    seen = min(count, one)
                    mixed = a * _exp(log_zero)
                    inside = (mixed + one) + seen * (a - mixed - one)
                    outside = one / (a + one)
                    term = _log(inside * outside) + seen * log_zero
                    counted = mixed / (mixed + one)
                    counted += seen * (one - counted)
                    grad_pi[r, g] = (a * outside - counted) * w
                to_mu = (count - counted * mean) * share * w
                grad_logits[r, g] = to_mu
                gradient += to_mu
                likelihood += term * w
                if has_theta:
                    grad_theta[r, g] = (to_theta * counted - share * count) * w
            each = gradient / library[r]
            for g in range(n_genes):
                grad_logits[r, g] -= mu[g] * each
            # Not a number where any logit is not finite.
            summed_up = np.float64(likelihood) + np.float64(anything * np.float32(0.0))
            while k < len(row) and row[k] == r:
                g = flat[k] - r * n_genes
                count = np.float64(value[k])
                if count > 0:
                    mean, w = max(np.float64(mu[g]), MIN_MU), np.float64(weight[m, g])
                    correction = count * np.log(mean)
                    if has_theta:
                        th = np.float64(theta[m, g])
                        ratio, slope = _gamma_ratio(count, th)
                        correction += ratio - count * np.log(mean + th)
                        grad_theta[r, g] += np.float32(slope * th * w)
                    summed_up += correction * w
                k += 1
            total[r] = summed_up
            grad_library[r] = gradient

    try:
        return numba.njit(fill, fastmath=FAST, error_model="numpy", cache=cached)
    except RuntimeError:  # nowhere to keep what was compiled
        return numba.njit(fill, fastmath=FAST, error_model="numpy")


class FusedCountLogLikelihood(torch.autograd.Function):
    """log p(x | z) of every cell, (M, B); arguments are those of `count_log_likelihood`, float32 on a CPU."""

    @staticmethod
    def forward(ctx, logits, log_library, log_theta, pi, gene_weight, counts):
        shape, n_genes = logits.shape[:2], logits.shape[2]
        library = torch.exp(log_library).reshape(-1)
        theta = None if log_theta is None else torch.exp(log_theta)
        weight = logits.new_ones(len(logits), n_genes) if gene_weight is None else gene_weight
        total, of_library = library.new_empty(len(library)), library.new_empty(len(library))
        gradients = [
            logits.new_empty(len(library) if there else 0, n_genes)
            for there in (True, log_theta is not None, pi is not None)
        ]
        given = (
            [_rows(tensor, n_genes) for tensor in (counts.x, logits, pi)]
            + [library.detach().numpy()]
            + [_rows(tensor, n_genes) for tensor in (theta, weight)]
        )
        sparse = [tensor.numpy() for tensor in (counts.value, counts.flat, counts.row)]
        filled = [tensor.numpy() for tensor in (total, of_library, *gradients)]
        kernel(log_theta is not None, pi is not None)(*given, *sparse, shape[1], *filled)
        ctx.state = (of_library, *gradients)
        return total.view(shape)

    @staticmethod
    def backward(ctx, upstream):
        of_library, of_logits, of_theta, of_pi = ctx.state
        per_cell = upstream.reshape(-1, 1)
        shape = (*upstream.shape, of_logits.shape[1])
        grad_theta = grad_pi = None
        if len(of_theta):
            grad_theta = torch.bmm(upstream.unsqueeze(1), of_theta.view(shape)).squeeze(1)
        if len(of_pi):
            grad_pi = of_pi.mul_(per_cell).view(shape)
        grad_library = of_library.view_as(upstream) * upstream
        return of_logits.mul_(per_cell).view(shape), grad_library, grad_theta, grad_pi, None, None


def _rows(tensor: Tensor | None, n_genes: int) -> np.ndarray:
    """The tensor's own memory as rows of genes; no rows where there is none."""
    if tensor is None:
        return np.empty((0, n_genes), np.float32)
    return tensor.detach().contiguous().view(-1, n_genes).numpy()
