"""Layers with a leading model axis: M independent members trained as one program.

A tensor of cells is (M, S, B, C): member, dataset, cell, channel. Every parameter starts with M, so member m of a
stack computes exactly what it would compute alone. Random numbers are not drawn here but handed in by
:class:`Noise`, which draws each member's from that member's own generator.
"""

import math

import torch
from torch import Tensor, nn


class Noise:
    """Random numbers of a stack, member m's from `generators[m]`, whoever shares the stack."""

    def __init__(self, generators: list[torch.Generator]):
        self.generators = generators

    def _draw(self, shape: tuple[int, ...], dtype: torch.dtype, fill) -> Tensor:
        out = torch.empty(len(self.generators), *shape, dtype=dtype, device=self.generators[0].device)
        for row, generator in zip(out, self.generators, strict=True):
            fill(row, generator)
        return out

    def normal(self, *shape: int) -> Tensor:
        """Standard normal numbers, (M, *shape)."""
        return self._draw(shape, torch.float32, lambda row, g: row.normal_(generator=g))

    def uniform(self, *shape: int) -> Tensor:
        """Uniform numbers in [0, 1), (M, *shape)."""
        return self._draw(shape, torch.float32, lambda row, g: row.uniform_(generator=g))

    def bytes(self, *shape: int) -> Tensor:
        """Random bytes, (M, *shape) uint8: an eighth of the cost of floats, and enough to drop units by."""
        n = math.prod(shape)
        words = self._draw((-(-n // 8),), torch.int64, lambda row, g: row.random_(-(2**63), None, generator=g))
        return words.view(torch.uint8)[:, :n].view(-1, *shape)


class Linear(nn.Module):
    """M affine maps, or linear ones without `bias`: (M, ..., i) -> (M, ..., o)."""

    def __init__(self, members: int, inputs: int, outputs: int, bias: bool = True):
        super().__init__()
        self.weight = nn.Parameter(torch.empty(members, inputs, outputs))
        self.bias = nn.Parameter(torch.empty(members, 1, outputs)) if bias else None

    def reset(self, generators: list[torch.Generator]) -> None:
        """Initialize as torch.nn.Linear does, uniform in +-1/sqrt(inputs), each member from its generator."""
        bound = 1 / math.sqrt(self.weight.shape[1])
        with torch.no_grad():
            for m, generator in enumerate(generators):
                self.weight[m].uniform_(-bound, bound, generator=generator)
                if self.bias is not None:
                    self.bias[m].uniform_(-bound, bound, generator=generator)

    def forward(self, x: Tensor, columns: Tensor | slice | None = None) -> Tensor:
        """Apply the maps; `columns` picks outputs, so that unneeded genes are never computed."""
        weight, bias = self.weight, self.bias
        if columns is not None:
            weight, bias = weight[:, :, columns], None if bias is None else bias[:, :, columns]
        rows = x.reshape(x.shape[0], -1, x.shape[-1])
        flat = torch.bmm(rows, weight) if bias is None else torch.baddbmm(bias, rows, weight)
        return flat.view(*x.shape[:-1], -1)


class BatchNorm(nn.Module):
    """Batch normalization within each member and dataset; running statistics per member and dataset."""

    def __init__(self, members: int, datasets: int, channels: int, momentum: float = 0.01, eps: float = 1e-3):
        super().__init__()
        self.momentum, self.eps = momentum, eps
        self.weight = nn.Parameter(torch.ones(members, 1, 1, channels))
        self.bias = nn.Parameter(torch.zeros(members, 1, 1, channels))
        self.register_buffer("mean", torch.zeros(members, datasets, 1, channels))
        self.register_buffer("var", torch.ones(members, datasets, 1, channels))

    def forward(self, x: Tensor, datasets: slice = slice(None)) -> Tensor:
        """Normalize (M, S, B, C); outside training `datasets` says which datasets' statistics to use."""
        if not self.training:
            scale = self.weight * torch.rsqrt(self.var[:, datasets] + self.eps)
            return torch.addcmul(self.bias, x - self.mean[:, datasets], scale)
        out, mean, var = _BatchNormalize.apply(x, self.weight, self.bias, self.eps)
        unbiased = x.shape[2] / max(x.shape[2] - 1, 1)
        self.mean.lerp_(mean, self.momentum)
        self.var.lerp_(var * unbiased, self.momentum)
        return out


class _BatchNormalize(torch.autograd.Function):
    """(x - mean) / sd * weight + bias over axis 2, with the closed-form gradient; also the batch's mean and variance.

    torch's own kernel has no model axis. Ioffe & Szegedy 2015, arXiv:1502.03167.
    """

    @staticmethod
    def forward(ctx, x, weight, bias, eps):
        mean = x.mean(2, keepdim=True)
        centered = x - mean
        var = (centered * centered).mean(2, keepdim=True)
        inverse_sd = torch.rsqrt(var + eps)
        normalized = centered.mul_(inverse_sd)
        ctx.save_for_backward(normalized, inverse_sd, weight)
        ctx.mark_non_differentiable(mean, var)
        return torch.addcmul(bias, normalized, weight), mean, var

    @staticmethod
    def backward(ctx, grad, _mean, _var):
        normalized, inverse_sd, weight = ctx.saved_tensors
        mean_grad = grad.mean(2, keepdim=True)
        mean_product = (grad * normalized).mean(2, keepdim=True)
        n = grad.shape[2]
        grad_weight = mean_product.sum(1, keepdim=True) * n
        grad_bias = mean_grad.sum(1, keepdim=True) * n
        grad_x = (grad - mean_grad).addcmul_(normalized, mean_product, value=-1).mul_(inverse_sd * weight)
        return grad_x, grad_weight, grad_bias, None


class Block(nn.Module):
    """Linear, batch normalization, ReLU, dropout."""

    def __init__(self, members: int, datasets: int, inputs: int, outputs: int, dropout: float):
        super().__init__()
        self.linear = Linear(members, inputs, outputs)
        self.norm = BatchNorm(members, datasets, outputs)
        self.dropout = dropout

    def forward(self, x: Tensor, noise: Noise | None = None, datasets: slice = slice(None)) -> Tensor:
        """(M, S, B, i) -> (M, S, B, o); drops units where `noise` is given."""
        return self.activate(self.linear(x), noise, datasets)

    def activate(self, x: Tensor, noise: Noise | None, datasets: slice = slice(None)) -> Tensor:
        """All but the affine map."""
        x = torch.relu(self.norm(x, datasets))
        if noise is None or self.dropout == 0:
            return x
        threshold = round(self.dropout * 256)  # dropout to the nearest 1/256, and scaled for exactly that
        return x * at_least(noise.bytes(*x.shape[1:]), threshold).mul_(256 / (256 - threshold))


def at_least(numbers: Tensor, threshold: Tensor | int) -> Tensor:
    """1.0 where the integers are at least the (integer) threshold, else 0.0.

    In arithmetic, since comparing, and choosing by what a comparison gives, is slow on a CPU.
    """
    return numbers.to(torch.float32).sub_(threshold - 1).clamp_(0, 1)
