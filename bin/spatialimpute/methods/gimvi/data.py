"""What a stack of models is trained on: its members, a sample's datasets, and their counts on the device."""

import hashlib
from dataclasses import dataclass

import numpy as np
import torch

from spatialimpute.files.counts import Counts
from spatialimpute.files.gene_sets import GeneSets
from spatialimpute.folds import in_use_mask
from spatialimpute.methods.gimvi.architecture import Architecture, DatasetSpec
from spatialimpute.methods.gimvi.minibatch import CsrTensor, Minibatch, gather
from spatialimpute.methods.gimvi.model import GimVI, LossWeights
from spatialimpute.methods.gimvi.order import CellOrder, n_held_out
from spatialimpute.methods.gimvi.settings import Settings
from spatialimpute.methods.gimvi.views import FoldView, PanelCounts, fold_view


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


class TrainingData:
    """All datasets of a sample, the references first and the spatial one last.

    Parameters
    ----------
    references, spatial : canonical counts; no spatial ones where models are trained on references alone
    gene_sets : the genes modeled; the shared ones come first and are the encoder's input
    settings : hyperparameters

    Raises
    ------
    InputError
        A dataset has no cell with counts on the panel.
    """

    def __init__(self, references: list[Counts], spatial: Counts | None, gene_sets: GeneSets, settings: Settings):
        self.gene_sets, self.settings = gene_sets, settings
        self.n_panel = len(gene_sets.shared)
        self.matrices, self.batches, self.specs = [], [], []
        position = {gene: i for i, gene in enumerate(gene_sets.genes)}
        for counts in references:
            present = set(counts.genes)
            genes = [gene for gene in gene_sets.genes if gene in present]
            self._add(counts, genes, position, settings.reference_likelihood, settings.latent_library, False)
        if spatial is not None:
            self._add(spatial, gene_sets.shared, position, settings.spatial_likelihood, False, True)
        self.offsets = np.cumsum([0] + [spec.n_batches for spec in self.specs])
        self._panels = [
            PanelCounts(spec.name, matrix if spec.spatial else matrix[:, : self.n_panel], batch, spec.n_batches)
            for spec, matrix, batch in zip(self.specs, self.matrices, self.batches, strict=True)
        ]
        self._views: dict[str | None, FoldView] = {}

    def _add(self, counts: Counts, genes, position, likelihood, latent_library, spatial) -> None:
        batch = batch_codes(counts)
        self.matrices.append(counts.select(genes))
        self.batches.append(batch)
        self.specs.append(
            DatasetSpec(
                name=str(counts.info.get("id", "spatial" if spatial else "reference")),
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
            second_input=settings.second_input and settings.encoder == "panel",
            zero_inflated_mean=settings.zero_inflated_mean,
        )

    def view(self, fold: str | None) -> FoldView:
        """What a member of this fold may see; computed once per fold."""
        if fold not in self._views:
            in_use = in_use_mask(self.gene_sets, fold).astype(np.float32)
            self._views[fold] = fold_view(self._panels, in_use, self.settings.reweight)
        return self._views[fold]

    def prepare(self, model: GimVI, members: list[Member]) -> None:
        """Set what a model has from the data: weights of its loss, input scaling and library priors."""
        views = [self.view(member.fold) for member in members]
        model.loss_weights = self.loss_weights(members, model.encoder.in_use.device)
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

    def loss_weights(self, members: list[Member], device: torch.device) -> LossWeights:
        """1 for genes in use and `other_gene_weight` for the rest of a reference's; the spatial ELBO's weight.

        A reference's likelihood sums over all its genes, the spatial one over the genes in use. Without weights the
        latent space serves the former, and each gene that is to be imputed costs all others accuracy.
        """
        settings, other = self.settings, self.settings.other_gene_weight
        in_use = torch.tensor(np.stack([self.view(member.fold).in_use for member in members]))
        datasets, genes = torch.ones(len(members), len(self.specs)), [None] * len(self.specs)
        n_modeled = np.mean([len(spec.genes) for spec in self.specs if not spec.spatial])
        for s, spec in enumerate(self.specs):
            if spec.spatial:
                datasets[:, s] = (n_modeled / in_use.sum(1)).clamp(1, settings.max_spatial_weight)
            elif other != 1:
                weight = torch.full((len(members), len(spec.genes)), other)
                weight[:, : self.n_panel] = in_use + other * (1 - in_use)
                genes[s] = weight.to(device)
        return LossWeights(datasets.to(device), genes)


class DeviceData:
    """A stack's counts on its device, and the order in which its members see the cells.

    Attributes
    ----------
    held_out : per dataset (M, H), cells kept for the held-out ELBO
    """

    def __init__(self, data: TrainingData, members: list[Member], seed: int, device: torch.device):
        self.specs, self.device = data.specs, device
        self.matrices = [CsrTensor(matrix, device) for matrix in data.matrices]
        self.batches = [
            torch.as_tensor(batch + offset, device=device)
            for batch, offset in zip(data.batches, data.offsets[:-1], strict=True)
        ]
        size, held_out = data.settings.batch_size, n_held_out(data.n_cells)
        views = [data.view(member.fold) for member in members]
        seeds = [member_seed(member, seed) for member in members]
        self._orders = [
            [
                CellOrder(view.cells[s], view.weights[s], size, held_out, (own, s))
                for view, own in zip(views, seeds, strict=True)
            ]
            for s in range(len(self.matrices))
        ]
        self.held_out = [self._stack([order.held_out for order in orders]) for orders in self._orders]

    def cells(self, step: int) -> list[torch.Tensor]:
        """The cells that each member sees at a step: per dataset (M, B)."""
        return [self._stack([order.minibatch(step) for order in orders]) for orders in self._orders]

    def minibatches(self, model: GimVI, cells: list[torch.Tensor]) -> list[Minibatch]:
        """Gather `cells[s]` (M, B) of every dataset."""
        in_use = model.encoder.in_use
        return [
            gather(matrix, cell, batch, in_use, spec.spatial)
            for matrix, cell, batch, spec in zip(self.matrices, cells, self.batches, self.specs, strict=True)
        ]

    def _stack(self, cells: list[np.ndarray]) -> torch.Tensor:
        return torch.as_tensor(np.stack(cells), device=self.device).long()


def batch_codes(counts: Counts) -> np.ndarray:
    """Index of each cell's batch within its dataset, (n_cells,) int64; zeros without batches."""
    if "batch" not in counts.obs:
        return np.zeros(len(counts.cells), dtype=np.int64)
    return counts.obs["batch"].astype("category").cat.codes.to_numpy(np.int64)


def member_seed(member: Member, seed: int) -> int:
    """A seed of the member's own; the same for every kappa, so that kappas are compared on the same draws."""
    text = f"{seed}/{member.fold}/{member.place}".encode()
    return int.from_bytes(hashlib.sha256(text).digest()[:7], "little")
