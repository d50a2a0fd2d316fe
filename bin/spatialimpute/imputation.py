"""Predictions of trained stacks: posterior samples of every gene's frequency, folded chunk by chunk."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch

from spatialimpute.io.counts import Counts
from spatialimpute.models.gimvi import GimVI
from spatialimpute.models.minibatch import CsrTensor, gather
from spatialimpute.models.networks import Noise

#: Floats held at once for the posterior samples of one chunk of cells.
BLOCK_FLOATS = 16_000_000


class SpatialQuery:
    """The spatial cells as a stack's encoder reads them."""

    def __init__(self, model: GimVI, spatial: Counts, shared: list[str], batch: np.ndarray):
        self.model = model.eval()
        self.dataset = next(s for s, spec in enumerate(model.arch.datasets) if spec.spatial)
        self.matrix = CsrTensor(spatial.select(shared), model.encoder.in_use.device)
        offset = model.arch.batch_offsets[self.dataset]
        self.batch = torch.as_tensor(batch + offset, device=model.encoder.in_use.device)

    @torch.no_grad()
    def encode(self, cells: np.ndarray) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Posterior mean and standard deviation of z, (M, B, d), and the panel total of the genes in use, (M, B)."""
        in_use = self.model.encoder.in_use
        index = torch.as_tensor(cells, device=in_use.device).expand(len(in_use), -1)
        minibatch = gather(self.matrix, index, self.batch, in_use, in_use)
        mean, log_var = self.model.encoder([minibatch], None, first=self.dataset)
        return mean[:, 0], torch.exp(0.5 * log_var[:, 0]), minibatch.panel_total
