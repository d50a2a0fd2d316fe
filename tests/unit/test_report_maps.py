"""Maps: binning, smoothing, scale bars, and 10⁶ cells."""

import time

import numpy as np
import pytest
from spatialimpute.report import maps


@pytest.mark.parametrize(
    ("extent", "length"), [(100, 20), (40, 10), (80.1, 20), (3_999, 500), (4_000, 1_000), (0.9, 0.2)]
)
def test_scale_bar_is_round_and_at_most_a_quarter(extent, length):
    assert maps.scale_bar_length(extent) == pytest.approx(length)


def test_bin_means_against_a_loop():
    rng = np.random.default_rng(0)
    coords = rng.uniform(0, [10, 5], (300, 2))
    values = rng.poisson(2.0, (300, 2)).astype(float)
    values[rng.random((300, 2)) < 0.1] = np.nan
    images, (left, right, bottom, top) = maps.bin_means(coords, values, pixels=8)
    size = (right - left) / images.shape[2]
    for k in range(2):
        for row in range(images.shape[1]):
            for column in range(images.shape[2]):
                x, y = ((coords - [left, bottom]) / size).astype(int).T
                inside = values[(x == column) & (y == row) & np.isfinite(values[:, k]), k]
                if len(inside):
                    assert images[k, row, column] == pytest.approx(inside.mean())
                else:
                    assert np.isnan(images[k, row, column])
    assert top - bottom == pytest.approx(size * images.shape[1])


def test_local_means_leave_out_the_unknown():
    coords = np.arange(20.0)[:, None] * [1.0, 0.0]
    values = np.ones((20, 1))
    values[3] = np.nan
    assert np.allclose(maps.local_means(coords, values), 1.0)


def test_batches_side_by_side_are_all_drawn_and_stacked_ones_are_not():
    rng = np.random.default_rng(0)
    batch = np.repeat(["a", "b"], [60, 40])
    coords = rng.uniform(0, 1, (100, 2))
    rows, note = maps.shown_cells(coords, batch)
    assert set(batch[rows]) == {"a"} and "only the largest, a (60 cells)" in note
    coords[batch == "b", 0] += 2
    rows, note = maps.shown_cells(coords, batch)
    assert len(rows) == 100 and note == ""


def test_color_scale_ends_at_the_99th_percentile_and_never_at_zero():
    values = np.r_[np.zeros(900), np.full(100, 5.0)]
    assert maps.upper_limit(values[:500], values[500:]) == pytest.approx(np.percentile(values, 99))
    assert maps.upper_limit(np.zeros(5)) == 1.0
    assert maps.upper_limit(np.array([np.nan])) == 1.0
    assert maps.upper_limit(np.r_[np.zeros(999), 3.0]) == 3.0


def test_a_million_cells_are_binned_in_seconds():
    rng = np.random.default_rng(0)
    coords = rng.uniform(0, 1, (1_000_000, 2))
    start = time.perf_counter()
    images, _ = maps.bin_means(coords, rng.random((1_000_000, 3)))
    assert time.perf_counter() - start < 10
    assert images.size <= 3 * (maps.PIXELS + 1) ** 2


def test_predictions_are_scaled_to_the_measured_mean_of_the_cells_they_know():
    measured = np.array([[1.0, 4.0, 2.0], [3.0, 4.0, 2.0], [9.0, 4.0, 2.0]])
    predicted = np.array([[0.5, 0.0, 2.0], [0.5, 0.0, 2.0], [np.nan, 0.0, 2.0]])
    assert maps.scale_to_measured(measured, predicted) == pytest.approx([4.0, 1.0, 1.0])
