"""gimVI (Lopez et al. 2019, arXiv:1905.02269): a joint generative model of S datasets, as a stack of M members.

z ~ N(0, I_d); rho = softmax f(z) over all genes; a dataset with genes G' sees rho renormalized over G' (eq. 5),
times a library size, through a ZINB, NB or Poisson. `docs/model.md` states the equations as implemented.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from spatialimpute.methods.gimvi.distributions import MASKED_LOGIT, count_log_likelihood
from spatialimpute.methods.gimvi.minibatch import Minibatch
from spatialimpute.methods.gimvi.networks import Block, Linear, Noise, at_least

LIBRARY_HIDDEN = 128
ADVERSARY_HIDDEN = 32
ADVERSARY_DROPOUT = 0.1


@dataclass(frozen=True)
class DatasetSpec:
    """One dataset as the model sees it.

    Attributes
    ----------
    genes : indices of its genes among all; the panel comes first
    likelihood : `zinb`, `nb` or `poisson`
    latent_library : a LogNormal library size is inferred; otherwise the observed total is used
    spatial : counts of held-out panel genes are invisible
    n_batches : batches enter as nested datasets
    """

    name: str
    genes: tuple[int, ...]
    likelihood: str
    latent_library: bool
    spatial: bool
    n_batches: int = 1


@dataclass(frozen=True)
class Architecture:
    """All that is needed, beside the weights, to rebuild a stack of models.

    `decoder_hidden` 0 is a linear decoder. `conditioned`: the decoder has an additive effect per gene and batch.
    """

    n_genes: int
    n_panel: int
    datasets: tuple[DatasetSpec, ...]
    encoder: str = "panel"
    n_latent: int = 30
    n_hidden: int = 128
    decoder_hidden: int = 0
    dropout: float = 0.2
    input_masking: float = 0.7
    conditioned: bool = False
    adversary: bool = False

    @property
    def batch_offsets(self) -> list[int]:
        """Where each dataset's batches begin among all batches; one entry more than datasets."""
        offsets = [0]
        for dataset in self.datasets:
            offsets.append(offsets[-1] + dataset.n_batches)
        return offsets


class Encoder(nn.Module):
    """q(z | x), a diagonal Gaussian. `panel`: one network for all datasets, on standardized panel genes.

    `separate` (the paper's): a first layer per dataset on log(1 + x) of its own genes, then a shared layer.
    """

    def __init__(self, arch: Architecture, members: int):
        super().__init__()
        self.arch = arch
        n_datasets, hidden = len(arch.datasets), arch.n_hidden
        n_batches = arch.batch_offsets[-1]
        if arch.encoder == "panel":
            self.first = nn.ModuleList([Block(members, n_datasets, arch.n_panel, hidden, arch.dropout)])
        else:
            self.first = nn.ModuleList(
                Block(members, 1, len(dataset.genes), hidden, arch.dropout) for dataset in arch.datasets
            )
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
            if noise is not None and self.arch.input_masking > 0:
                x = x.mul_(self._random_mask(noise, x.shape[1:]))
            hidden = self.first[0](x, noise, which)
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
        if not self.arch.conditioned:  # one batch a dataset: nothing to look up per cell
            batch = batch[..., :1]
        member = torch.arange(len(x), device=x.device).view(-1, 1, 1)
        return x.sub_(self.input_mean[member, batch]).mul_(self.input_scale[member, batch])

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


class Decoder(nn.Module):
    """f(z): logits of rho and of zero inflation, linear or with one hidden layer."""

    def __init__(self, arch: Architecture, members: int):
        super().__init__()
        self.arch = arch
        inputs = arch.decoder_hidden or arch.n_latent
        self.hidden = None
        if arch.decoder_hidden:
            self.hidden = Block(members, len(arch.datasets), arch.n_latent, inputs, arch.dropout)
        self.rho = Linear(members, inputs, arch.n_genes)
        zero_inflated = any(dataset.likelihood == "zinb" for dataset in arch.datasets)
        self.pi = Linear(members, inputs, arch.n_genes) if zero_inflated else None
        self.log_theta = nn.Parameter(torch.zeros(members, len(arch.datasets), arch.n_genes))
        self.effect = None
        if arch.conditioned:
            self.effect = nn.Parameter(torch.zeros(members, arch.batch_offsets[-1], arch.n_genes))

    def features(self, z: Tensor, noise: Noise | None, datasets: slice = slice(None)) -> Tensor:
        """What the logits are affine in: z itself, or the hidden layer; (M, S, B, ·)."""
        return z if self.hidden is None else self.hidden(z, noise, datasets)

    def counterfactual_logits(self, features: Tensor, as_dataset: int, columns: Tensor | None = None) -> Tensor:
        """Logits of rho over `columns` (default: all genes), decoded as if measured in another dataset.

        With a conditioned decoder that dataset's batches are averaged.
        """
        logits = self.rho(features, columns)
        if self.effect is None:
            return logits
        offsets = self.arch.batch_offsets
        effect = self.effect[:, offsets[as_dataset] : offsets[as_dataset + 1]].mean(1)
        effect = effect if columns is None else effect[:, columns]
        return logits + effect.view(len(effect), *[1] * (logits.dim() - 2), -1)


