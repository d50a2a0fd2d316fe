"""What is kept of the draws, which are never stored."""

from abc import ABC, abstractmethod
from typing import NamedTuple

import numpy as np
import torch

from spatialimpute.imputation.blocks import PosteriorBlock


class Reducer(ABC):
    """Folds blocks of draws into a result.

    A reducer sees every cell and gene of its rows once, in an order and in blocks that it must not depend on, and it
    must leave the draws as they are, since others see them too. Draw i of one block is of the same member as draw i of
    another, but cells are drawn independently.

    What is linear in cells fits in: the sum over a group of cells, or any other weighted sum, as spatial statistics
    are made of, for every draw. Such a reducer holds (n draws, groups, genes) and adds `weights[:, block.rows] @ draws`
    to it; the results of several ranges of rows add up.
    """

    @abstractmethod
    def update(self, block: PosteriorBlock) -> None:
        """Take in one block."""

    @abstractmethod
    def result(self):
        """The result, once every block was taken in."""


class Summary(NamedTuple):
    """Expected counts on the panel's depth, each (B, G) float32: posterior mean, sd, and an equal-tailed interval."""

    mean: np.ndarray
    sd: np.ndarray
    lower: np.ndarray
    upper: np.ndarray


class Summarize(Reducer):
    """Mean, standard deviation and exact quantiles over the draws, NaN for cells that are in no block.

    Parameters
    ----------
    rows : the rows to come
    n_genes : genes to come
    interval : probability inside [lower, upper]
    """

    def __init__(self, rows: slice, n_genes: int, interval: float):
        self._first = rows.start
        self._tails = ((1 - interval) / 2, (1 + interval) / 2)
        self._arrays = Summary(
            *(np.full((rows.stop - rows.start, n_genes), np.nan, dtype=np.float32) for _ in Summary._fields)
        )

    def update(self, block: PosteriorBlock) -> None:
        shape = block.draws.shape[1:]
        draws = block.draws.flatten(1)
        mean = draws.mean(0)
        sd = (draws - mean).square_().mean(0).sqrt_()
        total = block.totals.unsqueeze(1)
        first, last = block.rows[0] - self._first, block.rows[-1] - self._first
        # Consecutive rows, as nearly all are, are written without an index of each.
        together = last - first + 1 == len(block.rows)
        where = slice(first, last + 1) if together else block.rows - self._first
        for array, values in zip(self._arrays, (mean, sd, *quantiles(draws, self._tails)), strict=True):
            array[where, block.genes] = values.view(shape).mul_(total).cpu().numpy()

    def result(self) -> Summary:
        return self._arrays


def quantiles(draws: torch.Tensor, probabilities: tuple[float, ...]) -> list[torch.Tensor]:
    """Quantiles over the first axis of (n, K), interpolated linearly as numpy.quantile does, each (K,)."""
    if draws.device.type == "cpu":
        # numpy sorts short rows with vector instructions, several times as fast as torch sorts or numpy partitions.
        ordered = draws.t().contiguous().numpy()
        ordered.sort(axis=-1)
        ordered = torch.from_numpy(ordered).t()
    else:
        ordered = draws.sort(dim=0).values
    out = []
    for probability in probabilities:
        position = probability * (len(draws) - 1)
        below = min(int(position), len(draws) - 2) if len(draws) > 1 else 0
        low, high = ordered[below], ordered[min(below + 1, len(draws) - 1)]
        out.append(low + (position - below) * (high - low))
    return out
