"""Spatial maps of held-out genes: measured | cross-validated prediction | its sd."""

from pathlib import Path

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.colors import Normalize
from matplotlib.ticker import MaxNLocator
from scipy.spatial import cKDTree

from spatialimpute.files.counts import Counts
from spatialimpute.folds import cell_totals, fold_of
from spatialimpute.report.inputs import Sample, read_columns

#: Above this number of cells a map shows means over pixels; below, each cell as a dot.
MAX_DOTS = 50_000
#: Cells (itself included) that a dot's value is averaged over, in every column alike.
NEIGHBORS = 10
#: Pixels along the longer side of a binned map.
PIXELS = 400
#: Inches of the longer side of one map, and the most of its shorter side.
PANEL_WIDTH, PANEL_HEIGHT = 4.0, 3.3

#: What the scale bar calls the units that QC finds.
UNITS = {"um": "µm", "px": "px"}


def scale_bar_length(extent: float) -> float:
    """The longest of 1, 2, 5 × 10^k that is at most a quarter of the extent."""
    target = extent / 4
    power = 10.0 ** np.floor(np.log10(target))
    return max(step for step in (power, 2 * power, 5 * power) if step <= target)


def shown_cells(coords: np.ndarray, batch: np.ndarray | None) -> tuple[np.ndarray, str]:
    """Which cells to draw: all, or the largest batch where batches lie on top of each other.

    Parameters
    ----------
    coords : shape (N, 2)
    batch : N labels, or None

    Returns
    -------
    rows : indices
    note : sentence for the caption, empty where all cells are drawn
    """
    everything = np.arange(len(coords))
    if batch is None:
        return everything, ""
    labels, inverse, size = np.unique(np.asarray(batch, str), return_inverse=True, return_counts=True)
    boxes = sum(np.prod(np.ptp(coords[inverse == i], axis=0)) for i in range(len(labels)))
    if boxes <= 1.5 * np.prod(np.ptp(coords, axis=0)):
        return everything, ""
    largest = size.argmax()
    note = (
        f"The {len(labels)} batches lie on top of each other; "
        f"only the largest, {labels[largest]} ({size[largest]:,} cells), is drawn."
    )
    return np.flatnonzero(inverse == largest), note


