"""The adversary of kappa, which tells datasets apart by their latent codes, and the losses on both sides."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from spatialimpute.methods.gimvi.networks import Block, Linear, Noise

HIDDEN = 32
DROPOUT = 0.1


class Adversary(nn.Module):
    """The adversary: which dataset a latent code comes from."""

    def __init__(self, members: int, n_latent: int, n_datasets: int):
        super().__init__()
        sizes = [n_latent] + [HIDDEN] * 3
        self.blocks = nn.ModuleList(Block(members, 1, i, o, DROPOUT) for i, o in zip(sizes, sizes[1:], strict=False))
        self.out = Linear(members, HIDDEN, n_datasets)

    def forward(self, z: Tensor, noise: Noise) -> Tensor:
        """Log-probability of each dataset for z (M, S, B, d): (M, S, B, S)."""
        members, datasets, cells = z.shape[:3]
        x = z.reshape(members, 1, datasets * cells, -1)
        for block in self.blocks:
            x = block(x, noise)
        return F.log_softmax(self.out(x), dim=-1).view(members, datasets, cells, -1)


def adversary_loss(log_probability: Tensor) -> Tensor:
    """Cross-entropy against the true dataset, (M,)."""
    return -torch.diagonal(log_probability, dim1=1, dim2=3).mean((1, 2))


def fooling_loss(log_probability: Tensor) -> Tensor:
    """Cross-entropy against the other datasets, which the encoder is trained to lower, (M,)."""
    datasets = log_probability.shape[1]
    wrong = log_probability.sum(-1) - torch.diagonal(log_probability, dim1=1, dim2=3).transpose(1, 2)
    return -wrong.mean((1, 2)) / (datasets - 1)


def adversary_accuracy(log_probability: Tensor) -> Tensor:
    """Share of cells assigned to their own dataset, (M,)."""
    truth = torch.arange(log_probability.shape[1], device=log_probability.device).view(1, -1, 1)
    return (log_probability.argmax(-1) == truth).float().mean((1, 2))
