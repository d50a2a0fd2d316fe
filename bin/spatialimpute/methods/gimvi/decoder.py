"""From a latent code to the parameters of the counts' distributions."""

import torch
from torch import Tensor, nn

from spatialimpute.methods.gimvi.architecture import Architecture
from spatialimpute.methods.gimvi.networks import Block, Linear, Noise


class Decoder(nn.Module):
    """f(z): logits of rho and of zero inflation, linear or with one hidden layer; and inverse dispersions.

    With a second input there is also `second_rho`, logits of a spatial cell's panel genes among themselves.

    There is a parameter only where a likelihood needs it: `pi` if any dataset's is ZINB, and `log_theta[s]`,
    (M, genes of dataset s), if that dataset's is ZINB or NB. A parameter without a gradient could not be stepped.
    """

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
        self.log_theta = nn.ParameterDict(
            {
                str(s): nn.Parameter(torch.zeros(members, len(dataset.genes)))
                for s, dataset in enumerate(arch.datasets)
                if dataset.likelihood != "poisson"
            }
        )
        self.second_rho = None
        if arch.second_input:
            self.second_rho = Linear(members, inputs, arch.n_panel)
            if arch.datasets[-1].likelihood != "poisson":
                self.log_theta["second"] = nn.Parameter(torch.zeros(members, arch.n_panel))
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
