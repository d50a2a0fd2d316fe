"""The latent space of both sides: codes of reference cells, and which spatial cells the references support."""

from collections.abc import Sequence

import numpy as np
import torch
from sklearn.neighbors import NearestNeighbors

from spatialimpute.files.counts import Counts
from spatialimpute.files.gene_sets import GeneSets
from spatialimpute.folds import blocks
from spatialimpute.methods.gimvi.data import batch_codes
from spatialimpute.methods.gimvi.minibatch import CsrTensor, gather
from spatialimpute.methods.gimvi.stacks import TrainedStack

CHUNK = 4096
N_NEIGHBORS = 15
MAX_REFERENCE_CELLS = 5000
#: A cell is supported if it lies no farther from the reference than this share of reference cells do.
SUPPORT_LEVEL = 0.99


@torch.no_grad()
def encode_reference(
    stack: TrainedStack, s: int, reference: Counts, gene_sets: GeneSets, rows: np.ndarray | None = None
) -> np.ndarray:
    """Posterior mean of z of cells of the s-th reference (all, or `rows`), by the stack's first member: (n, d)."""
    model = stack.model.eval()
    spec, in_use = model.arch.datasets[s], model.encoder.in_use
    matrix = CsrTensor(reference.select([gene_sets.genes[i] for i in spec.genes]), in_use.device)
    batch = torch.as_tensor(batch_codes(reference) + model.arch.batch_offsets[s], device=in_use.device)
    rows = np.arange(len(reference.cells)) if rows is None else rows
    codes = np.empty((len(rows), model.arch.n_latent), dtype=np.float32)
    for block in blocks(len(rows), CHUNK):
        cells = torch.as_tensor(rows[block], device=in_use.device).expand(len(in_use), -1)
        minibatch = gather(matrix, cells, batch, in_use, spatial=False)
        codes[block] = model.encoder([minibatch], None, first=s)[0][0, 0].cpu().numpy()
    return codes


class Support:
    """Whether a latent code lies where the references have cells.

    The distance of a code to its N_NEIGHBORS-th nearest reference cell is compared with the same distance of
    reference cells among themselves.

    Parameters
    ----------
    codes : (n, d), latent codes of reference cells
    """

    def __init__(self, codes: np.ndarray):
        self.k = min(N_NEIGHBORS, len(codes) - 1)
        self.search = NearestNeighbors(n_neighbors=self.k + 1).fit(codes)
        self.limit = np.quantile(self.search.kneighbors(codes)[0][:, -1], SUPPORT_LEVEL)

    @classmethod
    def of(cls, stack: TrainedStack, references: Sequence[Counts], gene_sets: GeneSets, seed: int = 0) -> "Support":
        """From at most MAX_REFERENCE_CELLS of all references' cells, the same for every shard of the spatial cells."""
        sizes = [len(reference.cells) for reference in references]
        chosen = np.arange(sum(sizes))
        if len(chosen) > MAX_REFERENCE_CELLS:
            chosen = np.sort(np.random.default_rng(seed).choice(len(chosen), MAX_REFERENCE_CELLS, replace=False))
        first = np.cumsum([0, *sizes])
        codes = []
        for s, reference in enumerate(references):
            rows = chosen[(first[s] <= chosen) & (chosen < first[s + 1])] - first[s]
            codes.append(encode_reference(stack, s, reference, gene_sets, rows))
        return cls(np.concatenate(codes))

    def contains(self, codes: np.ndarray) -> np.ndarray:
        """Which codes (n, d) are supported, (n,) bool."""
        return self.search.kneighbors(codes, n_neighbors=self.k)[0][:, -1] <= self.limit