def local_means(coords: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Mean of each cell and its nearest cells; NaN is left out. Shapes (N, 2), (N, K) -> (N, K)."""
    nearest = cKDTree(coords).query(coords, k=min(NEIGHBORS, len(coords)))[1].reshape(len(coords), -1)
    known = np.isfinite(values)
    total = np.where(known, values, 0.0)[nearest].sum(axis=1)
    with np.errstate(invalid="ignore"):
        return total / known[nearest].sum(axis=1)


def bin_means(coords: np.ndarray, values: np.ndarray, pixels: int = PIXELS) -> tuple[np.ndarray, tuple]:
    """Mean over the cells of each pixel.

    Parameters
    ----------
    coords : shape (N, 2)
    values : shape (N, K); NaN is left out
    pixels : along the longer side

    Returns
    -------
    images : shape (K, rows, columns), first row at the smallest y; NaN where no cell lies
    extent : (left, right, bottom, top), as imshow wants it
    """
    low = coords.min(axis=0)
    pixel = np.ptp(coords, axis=0).max() / pixels or 1.0
    column, row = ((coords - low) / pixel).astype(np.int64).T
    shape = (row.max() + 1, column.max() + 1)
    place = row * shape[1] + column
    images = np.full((values.shape[1], shape[0] * shape[1]), np.nan)
    for k, value in enumerate(values.T):
        known = np.isfinite(value)
        count = np.bincount(place[known], minlength=images.shape[1])
        total = np.bincount(place[known], weights=value[known], minlength=images.shape[1])
        images[k, count > 0] = total[count > 0] / count[count > 0]
    extent = (low[0], low[0] + shape[1] * pixel, low[1], low[1] + shape[0] * pixel)
    return images.reshape(-1, *shape), extent


def upper_limit(*values: np.ndarray) -> float:
    """The 99th percentile of all values together, or their maximum where that is 0: the end of a color scale."""
    known = np.concatenate([value[np.isfinite(value)] for value in values])
    if known.size == 0:
        return 1.0
    return float(np.percentile(known, 99)) or float(known.max()) or 1.0


def expected_counts(
    sample: Sample, spatial: Counts, genes: list[str]
) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
    """Measured counts, predicted counts and their sd of held-out genes, each of shape (n_scored, len(genes)).

    A prediction is a frequency of the panel genes in use; its product with their total is the expected count.
    `spatial` holds the counts of the scored cells.
    """
    mean, sd = read_columns(sample.predictions, genes)
    measured = spatial.select(genes).toarray()
    held_out_in = {gene: fold for fold, members in sample.gene_sets.folds.items() for gene in members}
    totals = {
        fold: cell_totals(spatial.select(fold_of(sample.gene_sets, fold).in_use))
        for fold in {held_out_in[gene] for gene in genes}
    }
    total = np.column_stack([totals[held_out_in[gene]] for gene in genes])
    return measured, mean * total, None if sd is None else sd * total


def scale_to_measured(measured: np.ndarray, predicted: np.ndarray) -> np.ndarray:
    """Factor per gene that gives the prediction the measured mean over the cells it knows; 1 where it is 0.

    Assays catch genes with efficiencies of their own, and ranks do not care; without the factor, one of two maps
    on a shared color scale would often be all dark. Shapes (N, K), (N, K) -> (K,).
    """
    known = np.isfinite(predicted)
    target = np.where(known, measured, 0.0).sum(axis=0)
    found = np.where(known, predicted, 0.0).sum(axis=0)
    return np.divide(target, found, out=np.ones_like(target), where=found > 0)


def draw_maps(sample: Sample, genes: list[str], labels: list[str], path: Path) -> str:
    """Draw a row of maps per gene: measured, predicted and, where known, the prediction's sd.

    Parameters
    ----------
    genes : held-out genes, one row each
    labels : what to say of each gene's prediction
    path : PNG file to write

    Returns
    -------
    note : plain sentences for the caption, on what is drawn and how
    """
    scored = sample.gene_sets.scored_cells
    spatial = sample.inputs.spatial(None if scored is None else np.array(scored))
    measured, predicted, sd = expected_counts(sample, spatial, genes)
    factor = scale_to_measured(measured, predicted)
    columns = [measured, predicted * factor] + ([] if sd is None else [sd * factor])
    batch = spatial.obs["batch"].to_numpy() if "batch" in spatial.obs else None
    rows, note = shown_cells(spatial.coords[:, :2], batch)
    if len(spatial.cells) < sample.inputs.n_cells:
        note += f" Of {sample.inputs.n_cells:,} cells, the {len(spatial.cells):,} that cross-validation scored."
    coords = spatial.coords[rows, :2]
    if np.ptp(coords[:, 1]) > 1.3 * np.ptp(coords[:, 0]):
        coords = np.column_stack([coords[:, 1], -coords[:, 0]])
        note += " The tissue is turned by 90° to the right."
    values = np.concatenate([column[rows] for column in columns], axis=1)
    if len(coords) > MAX_DOTS:
        images, extent = bin_means(coords, values)
        note += " Each pixel is the mean of its cells, in every column alike."
    else:
        images, extent = local_means(coords, values).T, None
        note += f" Each dot is the mean of a cell and its {NEIGHBORS - 1} nearest cells, in every column alike."
    images = images.reshape(len(columns), len(genes), *images.shape[1:])
    titles = [
        [f"{gene}: measured", f"predicted × {times:.2g} ({label})", "standard deviation"]
        for gene, times, label in zip(genes, factor, labels, strict=True)
    ]
    unit = UNITS.get(spatial.info.get("coordinate_unit", "unknown"), "(unit unknown)")
    draw_grid(images, coords, extent, titles, unit, path)
    return note.strip()


def draw_grid(
    images: np.ndarray, coords: np.ndarray, extent: tuple | None, titles: list[list[str]], unit: str, path: Path
) -> None:
    """Draw a grid of maps, a row per gene, the first two of a row on one color scale.

    Parameters
    ----------
    images : shape (columns, genes, N) for dots, or (columns, genes, rows of pixels, columns of pixels)
    coords : shape (N, 2)
    extent : of the pixel images, None for dots
    titles : per gene, one per column (or more)
    unit : of the coordinates
    path : PNG file to write
    """
    n_columns, n_genes = images.shape[:2]
    width, height = np.ptp(coords, axis=0)
    panel_height = min(PANEL_HEIGHT, max(1.1, PANEL_WIDTH * height / (width or 1.0)))
    size = np.clip(0.4 * (PANEL_WIDTH * 72) * (panel_height * 72) / len(coords), 0.3, 50)
    figure, axes = plt.subplots(
        n_genes, n_columns, squeeze=False, layout="constrained",
        figsize=((PANEL_WIDTH + 0.65) * n_columns, (panel_height + 0.55) * n_genes + 0.3),
    )  # fmt: skip
    figure.get_layout_engine().set(h_pad=0.1)
    for i in range(n_genes):
        shared = Normalize(0, upper_limit(*images[:2, i]))
        for j in range(n_columns):
            axis = axes[i, j]
            style = {
                "norm": shared if j < 2 else Normalize(0, upper_limit(images[j, i])),
                "cmap": "viridis" if j < 2 else "magma",
            }
            if extent is None:
                drawn = axis.scatter(*coords.T, c=images[j, i], s=size, linewidths=0, rasterized=True, **style)
            else:
                drawn = axis.imshow(images[j, i], extent=extent, origin="lower", interpolation="nearest", **style)
            axis.set(aspect="equal", xticks=[], yticks=[])
            axis.set_title(titles[i][j], fontsize=13, loc="left")
            axis.spines[:].set_visible(False)
            bar = figure.colorbar(drawn, ax=axis, fraction=0.04, pad=0.015, extend="max")
            bar.ax.tick_params(labelsize=11)
            bar.locator = MaxNLocator(4)
            bar.update_ticks()
        add_scale_bar(axes[i, 0], coords[:, 0].min(), width or 1.0, unit)
    figure.supxlabel("color: counts per cell, up to the 99th percentile", fontsize=12, color="#555555")
    figure.savefig(path, dpi=110)
    plt.close(figure)


def add_scale_bar(axis, left: float, extent: float, unit: str) -> None:
    """Add a bar of a round length, with its unit, below the map's left end."""
    length = scale_bar_length(extent)
    where = {"transform": axis.get_xaxis_transform(), "clip_on": False}
    axis.plot([left, left + length], [-0.02, -0.02], color="black", linewidth=3, solid_capstyle="butt", **where)
    axis.text(left, -0.05, f"{length:,g} {unit}", fontsize=11, va="top", **where)
