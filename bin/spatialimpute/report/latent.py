"""The latent space of both sides as a UMAP."""

import random
from dataclasses import dataclass
from pathlib import Path

import matplotlib

matplotlib.use("Agg")

import anndata as ad
import h5py
import matplotlib.patheffects as effects
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd

from spatialimpute.report.content import BLUE, GREEN, ORANGE, PURPLE, SKY, VERMILLION

#: Cells in the picture; more show no more, and UMAP's time grows with them.
MAX_CELLS = 4_000
NEIGHBORS = 15
EPOCHS = 200
#: Smallest distance of points, as in scanpy; and how far from the middle the layout begins, as in umap-learn.
MIN_DISTANCE, START_RADIUS = 0.5, 10
#: Colors of cell types: tab20 without its grays. Rarer types than there are colors for are gray.
TYPE_COLORS = [matplotlib.colormaps["tab20"](i) for i in range(20) if i not in (14, 15)]
BACKGROUND = "#c8c8c8"


@dataclass
class LatentMap:
    """UMAP coordinates (n, 2) and the labels of the cells in it; `celltype` is empty text where unknown."""

    xy: np.ndarray
    dataset: np.ndarray
    celltype: np.ndarray


def balanced_subset(dataset: np.ndarray, n: int) -> np.ndarray:
    """Indices of at most `n` cells, equally many of each dataset as far as they have them; in file order."""
    rng = np.random.default_rng(0)
    groups = sorted((np.flatnonzero(dataset == name) for name in np.unique(dataset)), key=len)
    chosen, left = [], n
    for i, group in enumerate(groups):
        share = min(len(group), left // (len(groups) - i))
        chosen.append(rng.choice(group, share, replace=False))
        left -= share
    return np.sort(np.concatenate(chosen))


def latent_map(path: str | Path) -> LatentMap:
    """UMAP (McInnes et al. 2018, arXiv:1802.03426) of a balanced subset of the cells of `latent.h5ad`.

    Cells without counts on the panel have no latent code, and no place.
    """
    with h5py.File(path, "r") as file:
        obs, latent = ad.io.read_elem(file["obs"]), file["obsm/X_gimvi"][:]
    known = np.flatnonzero(np.isfinite(latent).all(axis=1))
    rows = known[balanced_subset(obs["dataset"].astype(str).to_numpy()[known], MAX_CELLS)]
    obs = obs.iloc[rows]
    celltype = np.full(len(rows), "")
    if "celltype" in obs:
        celltype = obs["celltype"].astype(object).fillna("").astype(str).to_numpy()
    return LatentMap(umap(latent[rows]), obs["dataset"].astype(str).to_numpy(), celltype)


def umap(latent: np.ndarray) -> np.ndarray:
    """UMAP coordinates (n, 2) of points (n, d), by igraph: nothing is compiled, which takes umap-learn 15 seconds.

    Begins with the first two principal components, so that what lies far apart is placed apart.
    """
    import igraph
    from sklearn.neighbors import NearestNeighbors

    neighbors = min(NEIGHBORS, len(latent) - 1)
    distance, index = NearestNeighbors(n_neighbors=neighbors).fit(latent).kneighbors()
    edges = np.column_stack([np.repeat(np.arange(len(latent)), neighbors), index.ravel()])
    left, length, _ = np.linalg.svd(latent - latent.mean(axis=0), full_matrices=False)
    start = np.zeros((len(latent), 2))
    start[:, : len(length)] = (left * length)[:, :2]
    start *= START_RADIUS / (np.abs(start).max() or 1.0)
    igraph.set_random_number_generator(random.Random(0))
    graph = igraph.Graph(n=len(latent), edges=edges, directed=True)
    layout = graph.layout_umap(
        dist=distance.ravel().tolist(), min_dist=MIN_DISTANCE, epochs=EPOCHS, seed=start.tolist()
    )
    return np.array(layout.coords)


def draw_latent(latent: LatentMap, spatial_name: str, path: Path) -> None:
    """Draw the map twice: colored by dataset and, where there are labels, by cell type.

    Parameters
    ----------
    spatial_name : value of `dataset` of the spatial cells, to be drawn in front
    path : PNG file to write
    """
    labeled = latent.celltype != ""
    figure, axes = plt.subplots(
        1, 2 if labeled.any() else 1, figsize=(13.5 if labeled.any() else 6.5, 5.4), squeeze=False,
        layout="constrained",
    )  # fmt: skip
    size = np.clip(12_000 / len(latent.xy), 3, 20)
    names = sorted(set(latent.dataset), key=lambda name: (name != spatial_name, name))
    order = np.random.default_rng(0).permutation(len(latent.xy))  # so that no dataset hides another
    palette = dict(zip(names, color_cycle(len(names)), strict=True))
    colors = np.array([palette[name] for name in latent.dataset])
    axes[0, 0].scatter(*latent.xy[order].T, c=colors[order], s=size, linewidths=0, rasterized=True)
    legend(axes[0, 0], [(f"{shorten(name, 24)} ({(latent.dataset == name).sum():,})", palette[name]) for name in names])
    axes[0, 0].set_title("by dataset", fontsize=13, loc="left")
    if labeled.any():
        draw_celltypes(axes[0, 1], latent, labeled, size)
    for axis in axes.flat:
        axis.set(xticks=[], yticks=[], xlabel="UMAP 1", ylabel="UMAP 2")
        axis.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, dpi=100)
    plt.close(figure)


