"""Averaging along the graph leaves a border between layers where it is: a marker that ends there still ends there."""

import numpy as np
import pytest
import scipy.sparse as sp
from spatialimpute.graph import cell_graph
from spatialimpute.methods.base import SpatialView

#: The prior's shares, and the largest that can be chosen.
SHARES = [(0.4, 0.1), (0.6, 0.2)]
N, BORDER, STRIP = 2000, 0.5, 0.03


@pytest.fixture(scope="module")
def tissue():
    """Two layers of two types each; the panel tells the types apart, as the simulated cortex' does."""
    rng = np.random.default_rng(0)
    coords = rng.random((N, 2))
    upper = coords[:, 1] > BORDER
    kind = 2 * upper + rng.integers(0, 2, N)
    profiles = rng.gamma(0.6, 1.0, (4, 60))
    rates = profiles[kind] * rng.lognormal(0, 0.3, (N, 60))
    counts = rng.poisson(rates / rates.sum(1, keepdims=True) * 120)
    view = SpatialView(
        sp.csr_matrix(counts, dtype=np.float32), tuple(f"g{i}" for i in range(60)), coords, np.full(N, "")
    )
    cells = np.arange(N)
    return coords[:, 1], upper, cell_graph(view, cells, N, cells), rng


def contrast(values, depth, upper):
    """Of a marker of the upper layer: the mean just above the border less that just below, in units of the whole's."""
    near = np.abs(depth - BORDER) < STRIP
    whole = values[upper].mean() - values[~upper].mean()
    return (values[near & upper].mean() - values[near & ~upper].mean()) / whole


@pytest.mark.parametrize("shares", SHARES)
def test_a_marker_that_ends_at_a_layer_still_ends_there(tissue, shares):
    depth, upper, graph, rng = tissue
    marker = upper * rng.gamma(4, 0.25, N).astype(np.float32)
    smoothed = (1 - sum(shares)) * marker + graph.average(np.arange(N), *shares) @ marker
    # Half of what lies around a cell at the border is of the other layer: the share β is all that may leak.
    assert contrast(smoothed, depth, upper) > 1 - shares[1]
    below = np.abs(depth - BORDER + STRIP / 2) < STRIP / 2
    assert smoothed[below].mean() < 0.5 * shares[1] + 0.02
    # Noise within the layer is less, which is what the average is for.
    assert smoothed[upper].std() < 0.75 * marker[upper].std()


def test_an_average_over_places_alone_would_blur_it(tissue):
    """So the test can tell: the same share, of the cells around instead of the cells alike."""
    depth, upper, graph, _ = tissue
    marker = upper.astype(np.float32)
    around = marker[graph.around].mean(axis=1)
    blurred = 0.4 * marker + 0.6 * around
    assert contrast(blurred, depth, upper) < 1 - 0.2
