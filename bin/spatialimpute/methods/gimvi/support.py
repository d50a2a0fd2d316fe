"""The latent space of both sides: codes of reference cells, and which spatial cells the references support."""

import numpy as np
import torch
from sklearn.neighbors import NearestNeighbors

from spatialimpute.files.counts import Counts
from spatialimpute.files.gene_sets import GeneSets
from spatialimpute.methods.gimvi.data import batch_codes
from spatialimpute.methods.gimvi.minibatch import CsrTensor, gather
from spatialimpute.methods.gimvi.training import TrainedStack

CHUNK = 4096
N_NEIGHBORS = 15
MAX_REFERENCE_CELLS = 5000
#: A cell is supported if it lies no farther from the reference than this share of reference cells do.
SUPPORT_LEVEL = 0.99


@torch.no_grad()
def encode_reference(stack: TrainedStack, s: int, reference: Counts, gene_sets: GeneSets) -> np.ndarray:
    """Posterior mean of z of every cell of the s-th reference, by the stack's first member: (n_cells, d)."""
    model = stack.model.eval()
    spec, in_use = model.arch.datasets[s], model.encoder.in_use
    matrix = CsrTensor(reference.select([gene_sets.genes[i] for i in spec.genes]), in_use.device)
    batch = torch.as_tensor(batch_codes(reference) + model.arch.batch_offsets[s], device=in_use.device)
    codes = []
    for cells in torch.arange(len(reference.cells), device=in_use.device).split(CHUNK):
        minibatch = gather(matrix, cells.expand(len(in_use), -1), batch, in_use, spatial=False)
        codes.append(model.encoder([minibatch], None, first=s)[0][0, 0].cpu().numpy())
    return np.concatenate(codes)


class Support:
    """Whether a latent code lies where the references have cells.

    The distance of a code to its N_NEIGHBORS-th nearest reference cell is compared with the same distance of
    reference cells among themselves.
    """

    def __init__(self, latents: list[np.ndarray], seed: int = 0):
        codes = np.concatenate(latents)
        if len(codes) > MAX_REFERENCE_CELLS:
            codes = codes[np.random.default_rng(seed).choice(len(codes), MAX_REFERENCE_CELLS, replace=False)]
        self.k = min(N_NEIGHBORS, len(codes) - 1)
        self.search = NearestNeighbors(n_neighbors=self.k + 1).fit(codes)
        self.limit = np.quantile(self.search.kneighbors(codes)[0][:, -1], SUPPORT_LEVEL)

    def contains(self, codes: np.ndarray) -> np.ndarray:
        """Which codes (n, d) are supported, (n,) bool."""
        return self.search.kneighbors(codes, n_neighbors=self.k)[0][:, -1] <= self.limit