def draw_celltypes(axis, latent: LatentMap, labeled: np.ndarray, size: float) -> None:
    """Color by cell type; numbers on the clusters say which is which where colors are hard to tell apart."""
    types = pd.Series(latent.celltype[labeled]).value_counts().index[: len(TYPE_COLORS)]
    axis.scatter(*latent.xy.T, c=BACKGROUND, s=size, linewidths=0, rasterized=True)
    entries = []
    for i, name in enumerate(types):
        color = TYPE_COLORS[i]
        here = latent.xy[latent.celltype == name]
        axis.scatter(*here.T, color=color, s=size, linewidths=0, rasterized=True)
        entries.append((f"{i + 1}  {name}", color))
    for i, name in enumerate(types):
        here = latent.xy[latent.celltype == name]
        middle = np.abs(here - np.median(here, axis=0)).sum(axis=1).argmin()
        text = axis.text(*here[middle], str(i + 1), ha="center", va="center", fontsize=9, weight="bold")
        text.set_path_effects([effects.withStroke(linewidth=2.5, foreground="white")])
    gray = (~labeled).sum() + (labeled & ~np.isin(latent.celltype, types)).sum()
    if gray:
        entries.append((f"no label or rarer ({gray:,})", BACKGROUND))
    legend(axis, entries)
    axis.set_title("by cell type", fontsize=13, loc="left")


def color_cycle(n: int) -> list:
    """`n` colors: Okabe and Ito's as far as they go, the spatial dataset's first."""
    base = [VERMILLION, SKY, BLUE, GREEN, ORANGE, PURPLE]
    return [base[i % len(base)] for i in range(n)]


def shorten(name: str, length: int) -> str:
    """At most `length` characters of a name."""
    return name if len(name) <= length else name[: length - 1] + "…"


def legend(axis, entries: list[tuple[str, object]]) -> None:
    """A legend beside the axes."""
    handles = [plt.Line2D([], [], marker="o", linestyle="", color=color, markersize=7) for _, color in entries]
    names = [shorten(name, 34) for name, _ in entries]
    axis.legend(
        handles, names, loc="upper left", bbox_to_anchor=(1.0, 1.0), frameon=False, fontsize=9,
        handletextpad=0.2, labelspacing=0.35,
    )  # fmt: skip
