"""What is inferred of a cell: its latent code z, and its library size where that is not simply observed."""

import torch
from torch import Tensor, nn

from spatialimpute.methods.gimvi.architecture import Architecture
from spatialimpute.methods.gimvi.minibatch import Minibatch
from spatialimpute.methods.gimvi.networks import Block, Linear, Noise, at_least

LIBRARY_HIDDEN = 128


class Encoder(nn.Module):
    """q(z | x), a diagonal Gaussian. `panel`: one network for all datasets, on standardized panel genes.

    `separate` (the paper's): a first layer per dataset on log(1 + x) of its own genes, then a shared layer.
    """

    def __init__(self, arch: Architecture, members: int):
        super().__init__()
        self.arch = arch
        n_datasets, hidden = len(arch.datasets), arch.n_hidden
        n_batches = arch.batch_offsets[-1] + arch.n_sample_batches
        if arch.encoder == "panel":
            self.first = nn.ModuleList([Block(members, n_datasets, arch.n_panel, hidden, arch.dropout)])
        else:
            self.first = nn.ModuleList(
                Block(members, 1, len(dataset.genes), hidden, arch.dropout) for dataset in arch.datasets
            )
        self.second = Linear(members, arch.n_panel, hidden, bias=False) if arch.second_input else None
        self.shared = Block(members, n_datasets, hidden, hidden, arch.dropout)
        self.mean = Linear(members, hidden, arch.n_latent)
        self.log_var = Linear(members, hidden, arch.n_latent)
        self.register_buffer("in_use", torch.ones(members, arch.n_panel))
        self.register_buffer("depth", torch.ones(members, 1))
        self.register_buffer("input_mean", torch.zeros(members, n_batches, arch.n_panel))
        self.register_buffer("input_scale", torch.ones(members, n_batches, arch.n_panel))

    def forward(self, minibatches: list[Minibatch], noise: Noise | None, first: int = 0):
        """Mean and log variance of q(z), each (M, S, B, d), of datasets first, first + 1, …"""
        which = slice(first, first + len(minibatches))
        if self.arch.encoder == "panel":
            x = self.panel_input(minibatches)
            spatial = None
            if self.second is not None and self.arch.datasets[which][-1].spatial:
                spatial = self._second_input(x[:, -1], noise)  # before x is masked
            if noise is not None and self.arch.input_masking > 0:
                x = x.mul_(self._random_mask(noise, x.shape[1:]))
            affine = self.first[0].linear(x)
            if spatial is not None:
                affine = torch.cat([affine[:, :-1], affine[:, -1:] + spatial.unsqueeze(1)], dim=1)
            hidden = self.first[0].activate(affine, noise, which)
        else:
            hidden = torch.cat(
                [
                    block(torch.log1p(minibatch.counts.x).unsqueeze(1), noise)
                    for block, minibatch in zip(self.first[which], minibatches, strict=True)
                ],
                dim=1,
            )
        hidden = self.shared(hidden, noise, which)
        return self.mean(hidden), self.log_var(hidden).clamp(-12, 8)

    def panel_input(self, minibatches: list[Minibatch]) -> Tensor:
        """Standardized log depth-normalized panel counts, (M, S, B, P); exactly 0 at genes not in use."""
        x = torch.stack([minibatch.panel for minibatch in minibatches], dim=1)
        total = torch.stack([minibatch.panel_total for minibatch in minibatches], dim=1)
        x.mul_((self.depth.unsqueeze(-1) / total.clamp(min=1)).unsqueeze(-1)).log1p_()
        batch = torch.stack([minibatch.batch for minibatch in minibatches], dim=1)
        if not self.arch.conditioned and self.arch.n_sample_batches < 2:  # one batch a dataset: nothing to look up
            batch = batch[..., :1]
        member = torch.arange(len(x), device=x.device).view(-1, 1, 1)
        return x.sub_(self.input_mean[member, batch]).mul_(self.input_scale[member, batch])

    def _second_input(self, x: Tensor, noise: Noise | None) -> Tensor:
        """What the second block of inputs adds to the first layer of the spatial cells, (M, B, hidden).

        x (M, B, P) are their panel inputs. In training they have a random mask of their own here, and half of the
        cells are without them, so that cells are also encoded as those of a reference are.
        """
        if noise is not None:
            present = noise.bytes(x.shape[1], 1).remainder_(2)
            x = x * self._random_mask(noise, x.shape[1:]).mul_(present)
        return self.second(x)

    def _random_mask(self, noise: Noise, shape: tuple[int, ...]) -> Tensor:
        """0 at input genes to hide, else 1: each hidden with probability r, r ~ U(0, input_masking) per cell."""
        threshold = noise.uniform(*shape[:-1], 1).mul_(256 * self.arch.input_masking).floor_()
        return at_least(noise.bytes(*shape), threshold)


class LibraryEncoder(nn.Module):
    """q(log l | x) of one dataset, a Gaussian; its prior is LogNormal with each batch's empirical moments."""

    def __init__(self, members: int, n_genes: int, n_batches: int, dropout: float):
        super().__init__()
        self.block = Block(members, 1, n_genes, LIBRARY_HIDDEN, dropout)
        self.mean = Linear(members, LIBRARY_HIDDEN, 1)
        self.log_var = Linear(members, LIBRARY_HIDDEN, 1)
        self.register_buffer("prior_mean", torch.zeros(members, n_batches))
        self.register_buffer("prior_var", torch.ones(members, n_batches))

    def forward(self, minibatch: Minibatch, batch: Tensor, noise: Noise | None):
        """A sample (the mean, without noise) of log l and its KL divergence from the prior, both (M, B)."""
        hidden = self.block(torch.log1p(minibatch.counts.x).unsqueeze(1), noise)
        mean = self.mean(hidden)[:, 0, :, 0]
        var = torch.exp(self.log_var(hidden)[:, 0, :, 0].clamp(-12, 8)) + 1e-4
        log_library = mean if noise is None else mean + var.sqrt() * noise.normal(mean.shape[1])
        prior_mean, prior_var = self.prior_mean.gather(1, batch), self.prior_var.gather(1, batch)
        kl = 0.5 * (torch.log(prior_var / var) + (var + (mean - prior_mean) ** 2) / prior_var - 1)
        return log_library, kl
