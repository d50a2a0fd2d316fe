"""The order in which a member sees a dataset's cells: pass after pass, each drawn when it begins."""

from collections.abc import Sequence

import numpy as np

HELD_OUT_FRACTION, MAX_HELD_OUT = 0.05, 256


def n_held_out(n_cells: int) -> int:
    """Cells of every dataset that a member's held-out ELBO is taken over, if the largest dataset has `n_cells`."""
    return min(MAX_HELD_OUT, max(1, int(HELD_OUT_FRACTION * n_cells)))


class CellOrder:
    """One member's cells of one dataset: those held out, and a stream of minibatches of the others.

    Pass p comes from a generator of (seed, p) alone, so there is nothing to save: a training that goes back a few
    steps or continues from a checkpoint meets the same cells. Only the current pass is in memory.

    Parameters
    ----------
    cells : (n,) int32, the cells that the member may see; n of 2 or more
    weights : (n,) float, sampling weights, and a pass is as many draws with replacement; None: all cells, shuffled
    size : cells of a minibatch
    held_out : cells to hold out; of fewer than 20 times as many cells, a share of HELD_OUT_FRACTION, repeated
    seed : the member's and dataset's own
    """

    def __init__(self, cells: np.ndarray, weights: np.ndarray | None, size: int, held_out: int, seed: Sequence[int]):
        self.cells, self.weights, self.size, self.seed = cells, weights, size, tuple(seed)
        kept = max(1, min(held_out, int(HELD_OUT_FRACTION * len(cells))))
        self._kept_out = self._generator(0).choice(len(cells), kept, replace=False)
        # Datasets are encoded together, so each gives as many cells; a small one gives some of its own twice.
        self.held_out = np.resize(cells[self._kept_out], held_out)
        self._length = len(cells) - kept
        self._number, self._pass = None, cells[:0]

    def minibatch(self, step: int) -> np.ndarray:
        """The cells of a step (from 0), (size,) int32; a minibatch may end one pass and begin the next."""
        begin, end = step * self.size, (step + 1) * self.size
        passes = range(begin // self._length, (end - 1) // self._length + 1)
        starts = [number * self._length for number in passes]
        return np.concatenate(
            [
                self._cells_of_pass(number)[max(begin - start, 0) : end - start]
                for number, start in zip(passes, starts, strict=True)
            ]
        )

    def _cells_of_pass(self, number: int) -> np.ndarray:
        if number != self._number:
            self._pass = self._draw(self._generator(number + 1))
            self._number = number
        return self._pass

    def _draw(self, generator: np.random.Generator) -> np.ndarray:
        if self.weights is None:
            order = np.delete(self.cells, self._kept_out)
            generator.shuffle(order)
            return order
        weights = self.weights.copy()
        weights[self._kept_out] = 0
        cumulative = np.cumsum(weights)
        # Of equal sums the last is that of the cell with a weight.
        drawn = np.searchsorted(cumulative, generator.random(self._length) * cumulative[-1], side="right")
        return self.cells[drawn]

    def _generator(self, number: int) -> np.random.Generator:
        """0 draws what is held out, from 1 on the passes."""
        return np.random.default_rng([*self.seed, number])
