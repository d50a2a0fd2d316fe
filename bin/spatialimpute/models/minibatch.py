"""Minibatches gathered from CSR matrices that stay on the device."""

from dataclasses import dataclass

import numpy as np
import scipy.sparse as sp
import torch
from torch import Tensor

from spatialimpute.models.distributions import SparseCounts


class CsrTensor:
    """A CSR count matrix (n_cells, n_genes) on a device, from which rows are gathered without copying to dense."""

    def __init__(self, matrix: sp.csr_matrix, device: torch.device | str = "cpu"):
        self.shape = matrix.shape
        self.indptr = torch.as_tensor(matrix.indptr.astype(np.int64), device=device)
        self.indices = torch.as_tensor(matrix.indices.astype(np.int64), device=device)
        self.values = torch.as_tensor(matrix.data.astype(np.float32), device=device)

    def gather(self, cells: Tensor) -> SparseCounts:
        """Nonzero counts of `cells` (M, B) int64; `row` counts through all M * B of them."""
        cells = cells.reshape(-1)
        start = self.indptr[cells]
        length = self.indptr[cells + 1] - start
        row = torch.repeat_interleave(torch.arange(len(cells), device=cells.device), length)
        first = torch.cumsum(length, 0) - length  # where each cell's counts begin among the gathered ones
        position = torch.arange(len(row), device=row.device) + (start - first)[row]
        return SparseCounts(row, self.indices[position], self.values[position])


@dataclass
class Minibatch:
    """B cells of one dataset for each of M members.

    Attributes
    ----------
    counts : nonzero counts; those a member may not see are 0
    total : (M, B), sum of all counts that the member may see: the observed library size
    panel_total : (M, B), sum over the panel genes in use, with which the encoder's input is normalized
    batch : (M, B) int64, index of the cell's batch among all batches of all datasets
    """

    counts: SparseCounts
    total: Tensor
    panel_total: Tensor
    batch: Tensor


def gather(
    matrix: CsrTensor, cells: Tensor, batch: Tensor, visible: Tensor | None, in_use: Tensor
) -> Minibatch:
    """Collect a minibatch.

    Parameters
    ----------
    matrix : counts whose first P columns are the panel
    cells : (M, B) int64
    batch : (n_cells,) int64
    visible : (M, P) float, 0 at panel genes whose counts a member must not see (spatial data);
        None where all counts may be seen (reference data)
    in_use : (M, P) float, 1 at the panel genes that the member's encoder uses
    """
    counts = matrix.gather(cells)
    members, n_cells = cells.shape
    panel = in_use.shape[1]
    member = torch.div(counts.row, n_cells, rounding_mode="floor")
    mask = in_use[member, counts.column.clamp(max=panel - 1)] * (counts.column < panel)
    if visible is not None:
        counts.value = counts.value * visible[member, counts.column]
    total = counts.value.new_zeros(members * n_cells)
    panel_total = total.index_add(0, counts.row, counts.value * mask)
    total = total.index_add(0, counts.row, counts.value)
    return Minibatch(counts, total.view(members, -1), panel_total.view(members, -1), batch[cells])
