"""What a stack of models is trained on: counts on the device, who may see which gene, and the order of cells."""

import hashlib
from dataclasses import dataclass

import numpy as np
import scipy.sparse as sp
import torch

from spatialimpute.errors import InputError
from spatialimpute.files.counts import Counts
from spatialimpute.files.gene_sets import GeneSets
from spatialimpute.methods.gimvi.architecture import Architecture, DatasetSpec
from spatialimpute.methods.gimvi.minibatch import CsrTensor, Minibatch, gather
from spatialimpute.methods.gimvi.model import GimVI
from spatialimpute.methods.gimvi.settings import Settings
from spatialimpute.methods.knn import neighbors

N_NEIGHBORS = 50
#: Spatial cells from which the use of reference cells is estimated; more change nothing but the time.
MAX_QUERY_CELLS = 20_000
HELD_OUT_FRACTION, MAX_HELD_OUT = 0.05, 256


@dataclass(frozen=True)
class Member:
    """One model of a stack: the fold it must not see (None: it sees all), its kappa, its place in the ensemble."""

    fold: str | None
    kappa: float
    place: int
    decoder_hidden: int = 0

    @property
    def name(self) -> str:
        return f"fold {self.fold if self.fold is not None else 'none'}, kappa {self.kappa:g}, place {self.place}"


@dataclass
class FoldView:
    """What the members of one fold share: which genes and cells they may use, and how their input is scaled.

    Attributes
    ----------
    in_use : (P,) float32, 1 at the panel genes in use
    depth : panel total to which every cell is normalized, the median over spatial cells
    cells : per dataset, cells with counts on the genes in use
    weights : per dataset, sampling weights of those cells; None is uniform
    mean, sd : (n_batches, P), of log1p normalized counts, per batch of every dataset
    """

    in_use: np.ndarray
    depth: float
    cells: list[np.ndarray]
    weights: list[np.ndarray | None]
    mean: np.ndarray
    sd: np.ndarray


