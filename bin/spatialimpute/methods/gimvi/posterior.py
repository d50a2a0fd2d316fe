"""Predictions of trained stacks: posterior samples of every gene's frequency, folded chunk by chunk.

A frequency is a gene's expected count divided by the cell's total over the panel genes in use,
rho_g / sum of rho over those genes: what eq. 5 of the paper calls the renormalized rho.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import torch

from spatialimpute.files.counts import Counts
from spatialimpute.files.gene_sets import GeneSets
from spatialimpute.files.predictions import Predictions
from spatialimpute.folds import held_out_genes, scale_cells
from spatialimpute.methods.gimvi.data import Member, batch_codes, member_seed
from spatialimpute.methods.gimvi.distributions import MASKED_LOGIT
from spatialimpute.methods.gimvi.minibatch import CsrTensor, gather
from spatialimpute.methods.gimvi.networks import Noise
from spatialimpute.methods.gimvi.training import TrainedStack

#: Floats that the posterior samples of one chunk of cells may take; a chunk's cells follow from it.
BLOCK_FLOATS = 12_000_000
#: Posterior samples per model in cross-validation: enough for a mean and a standard deviation.
CROSSVALIDATION_SAMPLES = 20
#: Cells from which the members' mean frequency per gene is measured before they are averaged.
SCALE_CELLS = 4096


class StackSampler:
    """Draws from one stack's posterior for the spatial cells; `like`, if given, lends its copy of their counts."""

    def __init__(
        self,
        stack: TrainedStack,
        spatial: Counts,
        gene_sets: GeneSets,
        device: torch.device | str = "cpu",
        like: "StackSampler | None" = None,
    ):
        self.members, self.model = stack.members, stack.model.to(device).eval()
        arch = self.model.arch
        self.dataset = next(s for s, spec in enumerate(arch.datasets) if spec.spatial)
        self.n_panel = arch.n_panel
        self.matrix = CsrTensor(spatial.select(gene_sets.shared), device) if like is None else like.matrix
        self.batch = torch.as_tensor(batch_codes(spatial) + arch.batch_offsets[self.dataset], device=device)
        self.not_in_use = (self.model.encoder.in_use == 0).view(len(self.members), 1, 1, -1)

    @torch.no_grad()
    def encode(self, cells: np.ndarray) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Posterior mean and standard deviation of z, (M, B, d), and the total of the genes in use, (M, B)."""
        in_use = self.model.encoder.in_use
        index = torch.as_tensor(cells, device=in_use.device).expand(len(in_use), -1)
        minibatch = gather(self.matrix, index, self.batch, in_use, spatial=True)
        mean, log_var = self.model.encoder([minibatch], None, first=self.dataset)
        return mean[:, 0], torch.exp(0.5 * log_var[:, 0]), minibatch.panel_total

    @torch.no_grad()
    def frequencies(self, z: torch.Tensor, columns: slice | torch.Tensor) -> torch.Tensor:
        """Frequencies of the genes `columns` for z (M, n, B, d), decoded as the first reference: (M, n, B, C)."""
        decoder = self.model.decoder
        features = decoder.features(z, None, slice(self.dataset, self.dataset + 1))
        panel = decoder.counterfactual_logits(features, 0, slice(0, self.n_panel))
        log_total = torch.logsumexp(panel.masked_fill(self.not_in_use, MASKED_LOGIT), dim=-1, keepdim=True)
        if columns == slice(0, self.n_panel):
            logits = panel
        else:
            logits = decoder.counterfactual_logits(features, 0, columns)
        return logits.sub_(log_total).exp_()

    def mean_frequency(self, cells: np.ndarray, columns) -> np.ndarray:
        """Mean over cells of the frequency at the posterior mean of z, (M, C); cells without counts are left out."""
        mean, _, total = self.encode(cells)
        sums = 0
        for part, counted in zip(mean.split(512, dim=1), (total > 0).split(512, dim=1), strict=True):
            frequencies = self.frequencies(part.unsqueeze(1), columns)[:, 0]
            sums = sums + (frequencies * counted.unsqueeze(-1)).sum(1)
        return (sums / (total > 0).sum(1, keepdim=True).clamp(min=1)).cpu().numpy()


def held_out_predictions(
    stacks: list[TrainedStack],
    spatial: Counts,
    cells: np.ndarray,
    gene_sets: GeneSets,
    sample: str,
    n_samples: int,
    seed: int,
    device="cpu",
) -> list[Predictions]:
    """Cross-validated predictions: every shared gene, by the members that never saw its spatial counts.

    Returns
    -------
    one Predictions per (kappa, place); posterior mean and standard deviation over `n_samples` draws per cell
    """
    position = {gene: i for i, gene in enumerate(gene_sets.shared)}
    all_genes, all_folds = held_out_genes(gene_sets)
    folds_at: dict[tuple[float, int], set] = {}
    for stack in stacks:
        for member in stack.members:
            folds_at.setdefault((member.kappa, member.place), set()).add(member.fold)
    results = {}
    for (kappa, place), folds in sorted(folds_at.items()):
        mine = np.isin(all_folds, list(folds))
        empty = [np.full((len(cells), mine.sum()), np.nan, dtype=np.float32) for _ in range(2)]
        results[kappa, place] = Predictions(
            *empty, spatial.cells, all_genes[mine], all_folds[mine], "gimvi", sample, kappa, place,
            np.zeros(mine.sum()),
        )  # fmt: skip
    chunk = max(1, BLOCK_FLOATS // (sum(len(stack.members) for stack in stacks) * len(gene_sets.shared) * n_samples))
    on_scale = np.isin(cells, scale_cells(gene_sets, int(cells[-1]) + 1 if gene_sets.scored_cells else len(cells)))
    for stack in stacks:
        sampler = StackSampler(stack, spatial, gene_sets, device)
        noise = _noise(sampler.members, seed, device)
        means = sampler.mean_frequency(np.flatnonzero(on_scale), slice(0, sampler.n_panel))
        for start in range(0, len(cells), chunk):
            rows = np.arange(start, min(start + chunk, len(cells)))
            z_mean, z_sd, total = sampler.encode(rows)
            draws = noise.normal(n_samples, *z_mean.shape[1:])
            frequencies = sampler.frequencies(
                z_mean.unsqueeze(1) + z_sd.unsqueeze(1) * draws, slice(0, sampler.n_panel)
            )
            sd, mean = torch.std_mean(frequencies, dim=1, correction=0)
            for m, member in enumerate(sampler.members):
                result = results[member.kappa, member.place]
                columns = np.flatnonzero(result.fold == member.fold)
                shared = [position[gene] for gene in result.genes[columns]]
                counted = np.flatnonzero(total[m].cpu().numpy() > 0)
                where = np.ix_(rows[counted], columns)
                result.mean[where] = mean[m].cpu().numpy()[np.ix_(counted, shared)]
                result.sd[where] = sd[m].cpu().numpy()[np.ix_(counted, shared)]
                result.mean_frequency[columns] = means[m][shared]
    return [results[key] for key in sorted(results)]


def mean_frequencies(stacks, spatial: Counts, gene_sets: GeneSets, genes: list[str], device="cpu") -> np.ndarray:
    """Mean over cells of each member's frequencies at the posterior mean of z, (M, G)."""
    position = {gene: i for i, gene in enumerate(gene_sets.genes)}
    columns = torch.tensor([position[gene] for gene in genes], device=device)
    every = np.arange(len(spatial.cells))
    return np.concatenate(
        [StackSampler(stack, spatial, gene_sets, device).mean_frequency(every, columns) for stack in stacks]
    )


