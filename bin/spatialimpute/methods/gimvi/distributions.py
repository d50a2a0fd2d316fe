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
    value : (nnz,), the stored counts (0 where masked)
    flat : int64 (nnz,), their positions in x.view(-1)
    row : int64 (nnz,), their cells, in [0, M * B)
    parameter : int64 (nnz,), their positions in a flattened (M, G) parameter
    """

    x: Tensor
    value: Tensor
    flat: Tensor
    row: Tensor
    parameter: Tensor


def count_log_likelihood(
    counts: CountBatch,
    logits: Tensor,
    log_library: Tensor,
    log_theta: Tensor | None = None,
    pi: Tensor | None = None,
    gene_weight: Tensor | None = None,
) -> Tensor:
    """log p(x | z) of every cell, up to the data's constant; with weights, the weighted sum over genes.

    Parameters
    ----------
    counts : the minibatch's counts
    logits : (M, B, G); rho = softmax(logits), so masked genes carry :data:`MASKED_LOGIT`
    log_library : (M, B), natural logarithm of the library size l
    log_theta : (M, G), log inverse dispersion: NB with variance mu + mu^2 / theta; None: Poisson
    pi : (M, B, G), logit of the zero-inflation probability; None: no zero inflation
    gene_weight : (M, G), factor of each gene's term; None: 1

    Returns
    -------
    (M, B)

    References
    ----------
    Lopez et al. 2018, doi:10.1038/s41592-018-0229-2 (ZINB); Lopez et al. 2019, arXiv:1905.02269, eq. 3-5.
    """
    arguments = (logits, log_library, log_theta, pi, gene_weight, counts)
    if logits.device.type == "cpu" and logits.dtype == torch.float32:
        # Imported where it is needed: numba takes half a second, and only training computes likelihoods.
        from spatialimpute.methods.gimvi.fused import FusedCountLogLikelihood

        return FusedCountLogLikelihood.apply(*arguments)
    return CountLogLikelihood.apply(*arguments)


class CountLogLikelihood(torch.autograd.Function):
    """The sum over genes, with hand-derived gradients; intermediate results are reused in place.

    With t = theta + mu and E = p(0) without zero inflation: log E = theta log(theta / t) (NB) or -mu (Poisson), and
    log p(x) = log E + x log(mu / t) + lgamma(x + theta) - lgamma(theta) (NB) or log E + x log mu (Poisson).
    With dropout probability sigmoid(pi) and a = exp(-pi): log p(0) = log((1 + a E) / (1 + a)), and at x > 0
    log p(x) = log(a / (1 + a)) + log p_NB(x).
    """

    @staticmethod
    def forward(ctx, logits, log_library, log_theta, pi, gene_weight, counts):
        x, value, flat, parameter = counts.x, counts.value, counts.flat, counts.parameter
        mu = torch.softmax(logits, dim=-1).mul_(torch.exp(log_library).unsqueeze(-1))
        log_mu = _pick(mu, flat).clamp_(min=MIN_MU).log_()
        if log_theta is None:
            log_zero = mu.neg()
            correction = value * log_mu
            nb = None
        else:
            theta = torch.exp(log_theta)
            # As a ratio it is exactly 1 where mu is 0, so that masked genes get no gradient from rounding.
            share = theta.unsqueeze(1) / (mu + theta.unsqueeze(1))
            log_ratio = share.log()
            log_zero = log_ratio * theta.unsqueeze(1)
            theta_nz = _pick(theta, parameter)
            correction = value * (log_mu + _pick(log_ratio, flat) - _pick(log_theta, parameter))
            correction += torch.lgamma(value + theta_nz) - _pick(torch.lgamma(theta), parameter)
            nb = (theta, share, log_ratio, theta_nz)
        inflation = None
        if pi is None:
            total = _sum_over_genes(log_zero, gene_weight)
        else:
            a = pi.clamp(min=MIN_PI).neg_().exp_()
            seen = x.clamp(max=1)  # counts are integers; torch.where on a CPU takes twenty times as long
            a_zero = torch.exp(log_zero).mul_(a)
            below = a + 1
            log_mixed = torch.lerp(a_zero + 1, a, seen).div_(below).log_()
            total = _sum_over_genes(log_mixed.addcmul_(log_zero, seen), gene_weight)
            counted = torch.maximum(a_zero.div_(a_zero + 1), seen)  # 1 where a count was seen
            inflation = (counted, a.div_(below))
        if gene_weight is not None:
            correction *= _pick(gene_weight, parameter)
        ctx.state = (mu, log_library, gene_weight, counts, nb, inflation)
        total.view(-1).index_add_(0, counts.row, correction)
        return total

    @staticmethod
    def backward(ctx, upstream):
        mu, log_library, gene_weight, counts, nb, inflation = ctx.state
        scale = upstream.unsqueeze(-1)
        if gene_weight is not None:
            scale = scale * gene_weight.unsqueeze(1)
        grad_theta = grad_pi = None
        counted_mu = mu if inflation is None else mu * inflation[0]
        grad_mu = counts.x - counted_mu  # d/dlog mu: (x - E-weighted mu) theta / t
        if nb is not None:
            theta, share, log_ratio, theta_nz = nb
            grad_mu *= share
            d_theta = (log_ratio + 1).sub_(share).mul_(theta.unsqueeze(1))
            if inflation is not None:
                d_theta *= inflation[0]
            d_theta -= share * counts.x
            grad_theta = torch.bmm(upstream.unsqueeze(1), d_theta).squeeze(1)
            digamma = torch.digamma(counts.value + theta_nz) - _pick(torch.digamma(theta), counts.parameter)
            grad_theta.view(-1).index_add_(0, counts.parameter, digamma * theta_nz * _pick(upstream, counts.row))
            if gene_weight is not None:
                grad_theta *= gene_weight
        if inflation is not None:
            counted, not_dropped = inflation
            grad_pi = (not_dropped - counted).mul_(scale)
        grad_mu *= scale
        grad_library = grad_mu.sum(-1)
        grad_logits = grad_mu.sub_(mu * (grad_library * torch.exp(-log_library)).unsqueeze(-1))
        return grad_logits, grad_library, grad_theta, grad_pi, None, None


def _sum_over_genes(terms: Tensor, gene_weight: Tensor | None) -> Tensor:
    """Terms (M, B, G) summed over genes, each with its weight, (M, B)."""
    return terms.sum(-1) if gene_weight is None else torch.matmul(terms, gene_weight.unsqueeze(-1)).squeeze(-1)


def _pick(tensor: Tensor, flat: Tensor) -> Tensor:
    """tensor.reshape(-1)[flat], five times as fast on a CPU."""
    return tensor.reshape(-1).index_select(0, flat)
