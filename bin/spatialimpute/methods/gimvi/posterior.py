"""Predictions of trained stacks: what a member's posterior says of every gene's frequency.

A frequency is a gene's expected count divided by the cell's total over the panel genes in use,
rho_g / sum of rho over those genes: what eq. 5 of the paper calls the renormalized rho. Of a gene that was learned by a
zero-inflated likelihood it is, if so asked for, the mean of that: (1 - dropout_g) times as much.
"""

from collections.abc import Sequence

import numpy as np
import torch

from spatialimpute.files.counts import Counts
from spatialimpute.files.gene_sets import GeneSets
from spatialimpute.files.predictions import Predictions
from spatialimpute.folds import blocks, held_out_genes, scale_cells
from spatialimpute.methods.gimvi.data import batch_codes
from spatialimpute.methods.gimvi.distributions import MASKED_LOGIT
from spatialimpute.methods.gimvi.draws import posterior_draws
from spatialimpute.methods.gimvi.minibatch import CsrTensor, gather
from spatialimpute.methods.gimvi.stacks import TrainedStack

#: Floats of the posterior draws that are held at once.
BLOCK_FLOATS = 12_000_000
#: Cells that are encoded, or decoded at their posterior mean, at once.
CELLS_AT_ONCE = 512


class StackSampler:
    """One stack's posterior of the spatial cells; `like`, if given, lends its copy of their counts.

    Rows are indices into `spatial`.
    """

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
        self.dataset = arch.spatial_dataset
        self.n_panel, self.n_latent = arch.n_panel, arch.n_latent
        self.matrix = CsrTensor(spatial.select(gene_sets.shared), device) if like is None else like.matrix
        self.batch = torch.as_tensor(batch_codes(spatial) + arch.spatial_batch, device=device)
        not_in_use = (self.model.encoder.in_use == 0).view(len(self.members), 1, 1, -1)
        self.not_in_use = not_in_use if not_in_use.any() else None
        self._no_dropout = self._without_dropout() if arch.zero_inflated_mean else None

    def _without_dropout(self) -> torch.Tensor | None:
        """What is added to the logits of 1 - dropout, (M, 1, 1, G): infinity where none is to be; None if nowhere.

        Genes in use are learned from the spatial counts above all, the others from the references alone.
        """
        arch, in_use = self.model.arch, self.model.encoder.in_use
        shape = len(in_use), arch.n_genes
        inflated = torch.full(shape, arch.datasets[0].likelihood == "zinb", device=in_use.device)
        inflated[:, : arch.n_panel][in_use > 0] = arch.datasets[arch.spatial_dataset].likelihood == "zinb"
        if not inflated.any():
            return None
        return torch.zeros(shape, device=in_use.device).masked_fill_(~inflated, torch.inf)[:, None, None]

    @torch.no_grad()
    def encode(self, rows: np.ndarray) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Posterior mean and standard deviation of z, (M, B, d), and the total of the genes in use, (M, B)."""
        in_use = self.model.encoder.in_use
        index = torch.as_tensor(rows, device=in_use.device).expand(len(in_use), -1)
        minibatch = gather(self.matrix, index, self.batch, in_use, spatial=True)
        mean, log_var = self.model.encoder([minibatch], None, first=self.dataset)
        return mean[:, 0], torch.exp(0.5 * log_var[:, 0]), minibatch.panel_total

    def noise(self, seed: int, cells: np.ndarray, n: int) -> torch.Tensor:
        """Each member's standard normal numbers for cells of the sample (B,), (M, n, B, d)."""
        numbers = [posterior_draws(member, seed, cells, n, self.n_latent) for member in self.members]
        return torch.from_numpy(np.stack(numbers)).to(self.batch.device)

    @torch.no_grad()
    def decode(self, z: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """What logits are affine in, (M, n, B, ·), and the log of the sum over the genes in use, (M, n, B, 1).

        z (M, n, B, d) is decoded as the first reference.
        """
        features = self.model.decoder.features(z, None, slice(self.dataset, self.dataset + 1))
        panel = self.model.decoder.counterfactual_logits(features, 0, slice(0, self.n_panel))
        if self.not_in_use is not None:
            panel.masked_fill_(self.not_in_use, MASKED_LOGIT)
        return features, torch.logsumexp(panel, dim=-1, keepdim=True)

    @torch.no_grad()
    def frequencies(
        self, features: torch.Tensor, log_total: torch.Tensor, columns: slice | torch.Tensor
    ) -> torch.Tensor:
        """Frequencies of the genes `columns`, (M, n, B, C), from what :meth:`decode` gives."""
        out = self.model.decoder.counterfactual_logits(features, 0, columns).sub_(log_total).exp_()
        if self._no_dropout is None:
            return out
        shift = self._no_dropout[..., columns]
        lowered = torch.isfinite(shift).any(0).flatten().nonzero()
        if len(lowered):  # genes before the first of them, those of the panel as a rule, cost nothing
            first = int(lowered[0])
            columns = slice(columns.start + first, columns.stop) if isinstance(columns, slice) else columns[first:]
            seen = torch.sub(shift[..., first:], self.model.decoder.pi(features, columns)).sigmoid_()
            out[..., first:].mul_(seen)
        return out

    def mean_frequency(self, rows: np.ndarray, columns: slice | torch.Tensor) -> np.ndarray:
        """Mean over cells of the frequency at the posterior mean of z, (M, C); cells without counts are left out."""
        sums, n_counted = 0, 0
        for block in blocks(len(rows), CELLS_AT_ONCE):
            mean, _, total = self.encode(rows[block])
            frequencies = self.frequencies(*self.decode(mean.unsqueeze(1)), columns)[:, 0]
            sums = sums + (frequencies * (total > 0).unsqueeze(-1)).sum(1)
            n_counted = n_counted + (total > 0).sum(1, keepdim=True)
        return (sums / n_counted.clamp(min=1)).cpu().numpy()


def gene_columns(gene_sets: GeneSets, genes: Sequence[str], device: torch.device | str) -> slice | torch.Tensor:
    """Where genes are among all that are modeled; a slice, which costs no copy, where they are all of them."""
    if list(genes) == gene_sets.genes:
        return slice(0, len(gene_sets.genes))
    position = {gene: i for i, gene in enumerate(gene_sets.genes)}
    return torch.tensor([position[gene] for gene in genes], device=device)


def mean_frequencies(
    stacks: Sequence[TrainedStack], spatial: Counts, gene_sets: GeneSets, genes: Sequence[str], device="cpu"
) -> np.ndarray:
    """Mean over cells of each member's frequencies at the posterior mean of z, (M, G); members stack by stack."""
    columns, every = gene_columns(gene_sets, genes, device), np.arange(len(spatial.cells))
    samplers = [StackSampler(stack, spatial, gene_sets, device) for stack in stacks]
    return np.concatenate([sampler.mean_frequency(every, columns) for sampler in samplers])


def held_out_predictions(
    stacks: Sequence[TrainedStack],
    spatial: Counts,
    cells: np.ndarray,
    gene_sets: GeneSets,
    sample: str,
    n_samples: int,
    seed: int,
    device: torch.device | str = "cpu",
) -> list[Predictions]:
    """Cross-validated predictions: held-out genes, by the members that never saw their spatial counts.

    Parameters
    ----------
    spatial : counts of the cells `cells`
    cells : (B,), indices among all the sample's spatial cells, to which draws belong; ascending
    n_samples : posterior draws per member and cell

    Returns
    -------
    one Predictions per (kappa, place), of the folds that have a member of these, in the order of
    :func:`spatialimpute.folds.held_out_genes`; NaN where a cell has no counts on the genes in use
    """
    results = _empty_predictions(stacks, spatial, gene_sets, sample)
    position = {gene: i for i, gene in enumerate(gene_sets.shared)}
    on_scale = np.flatnonzero(np.isin(cells, scale_cells(gene_sets, len(cells))))
    for stack in stacks:
        sampler = StackSampler(stack, spatial, gene_sets, device)
        of_members = []
        for member in sampler.members:
            result = results[member.kappa, member.place]
            columns = np.flatnonzero(result.fold == member.fold)
            shared = np.array([position[gene] for gene in result.genes[columns]], dtype=int)
            of_members.append((result, columns, shared))
        genes = np.unique(np.concatenate([shared for _, _, shared in of_members]))
        wanted = [(result, columns, np.searchsorted(genes, shared)) for result, columns, shared in of_members]
        index = torch.as_tensor(genes, device=device)
        mean_frequency = sampler.mean_frequency(on_scale, index)
        for m, (result, columns, where) in enumerate(wanted):
            result.mean_frequency[columns] = mean_frequency[m, where]
        at_once = max(1, BLOCK_FLOATS // (len(sampler.members) * sampler.n_panel * n_samples))
        for block in blocks(len(cells), at_once):
            rows = np.arange(block.start, block.stop)
            z_mean, z_sd, total = sampler.encode(rows)
            z = z_mean.unsqueeze(1) + z_sd.unsqueeze(1) * sampler.noise(seed, cells[block], n_samples)
            moments = torch.std_mean(sampler.frequencies(*sampler.decode(z), index), dim=1, correction=0)
            sd, mean, known = (value.cpu().numpy() for value in (*moments, total > 0))
            for m, (result, columns, where) in enumerate(wanted):
                to, of = np.ix_(rows[known[m]], columns), np.ix_(known[m], where)
                result.mean[to], result.sd[to] = mean[m][of], sd[m][of]
    return [results[key] for key in sorted(results)]


def _empty_predictions(
    stacks: Sequence[TrainedStack], spatial: Counts, gene_sets: GeneSets, sample: str
) -> dict[tuple[float, int], Predictions]:
    """Per (kappa, place) of the stacks' members, all NaN."""
    genes, folds = held_out_genes(gene_sets)
    folds_of: dict[tuple[float, int], list] = {}
    for member in (member for stack in stacks for member in stack.members):
        folds_of.setdefault((member.kappa, member.place), []).append(member.fold)
    results = {}
    for (kappa, place), of_members in folds_of.items():
        columns = np.isin(folds, of_members)
        empty = np.full((len(spatial.cells), columns.sum()), np.nan, dtype=np.float32)
        results[kappa, place] = Predictions(
            empty, empty.copy(), spatial.cells, genes[columns], folds[columns], "gimvi", sample, kappa, place,
            np.zeros(columns.sum()),
        )  # fmt: skip
    return results