@dataclass
class Chunk:
    """Imputed expected counts on the panel's depth of some cells; arrays (B, C), `panel_total` (B,)."""

    cells: np.ndarray
    mean: np.ndarray
    sd: np.ndarray
    lower: np.ndarray
    upper: np.ndarray
    panel_total: np.ndarray
    latent: np.ndarray


class Imputer:
    """Posterior moments and intervals of all spatial cells, in chunks of bounded memory.

    Members are averaged each on its own mean frequency per gene, so that none leads because it predicts more
    counts; the average keeps the members' mean frequency. With `knn_weight` w > 0 every sample is mixed with the
    kNN estimate, (1 - w) * sample + w * kNN, both on that same mean.

    Parameters
    ----------
    stacks : trained on all genes
    spatial, panel : the cells and genes to impute; columns are `gene_sets.targets`
    n_samples : posterior samples per member and cell
    interval : probability inside [lower, upper], equal-tailed
    knn, knn_weight : a function from cells (indices) to kNN frequencies (B, C), and its weight
    """

    def __init__(
        self,
        stacks: list[TrainedStack],
        spatial: Counts,
        gene_sets: GeneSets,
        n_samples: int = 50,
        interval: float = 0.9,
        seed: int = 0,
        device: torch.device | str = "cpu",
        knn: Callable[[np.ndarray], np.ndarray] | None = None,
        knn_weight: float = 0.0,
    ):
        first = StackSampler(stacks[0], spatial, gene_sets, device)
        self.samplers = [first] + [StackSampler(stack, spatial, gene_sets, device, like=first) for stack in stacks[1:]]
        self.noises = [_noise(sampler.members, seed, device) for sampler in self.samplers]
        self.n_cells, self.n_samples = len(spatial.cells), n_samples
        self.tails = ((1 - interval) / 2, (1 + interval) / 2)
        self.knn, self.knn_weight = (knn, knn_weight) if knn_weight > 0 else (None, 0.0)
        position = {gene: i for i, gene in enumerate(gene_sets.genes)}
        self.columns = torch.tensor([position[gene] for gene in gene_sets.targets], device=device)
        if gene_sets.targets == gene_sets.genes:
            self.columns = slice(0, len(gene_sets.genes))
        self.n_members = sum(len(sampler.members) for sampler in self.samplers)
        self._fit_scales()

    def _fit_scales(self) -> None:
        some = np.unique(np.linspace(0, self.n_cells - 1, SCALE_CELLS).astype(int))
        means = [sampler.mean_frequency(some, self.columns) for sampler in self.samplers]
        overall = np.concatenate(means).mean(0)
        self.scales = [overall / np.maximum(mean, 1e-12) for mean in means]
        if self.knn is not None:
            self.knn_scale = overall / np.maximum(self.knn(some).mean(0), 1e-12)

    @property
    def chunk_size(self) -> int:
        """Cells whose samples are held at once."""
        n_columns = self.scales[0].shape[1]
        return max(1, BLOCK_FLOATS // (n_columns * self.n_members * self.n_samples))

    def __iter__(self) -> Iterator[Chunk]:
        for start in range(0, self.n_cells, self.chunk_size):
            yield self._impute(np.arange(start, min(start + self.chunk_size, self.n_cells)))

    def _impute(self, cells: np.ndarray) -> Chunk:
        samples, latent, panel_total = self._samples(cells)
        if self.knn is not None:
            samples *= 1 - self.knn_weight
            samples += self.knn_weight * (self.knn(cells) * self.knn_scale)[..., None]
        sd, mean = (v.numpy() for v in torch.std_mean(torch.from_numpy(samples), dim=-1, correction=0))
        lower, upper = quantiles(samples, self.tails)
        total = panel_total[:, None]
        return Chunk(cells, mean * total, sd * total, lower * total, upper * total, panel_total, latent)

    def _samples(self, cells: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Frequencies of every member and draw, (B, C, members * n_samples); the first member's latent mean, (B, d);
        the panel total, (B,)."""
        blocks, latent, panel_total = [], None, None
        for sampler, noise, scale in zip(self.samplers, self.noises, self.scales, strict=True):
            z_mean, z_sd, total = sampler.encode(cells)
            if latent is None:
                latent, panel_total = z_mean[0].cpu().numpy(), total[0].cpu().numpy()
            draws = noise.normal(self.n_samples, *z_mean.shape[1:])
            frequencies = sampler.frequencies(z_mean.unsqueeze(1) + z_sd.unsqueeze(1) * draws, self.columns)
            frequencies *= torch.as_tensor(scale, device=frequencies.device)[:, None, None, :]
            blocks.append(frequencies.permute(2, 3, 0, 1).flatten(2).cpu().numpy())
        samples = blocks[0] if len(blocks) == 1 else np.concatenate(blocks, axis=-1)
        return samples, latent, panel_total


def quantiles(samples: np.ndarray, probabilities: tuple[float, ...]) -> list[np.ndarray]:
    """Quantiles over the last axis, interpolated linearly as numpy.quantile does; reorders `samples` in place."""
    n = samples.shape[-1]
    positions = [p * (n - 1) for p in probabilities]
    below = [int(np.floor(position)) for position in positions]
    samples.partition(sorted({min(i + j, n - 1) for i in below for j in (0, 1)}), axis=-1)
    out = []
    for position, i in zip(positions, below, strict=True):
        low, high = samples[..., i], samples[..., min(i + 1, n - 1)]
        out.append(low + (position - i) * (high - low))
    return out


def _noise(members: list[Member], seed: int, device) -> Noise:
    """Generators of the posterior draws, apart from those of training."""
    generators = [torch.Generator(device=device).manual_seed(member_seed(member, seed) ^ 1) for member in members]
    return Noise(generators)
