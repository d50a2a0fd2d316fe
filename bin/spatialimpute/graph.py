"""A graph over a sample's spatial cells, along which estimates are averaged.

Every cell has neighbors among the *anchors*, at most ANCHORS of the scored cells: those nearest to it in the principal
components of its panel and of the panel around it. With v the estimate, e its mean over a cell's neighbors, and s the
mean of e over the cells around it in its section, the smoothed estimate is

    (1 - α - β) v + α e + β s.

Since averages run over anchors alone, a range of a sample's cells can be imputed without the rest of it.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import scipy.sparse as sp

from spatialimpute.folds import blocks
from spatialimpute.methods.base import SpatialView
from spatialimpute.normalize import ZScore, log_normalize

#: Cells that estimates are averaged over, at most.
ANCHORS = 16_384
#: Neighbors of a cell in expression and, in its section, in space.
N_NEIGHBORS, N_AROUND = 20, 20
#: Of few cells, no more than this share of them are neighbors of one.
MAX_SHARE = 1 / 20
N_COMPONENTS = 20
#: Weight of the panel around a cell beside its own.
AROUND_WEIGHT = 0.5
#: Cells whose features are dense at once.
BLOCK_CELLS = 8192


@dataclass(frozen=True)
class CellGraph:
    """Neighbors of all cells of a sample.

    Attributes
    ----------
    anchors : (A,), indices of the anchors among all cells
    neighbors : (n_cells, k) int32, the nearest anchors, as indices into `anchors`; -1 where a cell has no counts
    around : (n_cells, j) int32, the nearest cells of the section, -1 where it has fewer; None without places. Cells
        without counts have no row and are in none
    """

    anchors: np.ndarray
    neighbors: np.ndarray
    around: np.ndarray | None

    def average(self, rows: np.ndarray, alpha: float, beta: float) -> sp.csr_matrix:
        """α E + β S E of some cells: what their anchors' estimates are multiplied by, (len(rows), A) float32.

        Rows sum to α + β; those of cells without counts are empty.
        """
        own = self._mean_over(self.neighbors[rows])
        if self.around is None or beta == 0:
            return (alpha + beta) * own
        around = self.around[rows]
        cells, hop = _mean_over_named(around)
        # A cell alone in its section has nobody around it: its own neighbors stand in.
        alone = sp.diags((hop.getnnz(axis=1) == 0).astype(np.float32))
        smooth = hop @ self._mean_over(self.neighbors[cells]) + alone @ own
        return (alpha * own + beta * smooth).tocsr()

    def _mean_over(self, neighbors: np.ndarray) -> sp.csr_matrix:
        return _mean_matrix(neighbors, len(self.anchors))


def _mean_matrix(columns: np.ndarray, n: int) -> sp.csr_matrix:
    """Rows that average over `columns` (m, k), -1 being none: csr_matrix (m, n) float32."""
    there = columns >= 0
    count = there.sum(axis=1)
    weight = np.repeat(1 / np.maximum(count, 1), count).astype(np.float32)
    return sp.csr_matrix((weight, columns[there], np.concatenate([[0], np.cumsum(count)])), shape=(len(columns), n))


def _mean_over_named(columns: np.ndarray) -> tuple[np.ndarray, sp.csr_matrix]:
    """The cells that are in `columns` (m, k), ascending, -1 being none, and the matrix whose rows average over them."""
    cells, where = np.unique(columns, return_inverse=True)
    return cells, _mean_matrix(np.where(columns < 0, -1, where.reshape(columns.shape)), len(cells))


def cell_graph(
    view: SpatialView, known: np.ndarray, n_cells: int, scored: np.ndarray, wanted: np.ndarray | None = None
) -> CellGraph:
    """The graph of the cells of one fold's view.

    Parameters
    ----------
    view, known : as :meth:`SpatialView.of` gives them
    n_cells : number of all the sample's cells
    scored : the scored cells, ascending
    wanted : cells whose averages will be asked for; default: all
    """
    counts = view.counts if view.panel_only is None else sp.hstack([view.counts, view.panel_only], format="csr")
    candidates = np.flatnonzero(np.isin(known, scored))
    anchors = candidates[np.unique(np.linspace(0, len(candidates) - 1, ANCHORS).astype(int))]
    around = None if view.coords is None else cells_around(view.coords, view.batch)
    project = components(counts, around, anchors)

    from sklearn.neighbors import NearestNeighbors

    k = max(1, min(N_NEIGHBORS, int(MAX_SHARE * len(known)), len(anchors)))
    search = NearestNeighbors(n_neighbors=k, algorithm="brute").fit(project(anchors))
    needed = np.arange(len(known))
    if wanted is not None:
        needed = np.flatnonzero(np.isin(known, wanted))
        if around is not None:
            needed = np.union1d(needed, around[needed][around[needed] >= 0])
    neighbors = np.full((n_cells, k), -1, dtype=np.int32)
    for block in blocks(len(needed), BLOCK_CELLS):
        neighbors[known[needed[block]]] = search.kneighbors(project(needed[block]), return_distance=False)
    everywhere = None
    if around is not None:
        everywhere = np.full((n_cells, around.shape[1]), -1, dtype=np.int32)
        everywhere[known] = np.where(around < 0, -1, known[around])
    return CellGraph(known[anchors], neighbors, everywhere)


def cells_around(coords: np.ndarray, section: np.ndarray) -> np.ndarray:
    """The N_AROUND nearest other cells of the same section, (n, N_AROUND) int32, -1 where there are fewer."""
    from scipy.spatial import cKDTree

    out = np.full((len(coords), N_AROUND), -1, dtype=np.int32)
    names, code = np.unique(section, return_inverse=True)
    for i in range(len(names)):
        cells = np.flatnonzero(code == i)
        k = min(N_AROUND, len(cells) - 1)
        if k < 1:
            continue
        nearest = cKDTree(coords[cells]).query(coords[cells], k=k + 1)[1]
        # Of cells that lie at one place, the first is not always the cell itself.
        own = nearest == np.arange(len(cells))[:, None]
        own[~own.any(axis=1), -1] = True
        out[cells, :k] = cells[nearest[~own].reshape(len(cells), k)]
    return out


def components(
    counts: sp.csr_matrix, around: np.ndarray | None, anchors: np.ndarray
) -> Callable[[np.ndarray], np.ndarray]:
    """The principal components of cells' features, learned on the anchors: a function from cells to (n, d) float32.

    Features are the z-scored log depth-normalized panel and AROUND_WEIGHT times the z-scored mean of it over the cells
    around; without places the former alone.
    """
    from sklearn.decomposition import PCA

    scale = ZScore.fit(counts)

    def mean_around(cells: np.ndarray) -> np.ndarray:
        near, hop = _mean_over_named(around[cells])
        return (hop @ log_normalize(counts[near], scale.depth)).toarray()

    if around is not None:
        of_anchors = np.concatenate([mean_around(anchors[block]) for block in blocks(len(anchors), BLOCK_CELLS)])
        mean, sd = of_anchors.mean(axis=0), np.maximum(of_anchors.std(axis=0), 1e-5)

    def features(cells: np.ndarray) -> np.ndarray:
        own = scale.transform(counts[cells])
        if around is None:
            return own.astype(np.float32)
        return np.hstack([own, AROUND_WEIGHT * (mean_around(cells) - mean) / sd]).astype(np.float32)

    of_anchors = features(anchors)
    d = min(N_COMPONENTS, *of_anchors.shape)
    pca = PCA(d, svd_solver="randomized" if d < min(of_anchors.shape) else "full", random_state=0).fit(of_anchors)
    return lambda cells: pca.transform(features(cells)).astype(np.float32)
