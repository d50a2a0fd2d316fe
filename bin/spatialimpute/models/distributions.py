"""Log-likelihoods of sparse counts under a softmax decoder, with analytic gradients.

A count x of a cell with library l has mean mu = l * rho, rho = softmax(logits). Most counts are zero, and at
x = 0 neither lgamma nor log mu is needed, so each likelihood is a dense part, the log-probability of "all zero",
plus a correction at the nonzero counts. Autograd would keep a dozen dense tensors alive and repeat
transcendental functions in its backward pass; here one exponential and one logarithm per entry (NB) serve both.

Every log-likelihood leaves out the data's constant, the sum of lgamma(x + 1).
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

#: Logit of a gene that a member may not see: its rho is exactly 0 and it leaves every sum.
MASKED_LOGIT = -1e4


@dataclass
class SparseCounts:
    """The nonzero counts of a minibatch, for a stack of M members with B cells each.

    Attributes
    ----------
    row : int64 (nnz,), in [0, M * B): which member's cell
    column : int64 (nnz,), in [0, G): which gene
    value : float (nnz,); 0 where the member may not see the count
    """

    row: Tensor
    column: Tensor
    value: Tensor


def count_log_likelihood(
    counts: SparseCounts,
    logits: Tensor,
    log_library: Tensor,
    log_theta: Tensor | None = None,
    pi: Tensor | None = None,
) -> Tensor:
    """log p(x | z) of every cell, up to the data's constant.

    Parameters
    ----------
    counts : the minibatch's nonzero counts
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
    return _CountLogLikelihood.apply(
        logits, log_library, log_theta, pi, counts.row, counts.column, counts.value
    )


class _CountLogLikelihood(torch.autograd.Function):
    """The sum over genes, with hand-derived gradients.

    With t = theta + mu and E = p(0) without zero inflation: log E = theta log(theta / t) (NB) or -mu (Poisson).
    With dropout probability sigmoid(pi) and a = exp(-pi): log p(0) = log((1 + a E) / (1 + a)), and at x > 0
    log p(x) = log p(0) + log(a E / (1 + a E)) + log p_NB(x) - log E.
    """

    @staticmethod
    def forward(ctx, logits, log_library, log_theta, pi, row, column, value):
        cells, n_genes = logits.shape[1:]
        flat = row * n_genes + column
        log_scale = log_library - torch.logsumexp(logits, dim=-1)
        mu = torch.exp(logits + log_scale.unsqueeze(-1))
        log_mu = logits.reshape(-1)[flat] + log_scale.reshape(-1)[row]
        if log_theta is None:
            log_zero = -mu
            correction = value * log_mu
            nb = None
        else:
            theta = torch.exp(log_theta)
            t = mu + theta.unsqueeze(1)
            log_ratio = log_theta.unsqueeze(1) - torch.log(t)
            log_zero = log_ratio * theta.unsqueeze(1)
            parameter = torch.div(row, cells, rounding_mode="floor") * n_genes + column
            theta_nz = theta.reshape(-1)[parameter]
            log_t = log_theta.reshape(-1)[parameter] - log_ratio.reshape(-1)[flat]
            correction = value * (log_mu - log_t) + torch.lgamma(value + theta_nz) - torch.lgamma(theta_nz)
            nb = (theta, t, log_ratio, parameter, theta_nz)
        inflation = None
        if pi is not None:
            log_a_zero = log_zero - pi
            correction = correction + torch.where(value > 0, F.logsigmoid(log_a_zero.reshape(-1)[flat]), 0)
            inflation = (torch.sigmoid(log_a_zero), torch.sigmoid(-pi))
            log_zero = F.softplus(log_a_zero) - F.softplus(-pi)
        ctx.state = (mu, log_library, flat, row, value, nb, inflation)
        total = log_zero.sum(-1)
        total.view(-1).index_add_(0, row, correction)
        return total

    @staticmethod
    def backward(ctx, upstream):
        mu, log_library, flat, row, value, nb, inflation = ctx.state
        seen = (value > 0).to(mu.dtype)
        scale = upstream.unsqueeze(-1)
        scale_nz = upstream.reshape(-1)[row]

        grad_theta = None
        if nb is None:
            d_mu = -mu  # d log E / d log mu
            d_mu_nz = value
        else:
            theta, t, log_ratio, parameter, theta_nz = nb
            share = theta.unsqueeze(1) / t  # theta / t, in (0, 1]
            d_mu = -share * mu
            share_nz = share.reshape(-1)[flat]
            d_mu_nz = value * share_nz
            d_theta = (log_ratio + 1 - share) * theta.unsqueeze(1)  # d log E / d log theta
            digamma = torch.digamma(value + theta_nz) - torch.digamma(theta_nz)
            d_theta_nz = theta_nz * digamma - value * share_nz

        grad_pi = None
        if inflation is not None:
            counted, not_dropped = inflation  # a E / (1 + a E), a / (1 + a)
            dropped_nz = seen * (1 - counted.reshape(-1)[flat])
            d_mu_nz = d_mu_nz + dropped_nz * d_mu.reshape(-1)[flat]
            d_mu = counted * d_mu
            if nb is not None:
                d_theta_nz = d_theta_nz + dropped_nz * d_theta.reshape(-1)[flat]
                d_theta = counted * d_theta
            grad_pi = (not_dropped - counted) * scale
            grad_pi.view(-1).index_add_(0, flat, -dropped_nz * scale_nz)

        grad_mu = d_mu.mul_(scale)
        grad_mu.view(-1).index_add_(0, flat, d_mu_nz * scale_nz)
        if nb is not None:
            grad_theta = d_theta.mul_(scale).sum(1)
            grad_theta.view(-1).index_add_(0, parameter, d_theta_nz * scale_nz)
        grad_library = grad_mu.sum(-1)
        grad_logits = grad_mu.sub_(mu * (grad_library * torch.exp(-log_library)).unsqueeze(-1))
        return grad_logits, grad_library, grad_theta, grad_pi, None, None, None
