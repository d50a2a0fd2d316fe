"""Draws of the final estimate, a few cells and genes at a time."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from spatialimpute.ensemble import Blend, blend_draws
from spatialimpute.files.counts import Counts
from spatialimpute.files.gene_sets import GeneSets
from spatialimpute.folds import blocks, cell_totals
from spatialimpute.imputation.nearby import Nearby
from spatialimpute.methods.base import Component
from spatialimpute.methods.gimvi.posterior import StackSampler, gene_columns
from spatialimpute.methods.gimvi.stacks import TrainedStack

#: Cells that are encoded together. Arrays have the same shapes in every shard that begins at a multiple of it, and
#: with the same shapes a sum of floats is rounded in the same way.
BLOCK_CELLS = 1024
#: Cells whose other estimates are computed together, of all genes.
PART_CELLS = 256
#: Genes of a block at most.
BLOCK_GENES = 4096
#: Floats of a block's draws: on a CPU few enough for its cache, on a GPU enough to keep it busy.
BLOCK_FLOATS = {"cpu": 2_500_000, "cuda": 50_000_000}


@dataclass(frozen=True)
class PosteriorBlock:
    """Draws of some cells and genes.

    Attributes
    ----------
    rows : (B,), the cells, as rows of the counts that are imputed; they have counts on the panel
    genes : which targets
    draws : tensor (n, B, G), frequencies; draw i of every cell is of the same member
    totals : tensor (B,), each cell's counts over the panel; draws times it are expected counts on the panel's depth
    """

    rows: np.ndarray
    genes: slice
    draws: torch.Tensor
    totals: torch.Tensor


class Posterior:
    """Draws of the final estimate for spatial cells.

    Parameters
    ----------
    stacks : trained on all genes
    spatial : the cells to impute
    first : index of its first cell among all the sample's spatial cells, to which draws belong
    gene_sets : the genes to impute are its targets
    blend : how members, and other methods, become one estimate of the targets
    others : the methods that have a weight, as fitted
    n_samples : posterior draws per member and cell
    nearby : what the graph of cells adds; None where it has no share
    """

    def __init__(
        self,
        stacks: Sequence[TrainedStack],
        spatial: Counts,
        gene_sets: GeneSets,
        blend: Blend,
        others: Mapping[str, Component],
        n_samples: int,
        seed: int,
        device: torch.device | str = "cpu",
        first: int = 0,
        nearby: Nearby | None = None,
    ):
        lender = StackSampler(stacks[0], spatial, gene_sets, device)
        self._samplers = [lender] + [StackSampler(stack, spatial, gene_sets, device, lender) for stack in stacks[1:]]
        self._counts, self._targets = spatial.select(gene_sets.shared), gene_sets.targets
        self.totals = cell_totals(self._counts).astype(np.float32)
        self.n_latent, self.n_genes = lender.n_latent, len(gene_sets.targets)
        self.n_draws = n_samples * sum(len(sampler.members) for sampler in self._samplers)
        columns = gene_columns(gene_sets, gene_sets.targets, device)
        self._genes = [
            (genes, genes if isinstance(columns, slice) else columns[genes], blend.take(genes))
            for genes in blocks(self.n_genes, BLOCK_GENES)
        ]
        self._others, self._nearby = {method: others[method] for method in blend.weights}, nearby
        self._n_samples, self._seed, self._first, self._device = n_samples, seed, first, torch.device(device)

    def latent(self, rows: slice) -> np.ndarray:
        """The first member's posterior mean of z, (B, d); NaN where a cell has no counts."""
        out = np.full((rows.stop - rows.start, self.n_latent), np.nan, dtype=np.float32)
        for block in self._encoded_together(rows):
            out[block - rows.start] = self._samplers[0].encode(block)[0][0].cpu().numpy()
        return out

    def blocks(self, rows: slice) -> Iterator[PosteriorBlock]:
        """All draws of some rows, whose first is a multiple of BLOCK_CELLS; cells without counts are in no block."""
        at_once = max(1, BLOCK_FLOATS[self._device.type] // (self.n_draws * min(self.n_genes, BLOCK_GENES)))
        for block in self._encoded_together(rows):
            posteriors = [self._posterior(sampler, block) for sampler in self._samplers]
            for part in blocks(len(block), PART_CELLS):
                cells, of_part = block[part], [posterior[:, :, part] for posterior in posteriors]
                counts = self._counts[cells]
                others = {name: method.estimate(counts, self._targets) for name, method in self._others.items()}
                nearby = None if self._nearby is None else self._nearby.of_cells(cells + self._first)
                for piece in blocks(len(cells), at_once):
                    some = {method: values[piece] for method, values in others.items()}
                    around = None if nearby is None else nearby[:, piece]
                    yield from self._draw(cells[piece], [z[:, :, piece] for z in of_part], some, around)

    def _encoded_together(self, rows: slice) -> Iterator[np.ndarray]:
        """The rows that have counts, by blocks."""
        for block in blocks(rows.stop - rows.start, BLOCK_CELLS):
            known = np.flatnonzero(self.totals[rows][block]) + rows.start + block.start
            if len(known):
                yield known

    def _posterior(self, sampler: StackSampler, rows: np.ndarray) -> torch.Tensor:
        """Draws of z, (M, n_samples, B, d)."""
        mean, sd, _ = sampler.encode(rows)
        noise = sampler.noise(self._seed, rows + self._first, self._n_samples)
        return noise.mul_(sd.unsqueeze(1)).add_(mean.unsqueeze(1))

    def _draw(
        self, rows: np.ndarray, z: list[torch.Tensor], others: Mapping[str, np.ndarray], nearby: np.ndarray | None
    ) -> Iterator[PosteriorBlock]:
        totals = torch.as_tensor(self.totals[rows], device=self._device)
        decoded = [sampler.decode(part) for sampler, part in zip(self._samplers, z, strict=True)]
        for genes, columns, blend in self._genes:
            parts = [sampler.frequencies(*part, columns) for sampler, part in zip(self._samplers, decoded, strict=True)]
            draws = parts[0] if len(parts) == 1 else torch.cat(parts)
            some = {method: values[:, genes] for method, values in others.items()}
            draws = blend_draws(draws, some, blend, None if nearby is None else nearby[..., genes])
            yield PosteriorBlock(rows, genes, draws.flatten(0, 1), totals)
