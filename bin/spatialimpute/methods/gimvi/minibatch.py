"""Minibatches gathered from CSR matrices that stay on the device."""

from dataclasses import dataclass

import numpy as np
import scipy.sparse as sp
import torch
from torch import Tensor

from spatialimpute.methods.gimvi.distributions import CountBatch


class CsrTensor:
    """A CSR count matrix (n_cells, n_genes) on a device, of which only the rows of a minibatch are ever dense."""

    def __init__(self, matrix: sp.csr_matrix, device: torch.device | str = "cpu"):
        self.n_genes = matrix.shape[1]
        self.indptr = torch.as_tensor(matrix.indptr.astype(np.int64), device=device)
        # As they are where their type fits: on a CPU they are then the matrix's own.
        self.indices = torch.as_tensor(matrix.indices.astype(np.int32, copy=False), device=device)
        self.values = torch.as_tensor(matrix.data.astype(np.float32, copy=False), device=device)

    def gather(self, cells: Tensor) -> CountBatch:
        """Counts of `cells` (M, B) int64."""
        members, n_cells = cells.shape
        index = cells.reshape(-1)
        start = self.indptr.index_select(0, index)
        length = self.indptr.index_select(0, index + 1) - start
        row = torch.repeat_interleave(length)
        first = torch.cumsum(length, 0) - length  # where each cell's counts begin among the gathered ones
        position = torch.arange(len(row), device=row.device) + (start - first).index_select(0, row)
        column = self.indices.index_select(0, position).long()
        value = self.values.index_select(0, position)
        flat = column + row * self.n_genes
        member = torch.arange(members, device=row.device).repeat_interleave(n_cells) * self.n_genes
        parameter = column.add_(member.index_select(0, row))
        x = value.new_zeros(len(index) * self.n_genes).scatter_(0, flat, value)
        return CountBatch(x.view(members, n_cells, self.n_genes), value, flat, row, parameter)


@dataclass
class Minibatch:
    """B cells of one dataset for each of M members.

    Attributes
    ----------
    counts : those that a member may see
    total : (M, B), their sum: the observed library size
    panel : (M, B, P), raw counts of the panel genes
    panel_total : (M, B), sum over the panel genes in use, by which the encoder's input is normalized
    batch : (M, B) int64, index of the cell's batch among all batches of all datasets
    """

    counts: CountBatch
    total: Tensor
    panel: Tensor
    panel_total: Tensor
    batch: Tensor


def gather(matrix: CsrTensor, cells: Tensor, batch: Tensor, in_use: Tensor, spatial: bool) -> Minibatch:
    """Collect a minibatch.

    Parameters
    ----------
    matrix : counts whose first P columns are the panel
    cells : (M, B) int64
    batch : (n_cells,) int64
    in_use : (M, P) float, 1 at the panel genes that the member's encoder uses
    spatial : the dataset whose counts of panel genes not in use a member must not see
    """
    counts = matrix.gather(cells)
    if spatial:
        counts.x *= in_use.unsqueeze(1)
        counts.value = counts.x.view(-1).index_select(0, counts.flat)
    panel = counts.x[..., : in_use.shape[1]]
    panel_total = torch.matmul(panel, in_use.unsqueeze(-1)).squeeze(-1)
    total = panel_total if spatial else counts.x.sum(-1)
    return Minibatch(counts, total, panel, panel_total, batch[cells])
