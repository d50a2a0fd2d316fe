"""What the graph of cells adds to a cell's draws: its share of the mean estimate of the anchors near the cell."""

from collections.abc import Mapping, Sequence

import numpy as np
import torch

from spatialimpute.ensemble import Blend, member_estimates
from spatialimpute.files.counts import Counts
from spatialimpute.files.gene_sets import GeneSets
from spatialimpute.folds import blocks
from spatialimpute.graph import CellGraph
from spatialimpute.methods.base import Component
from spatialimpute.methods.gimvi.posterior import StackSampler, gene_columns
from spatialimpute.methods.gimvi.stacks import TrainedStack

#: Draws of each member of which an anchor's mean is taken. A cell averages over tens of anchors, so that few do.
N_DRAWS = 8
#: Floats of these draws that are held at once.
BLOCK_FLOATS = 8_000_000


class Nearby:
    """The graph, and each member's mean estimate of its anchors.

    Parameters
    ----------
    graph : the cells' neighbors
    anchors : (A, M * G) float32, member by member
    blend : has the graph's shares
    """

    def __init__(self, graph: CellGraph, anchors: np.ndarray, blend: Blend):
        self._graph, self._anchors, self._recipe = graph, anchors, blend.recipe
        self._shape = blend.member_scales.shape

    @classmethod
    def of(
        cls,
        stacks: Sequence[TrainedStack],
        blend: Blend,
        others: Mapping[str, Component],
        graph: CellGraph,
        anchors: Counts,
        gene_sets: GeneSets,
        seed: int,
        device: torch.device,
    ) -> "Nearby":
        """Draw the anchors, whose counts are given, as they are drawn when they are imputed."""
        samplers = [StackSampler(stack, anchors, gene_sets, device) for stack in stacks]
        columns, counts = gene_columns(gene_sets, gene_sets.targets, device), anchors.select(gene_sets.shared)
        n_members, n_genes = blend.member_scales.shape
        out = np.empty((len(graph.anchors), n_members, n_genes), dtype=np.float32)
        for block in blocks(len(out), max(1, BLOCK_FLOATS // (N_DRAWS * n_members * n_genes))):
            rows = np.arange(block.start, block.stop)
            means = np.concatenate(
                [_mean_draw(sampler, rows, graph.anchors[block], columns, seed) for sampler in samplers]
            )
            estimates = {name: method.estimate(counts[block], gene_sets.targets) for name, method in others.items()}
            out[block] = member_estimates(means, estimates, blend).swapaxes(0, 1)
        return cls(graph, out.reshape(len(out), -1), blend)

    def of_cells(self, cells: np.ndarray) -> np.ndarray:
        """What draws of some cells of the sample (B,) get from it, (M, B, G) float32."""
        near = self._graph.average(cells, self._recipe.alpha, self._recipe.beta) @ self._anchors
        return near.reshape(len(cells), *self._shape).swapaxes(0, 1)


def _mean_draw(
    sampler: StackSampler, rows: np.ndarray, cells: np.ndarray, columns: slice | torch.Tensor, seed: int
) -> np.ndarray:
    """Mean of N_DRAWS draws of each member of a stack, (M, B, G)."""
    mean, sd, _ = sampler.encode(rows)
    z = mean.unsqueeze(1) + sd.unsqueeze(1) * sampler.noise(seed, cells, N_DRAWS)
    return sampler.frequencies(*sampler.decode(z), columns).mean(1).cpu().numpy()
