"""gimVI (Lopez et al. 2019, arXiv:1905.02269): a joint generative model of S datasets, as a stack of M members.

z ~ N(0, I_d); rho = softmax f(z) over all genes; a dataset with genes G' sees rho renormalized over G' (eq. 5),
times a library size, through a ZINB, NB or Poisson. `docs/model.md` states the equations as implemented.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from spatialimpute.methods.gimvi.architecture import Architecture
from spatialimpute.methods.gimvi.decoder import Decoder
from spatialimpute.methods.gimvi.distributions import MASKED_LOGIT, count_log_likelihood
from spatialimpute.methods.gimvi.encoder import Encoder, LibraryEncoder
from spatialimpute.methods.gimvi.minibatch import Minibatch
from spatialimpute.methods.gimvi.networks import Linear, Noise


@dataclass
class LossWeights:
    """What a dataset's ELBO and, in it, a gene's likelihood weigh in the loss.

    Attributes
    ----------
    datasets : (M, S)
    genes : per dataset (M, genes of the dataset), or None where all are 1
    """

    datasets: Tensor
    genes: list[Tensor | None]


@dataclass
class Terms:
    """Terms of the negative ELBO, each a mean over the minibatch's cells: (M, S); and the sampled z.

    `weight` (M, S) is what each dataset counts.
    """

    reconstruction: Tensor
    kl_z: Tensor
    kl_library: Tensor
    z: Tensor
    weight: Tensor

    def loss(self, kl_weight: float) -> Tensor:
        """Weighted negative ELBO, averaged over datasets: (M,)."""
        return ((self.reconstruction + kl_weight * (self.kl_z + self.kl_library)) * self.weight).mean(1)


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
        self.loss_weights = LossWeights(torch.ones(members, len(arch.datasets)), [None] * len(arch.datasets))
        self._columns = [self._as_columns(s, dataset.genes) for s, dataset in enumerate(arch.datasets)]
        if generators is not None:
            self.reset(generators)

    @classmethod
    def from_weights(cls, arch: Architecture, weights: dict[str, Tensor]) -> "GimVI":
        """A trained stack again, from what `state_dict` gave."""
        model = cls(arch, weights["encoder.in_use"])
        model.load_state_dict(weights)
        return model.eval()

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
            for log_theta in self.decoder.log_theta.values():
                for row, generator in zip(log_theta, generators, strict=True):
                    row.normal_(generator=generator)

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
        return Terms(torch.stack(reconstruction, 1), kl_z, torch.stack(kl_library, 1), z, self.loss_weights.datasets)

    def _log_library(self, s: int, minibatch: Minibatch, noise: Noise | None) -> tuple[Tensor, Tensor]:
        if str(s) in self.library:
            return self.library[str(s)](minibatch, minibatch.batch, noise)
        return torch.log(minibatch.total.clamp(min=1)), torch.zeros_like(minibatch.total)

    def _log_likelihood(self, s: int, minibatch: Minibatch, features: Tensor, log_library: Tensor) -> Tensor:
        """log p(x | z, l) of dataset s over its own genes (eq. 5), and of the second head if there is one, (M, B)."""
        dataset, columns, decoder = self.arch.datasets[s], self._columns[s], self.decoder
        columns = getattr(self, columns) if isinstance(columns, str) else columns
        logits = decoder.rho(features, columns)
        if decoder.effect is not None:
            member = torch.arange(len(logits), device=logits.device).unsqueeze(1)
            effect = decoder.effect if columns is None else decoder.effect[:, :, columns]
            logits = logits + effect[member, minibatch.batch]
        if dataset.spatial:
            logits = self._hide_unused(logits)
        pi = decoder.pi(features, columns) if dataset.likelihood == "zinb" else None
        theta, weight = decoder.log_theta, self.loss_weights.genes[s]
        value = count_log_likelihood(minibatch.counts, logits, log_library, theta.get(str(s)), pi, weight)
        if dataset.spatial and decoder.second_rho is not None:
            second = self._hide_unused(decoder.second_rho(features))
            value = value + count_log_likelihood(minibatch.counts, second, log_library, theta.get("second"))
        return value

    def _hide_unused(self, logits: Tensor) -> Tensor:
        """Logits of panel genes (M, B, P) with those masked that a member may not see."""
        return logits.masked_fill((self.encoder.in_use == 0).unsqueeze(1), MASKED_LOGIT)