class TrainingData:
    """All datasets of a sample, the references first and the spatial one last.

    Parameters
    ----------
    references, spatial : canonical counts
    panel : the genes modeled; its shared genes come first and are the encoder's input
    settings : hyperparameters

    Raises
    ------
    InputError
        A dataset has no cell with counts on the panel.
    """

    def __init__(self, references: list[Counts], spatial: Counts, gene_sets: GeneSets, settings: Settings):
        self.gene_sets, self.settings = gene_sets, settings
        self.n_panel = len(gene_sets.shared)
        self.names, self.matrices, self.batches, self.specs = [], [], [], []
        position = {gene: i for i, gene in enumerate(gene_sets.genes)}
        for counts in references:
            present = set(counts.genes)
            genes = [gene for gene in gene_sets.genes if gene in present]
            self._add(counts, genes, position, settings.reference_likelihood, settings.latent_library, False)
        self._add(spatial, gene_sets.shared, position, settings.spatial_likelihood, False, True)
        self.offsets = np.cumsum([0] + [spec.n_batches for spec in self.specs])
        self._views: dict[str | None, FoldView] = {}

    def _add(self, counts: Counts, genes, position, likelihood, latent_library, spatial) -> None:
        batch = batch_codes(counts)
        self.names.append(str(counts.info.get("id", "spatial" if spatial else "reference")))
        self.matrices.append(counts.select(genes))
        self.batches.append(batch)
        self.specs.append(
            DatasetSpec(
                name=self.names[-1],
                genes=tuple(position[gene] for gene in genes),
                likelihood=likelihood,
                latent_library=latent_library,
                spatial=spatial,
                n_batches=int(batch.max(initial=0)) + 1,
            )
        )

    @property
    def n_cells(self) -> int:
        """Cells of the largest dataset; one pass over it is an epoch."""
        return max(matrix.shape[0] for matrix in self.matrices)

    def architecture(self, decoder_hidden: int, adversary: bool) -> Architecture:
        """The models' shape on this data."""
        settings = self.settings
        return Architecture(
            n_genes=len(self.gene_sets.genes),
            n_panel=self.n_panel,
            datasets=tuple(self.specs),
            encoder=settings.encoder,
            n_latent=settings.n_latent,
            n_hidden=settings.n_hidden,
            decoder_hidden=decoder_hidden,
            dropout=settings.dropout,
            input_masking=settings.input_masking,
            conditioned=settings.conditioned or bool(self.offsets[-1] > len(self.specs)),
            adversary=adversary,
        )

    def view(self, fold: str | None) -> FoldView:
        """What a member of this fold may see; computed once per fold."""
        if fold not in self._views:
            self._views[fold] = self._make_view(fold)
        return self._views[fold]

    def _make_view(self, fold: str | None) -> FoldView:
        in_use = np.isin(self.gene_sets.shared, self.gene_sets.genes_in_use(fold)).astype(np.float32)
        columns = np.flatnonzero(in_use)
        panels = [matrix[:, : self.n_panel][:, columns] for matrix in self.matrices]
        totals = [np.asarray(panel.sum(1)).ravel() for panel in panels]
        cells = [np.flatnonzero(total > 0) for total in totals]
        for name, kept in zip(self.names, cells, strict=True):
            if len(kept) < 2:
                raise InputError(
                    f"{name}: no cell has counts on the {len(columns)} panel genes in use; check gene names"
                )
        depth = float(np.median(totals[-1][cells[-1]]))
        weights = [None] * len(panels)
        if self.settings.reweight:
            query = panels[-1][cells[-1][:: max(1, len(cells[-1]) // MAX_QUERY_CELLS)]]
            weights = [_use(panel[kept], query) for panel, kept in zip(panels[:-1], cells, strict=False)] + [None]
        mean = np.zeros((self.offsets[-1], self.n_panel), dtype=np.float32)
        sd = np.ones_like(mean)
        for s, (panel, kept) in enumerate(zip(panels, cells, strict=True)):
            logs = _log_normalize(panel[kept], totals[s][kept], depth)
            for b in range(self.specs[s].n_batches):
                rows = self.batches[s][kept] == b
                if rows.any():
                    weight = None if weights[s] is None else weights[s][rows]
                    mean[self.offsets[s] + b, columns], sd[self.offsets[s] + b, columns] = _moments(logs[rows], weight)
        return FoldView(in_use, depth, cells, weights, mean, sd)

    def prepare(self, model: GimVI, members: list[Member]) -> None:
        """Fill the model's buffers that come from the data: input scaling and library priors."""
        views = [self.view(member.fold) for member in members]
        encoder = model.encoder
        encoder.depth.copy_(torch.tensor([[view.depth] for view in views]))
        encoder.input_mean.copy_(torch.tensor(np.stack([view.mean for view in views])))
        encoder.input_scale.copy_(torch.tensor(np.stack([view.in_use / view.sd for view in views])))
        for s, library in model.library.items():
            s = int(s)
            log_total = np.log(np.maximum(np.asarray(self.matrices[s].sum(1)).ravel(), 1))
            for b in range(self.specs[s].n_batches):
                inside = log_total[self.batches[s] == b]
                library.prior_mean[:, self.offsets[s] + b] = float(inside.mean())
                library.prior_var[:, self.offsets[s] + b] = max(float(inside.var()), 1e-4)


class DeviceData:
    """Counts and schedules of a stack, on its device.

    `schedule[s]` is (steps, M, B): the cells of dataset s that each member sees at each step, drawn beforehand from
    the member's own seed. `held_out[s]` is (M, H): cells kept for the held-out ELBO.
    """

    def __init__(self, data: TrainingData, members: list[Member], steps: int, seed: int, device: torch.device):
        self.data, batch_size = data, data.settings.batch_size
        self.matrices = [CsrTensor(matrix, device) for matrix in data.matrices]
        self.batches = [
            torch.as_tensor(batch + offset, device=device)
            for batch, offset in zip(data.batches, data.offsets[:-1], strict=True)
        ]
        held_out = min(MAX_HELD_OUT, max(1, int(HELD_OUT_FRACTION * data.n_cells)))
        plans = [
            _plan(data.view(member.fold), steps, batch_size, held_out, member_seed(member, seed)) for member in members
        ]
        n_datasets = range(len(self.matrices))
        stack = lambda s, part: np.stack([plan[s][part] for plan in plans], axis=1 - part)  # noqa: E731
        self.schedule = [torch.as_tensor(stack(s, 0), device=device) for s in n_datasets]
        self.held_out = [torch.as_tensor(stack(s, 1), device=device) for s in n_datasets]

    def minibatches(self, model: GimVI, cells: list[torch.Tensor]) -> list[Minibatch]:
        """Gather `cells[s]` (M, B) of every dataset."""
        in_use = model.encoder.in_use
        return [
            gather(matrix, cell.long(), batch, in_use, spec.spatial)
            for matrix, cell, batch, spec in zip(self.matrices, cells, self.batches, self.data.specs, strict=True)
        ]


def batch_codes(counts: Counts) -> np.ndarray:
    """Index of each cell's batch within its dataset, (n_cells,) int64; zeros without batches."""
    if "batch" not in counts.obs:
        return np.zeros(len(counts.cells), dtype=np.int64)
    return counts.obs["batch"].astype("category").cat.codes.to_numpy(np.int64)


def member_seed(member: Member, seed: int) -> int:
    """A seed of the member's own; the same for every kappa, so that kappas are compared on the same draws."""
    text = f"{seed}/{member.fold}/{member.place}".encode()
    return int.from_bytes(hashlib.sha256(text).digest()[:7], "little")


def _plan(view: FoldView, steps: int, batch_size: int, held_out: int, seed: int) -> list[tuple[np.ndarray, np.ndarray]]:
    """Per dataset: training cells by step (steps, B) int32, and `held_out` held-out cells."""
    rng = np.random.default_rng(seed)
    plan = []
    for cells, weights in zip(view.cells, view.weights, strict=True):
        order = rng.permutation(len(cells))
        kept = max(1, min(held_out, int(HELD_OUT_FRACTION * len(cells))))
        # Datasets are encoded together, so each gives as many cells; a small one gives some of its own twice.
        kept_out, train = np.resize(order[:kept], held_out), order[kept:]
        wanted = steps * batch_size
        if weights is None:  # passes without replacement, shuffled anew
            passes = -(-wanted // len(train))
            drawn = np.concatenate([rng.permutation(train) for _ in range(passes)])[:wanted]
        else:
            cumulative = np.cumsum(weights[train])
            drawn = train[np.searchsorted(cumulative, rng.random(wanted) * cumulative[-1])]
        plan.append((cells[drawn].reshape(steps, batch_size).astype(np.int32), cells[kept_out]))
    return plan


def _use(reference: sp.csr_matrix, query: sp.csr_matrix) -> np.ndarray:
    """Sampling weights of reference cells: half uniform, half by how often they are neighbors of spatial cells."""
    nearest = neighbors(reference, query, k=N_NEIGHBORS)
    use = np.bincount(nearest.ravel(), minlength=reference.shape[0])
    return 0.5 + 0.5 * np.minimum(use / use.mean(), 10)


def _log_normalize(panel: sp.csr_matrix, total: np.ndarray, depth: float) -> sp.csr_matrix:
    logs = sp.diags_array(depth / np.maximum(total, 1)) @ panel
    logs = sp.csr_matrix(logs)
    logs.data = np.log1p(logs.data)
    return logs


def _moments(logs: sp.csr_matrix, weights: np.ndarray | None) -> tuple[np.ndarray, np.ndarray]:
    """Weighted mean and standard deviation per gene, each (P,)."""
    weights = np.full(logs.shape[0], 1 / logs.shape[0]) if weights is None else weights / weights.sum()
    mean = weights @ logs
    variance = weights @ logs.multiply(logs) - mean**2
    return mean, np.sqrt(np.maximum(variance, 0)) + 1e-2
