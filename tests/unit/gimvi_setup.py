"""A model with its data and one minibatch of it, and what the tests of its terms compute by hand."""

from dataclasses import replace

import numpy as np
import torch
import torch.nn.functional as F
from spatialimpute.methods.gimvi.data import DeviceData, Member, TrainingData
from spatialimpute.methods.gimvi.model import GimVI
from tissue import SMALL, draw
from torch.distributions import NegativeBinomial, Poisson

MEMBERS = [Member("0", 0.0, 0), Member("2", 0.0, 1), Member(None, 0.0, 0)]
QUIET = replace(SMALL, dropout=0.0, input_masking=0.0)


def generators(n, seed=0):
    return [torch.Generator().manual_seed(seed + m) for m in range(n)]


class Setup:
    """A model with its data, and one minibatch of it."""

    def __init__(self, settings, members=MEMBERS, decoder_hidden=0, **tissue):
        self.references, self.spatial, self.gene_sets = draw(**tissue)
        self.data = TrainingData(self.references, self.spatial, self.gene_sets, settings)
        in_use = torch.tensor(np.stack([self.data.view(member.fold).in_use for member in members]))
        self.model = GimVI(self.data.architecture(decoder_hidden, False), in_use, generators(len(members)))
        if self.model.decoder.effect is not None:
            torch.nn.init.normal_(self.model.decoder.effect, generator=torch.Generator().manual_seed(4))
        self.data.prepare(self.model, members)
        self.model.eval()
        device_data = DeviceData(self.data, members, 0, torch.device("cpu"))
        self.cells = device_data.cells(0)
        self.minibatches = device_data.minibatches(self.model, self.cells)
        self.members = members

    @property
    def spatial_index(self):
        return len(self.references)

    def rho(self, s, features):
        """Eq. 5, gene by gene: softmax over the dataset's genes that each member may see, 0 elsewhere, (M, B, G)."""
        model, spec = self.model, self.data.specs[s]
        logits = torch.einsum("mbi,mig->mbg", features, model.decoder.rho.weight) + model.decoder.rho.bias
        if model.decoder.effect is not None:
            for m in range(len(self.members)):
                for b in range(features.shape[1]):
                    logits[m, b] += model.decoder.effect[m, self.minibatches[s].batch[m, b]]
        visible = torch.zeros(len(self.members), logits.shape[-1])
        visible[:, list(spec.genes)] = 1
        if spec.spatial:
            visible[:, : self.data.n_panel] *= model.encoder.in_use
        rate = torch.exp(logits) * visible.unsqueeze(1)
        return rate / rate.sum(-1, keepdim=True), visible

    def counts(self, s):
        """Raw counts of the minibatch, from the matrices themselves, (M, B, G)."""
        spec = self.data.specs[s]
        counts = self.spatial if spec.spatial else self.references[s]
        X = torch.zeros(*self.cells[s].shape, self.model.arch.n_genes)
        genes = [self.gene_sets.genes[i] for i in spec.genes]
        X[..., list(spec.genes)] = torch.tensor(counts.select(genes).toarray())[self.cells[s]]
        return X


def log_likelihood(likelihood, x, mu, log_theta=None, pi=None):
    """log p of counts, from torch.distributions; `log_theta`, `pi` where the likelihood has them."""
    if likelihood == "poisson":
        return Poisson(mu.clamp(min=1e-30)).log_prob(x)
    log_nb = NegativeBinomial(torch.exp(log_theta), logits=torch.log(mu.clamp(min=1e-30)) - log_theta).log_prob(x)
    if likelihood == "nb":
        return log_nb
    dropped, kept = F.logsigmoid(pi), F.logsigmoid(-pi) + log_nb
    return torch.where(x == 0, torch.logaddexp(dropped, kept), kept)