@dataclass
class Terms:
    """Terms of the negative ELBO, each a mean over the minibatch's cells: (M, S); and the sampled z."""

    reconstruction: Tensor
    kl_z: Tensor
    kl_library: Tensor
    z: Tensor

    def loss(self, kl_weight: float) -> Tensor:
        """Negative ELBO, averaged over datasets: (M,)."""
        return (self.reconstruction + kl_weight * (self.kl_z + self.kl_library)).mean(1)


class GimVI(nn.Module):
    """A stack of M gimVI models of one architecture.

    Parameters
    ----------
    arch : the models' common shape
    in_use : (M, P) float, 1 at panel genes a member may use; 0 at its held-out genes
    generators : one per member, for its initial weights
    """

    def __init__(self, arch: Architecture, in_use: Tensor, generators: list[torch.Generator] | None = None):
        super().__init__()
        self.arch = arch
        members = len(in_use)
        self.encoder = Encoder(arch, members)
        self.encoder.in_use.copy_(in_use)
        self.library = nn.ModuleDict(
            {
                str(s): LibraryEncoder(members, len(dataset.genes), arch.batch_offsets[-1], arch.dropout)
                for s, dataset in enumerate(arch.datasets)
                if dataset.latent_library
            }
        )
        self.decoder = Decoder(arch, members)
        self._columns = [self._as_columns(s, dataset.genes) for s, dataset in enumerate(arch.datasets)]
        if generators is not None:
            self.reset(generators)

    def _as_columns(self, s: int, genes: tuple[int, ...]) -> str | slice | None:
        """The cheapest way to pick a dataset's genes: nothing, a leading slice, or the name of an index."""
        if genes == tuple(range(len(genes))):
            return None if len(genes) == self.arch.n_genes else slice(0, len(genes))
        name = f"columns_{s}"
        self.register_buffer(name, torch.tensor(genes), persistent=False)  # moves between devices with the model
        return name

    def reset(self, generators: list[torch.Generator]) -> None:
        """Draw initial weights: layers as torch.nn.Linear's, log theta from N(0, 1)."""
        for module in self.modules():
            if isinstance(module, Linear):
                module.reset(generators)
        with torch.no_grad():
            for log_theta, generator in zip(self.decoder.log_theta, generators, strict=True):
                log_theta.normal_(generator=generator)

    def forward(self, minibatches: list[Minibatch], noise: Noise | None) -> Terms:
        """Encode and decode one minibatch of every dataset; without noise z is its posterior mean."""
        mean, log_var = self.encoder(minibatches, noise)
        z = mean if noise is None else mean + torch.exp(0.5 * log_var) * noise.normal(*mean.shape[1:])
        kl_z = 0.5 * (mean**2 + torch.exp(log_var) - log_var - 1).sum(-1).mean(-1)
        features = self.decoder.features(z, noise)
        reconstruction, kl_library = [], []
        for s, minibatch in enumerate(minibatches):
            log_library, kl = self._log_library(s, minibatch, noise)
            reconstruction.append(-self._log_likelihood(s, minibatch, features[:, s], log_library).mean(1))
            kl_library.append(kl.mean(1))
        return Terms(torch.stack(reconstruction, 1), kl_z, torch.stack(kl_library, 1), z)

    def _log_library(self, s: int, minibatch: Minibatch, noise: Noise | None) -> tuple[Tensor, Tensor]:
        if str(s) in self.library:
            return self.library[str(s)](minibatch, minibatch.batch, noise)
        return torch.log(minibatch.total.clamp(min=1)), torch.zeros_like(minibatch.total)

    def _log_likelihood(self, s: int, minibatch: Minibatch, features: Tensor, log_library: Tensor) -> Tensor:
        """log p(x | z, l) of dataset s over its own genes (eq. 5), (M, B)."""
        dataset, columns, decoder = self.arch.datasets[s], self._columns[s], self.decoder
        columns = getattr(self, columns) if isinstance(columns, str) else columns
        every = slice(None) if columns is None else columns
        logits = decoder.rho(features, columns)
        if decoder.effect is not None:
            member = torch.arange(len(logits), device=logits.device).unsqueeze(1)
            logits = logits + decoder.effect[:, :, every][member, minibatch.batch]
        if dataset.spatial:
            hidden = (self.encoder.in_use[:, : logits.shape[-1]] == 0).unsqueeze(1)
            logits = logits.masked_fill(hidden, MASKED_LOGIT)
        log_theta = None if dataset.likelihood == "poisson" else decoder.log_theta[:, s, every]
        pi = decoder.pi(features, columns) if dataset.likelihood == "zinb" else None
        return count_log_likelihood(minibatch.counts, logits, log_library, log_theta, pi)


class Adversary(nn.Module):
    """The adversary: which dataset a latent code comes from."""

    def __init__(self, members: int, n_latent: int, n_datasets: int):
        super().__init__()
        sizes = [n_latent] + [ADVERSARY_HIDDEN] * 3
        self.blocks = nn.ModuleList(
            Block(members, 1, i, o, ADVERSARY_DROPOUT) for i, o in zip(sizes, sizes[1:], strict=False)
        )
        self.out = Linear(members, ADVERSARY_HIDDEN, n_datasets)

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
