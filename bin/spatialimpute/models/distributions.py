"""Log-likelihoods of sparse counts under a softmax decoder, with analytic gradients.

A count x of a cell with library l has mean mu = l * rho, rho = softmax(logits). Most counts are zero, and at
x = 0 neither lgamma nor log mu is needed: these are computed at the nonzero counts alone. Autograd would keep a
dozen dense tensors alive and repeat transcendental functions in its backward pass; here NB takes one exponential
and one logarithm per entry, ZINB two of each more, and the backward pass none.

Every log-likelihood leaves out the data's constant, the sum of lgamma(x + 1).
"""

from dataclasses import dataclass

import torch
from torch import Tensor

#: Logit of a gene that a member may not see: its rho is exactly 0 and it leaves every sum.
MASKED_LOGIT = -1e4
#: Below it, zero inflation is nil in floating point, and its exponential would overflow.
MIN_PI = -30.0
#: Keeps log mu finite where rho has underflowed.
MIN_MU = 1e-30


@dataclass
class CountBatch:
    """Counts of B cells for each of M members, and where they are not zero.

    Attributes
    ----------
    x : (M, B, G) float; 0 where a member may not see the count
    flat : int64 (nnz,), positions in x.view(-1) of the stored counts
    value : (nnz,), x there (0 where masked)
    """

    x: Tensor
    flat: Tensor
    value: Tensor


def count_log_likelihood(
    counts: CountBatch,
    logits: Tensor,
    log_library: Tensor,
    log_theta: Tensor | None = None,
    pi: Tensor | None = None,
) -> Tensor:
    """log p(x | z) of every cell, up to the data's constant.

    Parameters
    ----------
    counts : the minibatch's counts
    logits : (M, B, G); rho = softmax(logits), so masked genes carry :data:`MASKED_LOGIT`
    log_library : (M, B), natural logarithm of the library size l
    log_theta : (M, G), log inverse dispersion: NB with variance mu + mu^2 / theta; None: Poisson
    pi : (M, B, G), logit of the zero-inflation probability; None: no zero inflation

    Returns
    -------
    (M, B)

    References
    ----------
    Lopez et al. 2018, doi:10.1038/s41592-018-0229-2 (ZINB); Lopez et al. 2019, arXiv:1905.02269, eq. 3-5.
    """
    return _CountLogLikelihood.apply(logits, log_library, log_theta, pi, counts.x, counts.flat, counts.value)


class _CountLogLikelihood(torch.autograd.Function):
    """The sum over genes, with hand-derived gradients; intermediate results are reused in place.

    With t = theta + mu and E = p(0) without zero inflation: log E = theta log(theta / t) (NB) or -mu (Poisson), and
    log p(x) = log E + x log(mu / t) + lgamma(x + theta) - lgamma(theta) (NB) or log E + x log mu (Poisson).
    With dropout probability sigmoid(pi) and a = exp(-pi): log p(0) = log((1 + a E) / (1 + a)), and at x > 0
    log p(x) = log(a / (1 + a)) + log p_NB(x).
    """

    @staticmethod
    def forward(ctx, logits, log_library, log_theta, pi, x, flat, value):
        cells, n_genes = logits.shape[1:]
        row = torch.div(flat, n_genes, rounding_mode="floor")
        mu = torch.softmax(logits, dim=-1).mul_(torch.exp(log_library).unsqueeze(-1))
        log_mu = mu.view(-1)[flat].clamp_(min=MIN_MU).log_()
        if log_theta is None:
            log_zero = mu.neg()
            correction = value * log_mu
            nb = None
        else:
            theta = torch.exp(log_theta)
            t = mu + theta.unsqueeze(1)
            log_ratio = t.log().neg_().add_(log_theta.unsqueeze(1))
            log_zero = log_ratio * theta.unsqueeze(1)
            parameter = torch.div(row, cells, rounding_mode="floor").mul_(n_genes).add_(flat % n_genes)
            theta_nz = theta.view(-1)[parameter]
            correction = value * (log_mu + log_ratio.view(-1)[flat] - log_theta.reshape(-1)[parameter])
            correction += torch.lgamma(value + theta_nz) - torch.lgamma(theta).view(-1)[parameter]
            nb = (theta, t, log_ratio, parameter, theta_nz)
        inflation = None
        if pi is None:
            total = log_zero.sum(-1)
        else:
            a = pi.clamp(min=MIN_PI).neg_().exp_()
            seen = x > 0
            a_zero = torch.exp(log_zero).mul_(a)
            below = a + 1
            log_mixed = torch.where(seen, a, a_zero + 1).div_(below).log_()
            total = log_mixed.add_(torch.where(seen, log_zero, 0)).sum(-1)
            counted = torch.where(seen, 1, a_zero.div_(a_zero + 1))
            inflation = (counted, a.div_(below))
        ctx.state = (mu, log_library, x, row, value, nb, inflation)
        total.view(-1).index_add_(0, row, correction)
        return total

    @staticmethod
    def backward(ctx, upstream):
        mu, log_library, x, row, value, nb, inflation = ctx.state
        scale = upstream.unsqueeze(-1)
        grad_theta = grad_pi = None
        counted_mu = mu if inflation is None else mu * inflation[0]
        grad_mu = x - counted_mu  # d/dlog mu: (x - E-weighted mu) theta / t
        if nb is not None:
            theta, t, log_ratio, parameter, theta_nz = nb
            share = theta.unsqueeze(1) / t
            grad_mu *= share
            d_theta = (log_ratio + 1).sub_(share).mul_(theta.unsqueeze(1))
            if inflation is not None:
                d_theta *= inflation[0]
            d_theta -= share.mul_(x)
            grad_theta = torch.bmm(upstream.unsqueeze(1), d_theta).squeeze(1)
            digamma = torch.digamma(value + theta_nz) - torch.digamma(theta).view(-1)[parameter]
            grad_theta.view(-1).index_add_(0, parameter, digamma * theta_nz * upstream.reshape(-1)[row])
        if inflation is not None:
            counted, not_dropped = inflation
            grad_pi = (not_dropped - counted).mul_(scale)
        grad_mu *= scale
        grad_library = grad_mu.sum(-1)
        grad_logits = grad_mu.sub_(mu * (grad_library * torch.exp(-log_library)).unsqueeze(-1))
        return grad_logits, grad_library, grad_theta, grad_pi, None, None, None
