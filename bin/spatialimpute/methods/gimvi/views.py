"""What the members of a fold may see of the data, and how their input is scaled."""

from dataclasses import dataclass

import numpy as np
import scipy.sparse as sp

from spatialimpute.errors import InputError
from spatialimpute.methods.knn import query_cells, usage_weights

#: Cells whose logarithms are in memory at once.
BLOCK_CELLS = 8192


@dataclass
class PanelCounts:
    """One dataset's counts on the panel.

    Attributes
    ----------
    name : for messages
    X : (n_cells, P) CSR, float32
    batch : (n_cells,) int, index of the cell's batch within the dataset
    n_batches : batches of the dataset
    """

    name: str
    X: sp.csr_matrix
    batch: np.ndarray
    n_batches: int


@dataclass
class FoldView:
    """What the members of one fold share: which genes and cells they may use, and how their input is scaled.

    Attributes
    ----------
    in_use : (P,) float32, 1 at the panel genes in use
    depth : panel total to which every cell is normalized, the median over spatial cells
    cells : per dataset, cells with counts on the genes in use, int32
    weights : per dataset, sampling weights of those cells; None is uniform
    mean, sd : (n_batches, P), of log1p normalized counts, per batch of every dataset
    """

    in_use: np.ndarray
    depth: float
    cells: list[np.ndarray]
    weights: list[np.ndarray | None]
    mean: np.ndarray
    sd: np.ndarray


def fold_view(datasets: list[PanelCounts], in_use: np.ndarray, reweight: bool) -> FoldView:
    """What members may see that use the panel genes where `in_use`, (P,) float32, is 1.

    Parameters
    ----------
    datasets : the references, and the spatial one last
    reweight : draw reference cells by how often they are neighbors of spatial cells

    Raises
    ------
    InputError
        A dataset has fewer than two cells with counts on these genes.
    """
    totals = [dataset.X @ in_use for dataset in datasets]  # counts are integers, so float32 sums are exact to 2^24
    cells = [np.flatnonzero(total > 0).astype(np.int32) for total in totals]
    for dataset, kept in zip(datasets, cells, strict=True):
        if len(kept) < 2:
            raise InputError(
                f"{dataset.name}: no cell has counts on the {int(in_use.sum())} panel genes in use; check gene names"
            )
    depth = float(np.median(totals[-1][cells[-1]]))
    weights: list[np.ndarray | None] = [None] * len(datasets)
    if reweight:
        columns = np.flatnonzero(in_use)
        query = datasets[-1].X[cells[-1][query_cells(len(cells[-1]))]][:, columns]
        weights[:-1] = [
            usage_weights(dataset.X[kept][:, columns], query)
            for dataset, kept in zip(datasets[:-1], cells, strict=False)
        ]
    moments = [
        panel_moments(dataset, in_use, total, depth, w)
        for dataset, total, w in zip(datasets, totals, weights, strict=True)
    ]
    mean, sd = (np.concatenate(parts) for parts in zip(*moments, strict=True))
    return FoldView(in_use, depth, cells, weights, mean, sd)


def panel_moments(
    dataset: PanelCounts, in_use: np.ndarray, total: np.ndarray, depth: float, weights: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Weighted mean and standard deviation of log1p normalized counts per batch and gene, each (n_batches, P) float32.

    Genes not in use, and all genes of a batch without cells, have mean 0 and sd 1.

    Parameters
    ----------
    in_use : (P,) float32, 1 at the genes in use
    total : (n_cells,), each cell's counts of them
    depth : total that cells are normalized to
    weights : of the cells with counts on these genes; None is uniform
    """
    n_genes, shape = dataset.X.shape[1], (dataset.n_batches, dataset.X.shape[1])
    weight = np.zeros(len(total))
    weight[total > 0] = 1 if weights is None else weights
    scale = (depth / np.maximum(total, 1)).astype(np.float32)
    sums, squares = np.zeros(shape), np.zeros(shape)
    for start in range(0, len(total), BLOCK_CELLS):
        rows = slice(start, start + BLOCK_CELLS)
        X = dataset.X[rows]
        per_cell = np.diff(X.indptr)
        logs = np.log1p(X.data * np.repeat(scale[rows], per_cell))
        place = X.indices + np.repeat(dataset.batch[rows] * n_genes, per_cell)
        weighted = logs * np.repeat(weight[rows], per_cell)
        sums += np.bincount(place, weighted, minlength=sums.size).reshape(shape)
        squares += np.bincount(place, weighted * logs, minlength=sums.size).reshape(shape)
    of_batch = np.bincount(dataset.batch, weight, minlength=dataset.n_batches)[:, None]
    known = of_batch > 0
    mean = np.divide(sums, of_batch, out=np.zeros(shape), where=known)
    variance = np.divide(squares, of_batch, out=np.zeros(shape), where=known) - mean**2
    sd = np.where(known, np.sqrt(np.maximum(variance, 0)) + 1e-2, 1)
    hidden = in_use == 0
    mean[:, hidden], sd[:, hidden] = 0, 1
    return mean.astype(np.float32), sd.astype(np.float32)
