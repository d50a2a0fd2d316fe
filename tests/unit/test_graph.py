"""The graph of cells against brute force: neighbors in expression, cells around, averages, ranges, and its file."""

from dataclasses import replace

import h5py
import numpy as np
import pytest
import scipy.sparse as sp
from scipy.spatial.distance import cdist
from spatialimpute import graph as graphs
from spatialimpute.errors import DamagedError, InputError
from spatialimpute.files.graph import read_graph, write_graph
from spatialimpute.files.sealed import seal
from spatialimpute.graph import AROUND_WEIGHT, N_AROUND, CellGraph, cell_graph, cells_around
from spatialimpute.methods.base import SpatialView

N, SILENT = 230, (3, 100, 229)


def make_view(seed=0, n_genes=8, n_only=2, places=2, sections=3, n=N) -> tuple[SpatialView, np.ndarray]:
    """Cells of several programs, but for those that have no counts; the last section is of one cell."""
    rng = np.random.default_rng(seed)
    rates = rng.dirichlet(np.full(4, 0.5), n) @ rng.gamma(1, 30, (4, n_genes + n_only))
    counts = sp.csr_matrix(rng.poisson(rates), dtype=np.float32)
    section = np.array([f"s{i}" for i in rng.integers(0, sections, n)])
    section[11] = "alone"
    known = np.setdiff1d(np.arange(n), SILENT)
    coords = rng.random((n, places))[known] if places else None
    only = counts[known][:, n_genes:] if n_only else None
    genes = tuple(f"g{i}" for i in range(n_genes))
    return SpatialView(counts[known][:, :n_genes], genes, coords, section[known], only), known


def brute_around(view) -> list[list[int]]:
    """For each cell of the view, the other cells of its section, nearest first, no more than N_AROUND."""
    distance = cdist(view.coords, view.coords)
    found = []
    for i in range(len(distance)):
        others = [j for j in np.flatnonzero(view.batch == view.batch[i]) if j != i]
        found.append(sorted(others, key=lambda j: distance[i, j])[:N_AROUND])
    return found


def brute_features(view, anchors) -> np.ndarray:
    """z-scored log panel, beside AROUND_WEIGHT times the z-scored mean of it over the cells around."""
    X = np.hstack([part.toarray() for part in (view.counts, view.panel_only) if part is not None]).astype(float)
    total = X.sum(axis=1, keepdims=True)
    log = np.log1p(X / total * np.median(total))
    own = (log - log.mean(axis=0)) / log.std(axis=0)
    if view.coords is None:
        return own
    around = np.array([log[near].mean(axis=0) if near else np.zeros(log.shape[1]) for near in brute_around(view)])
    around = (around - around[anchors].mean(axis=0)) / around[anchors].std(axis=0)
    return np.hstack([own, AROUND_WEIGHT * around])


# ---- neighbors ----


@pytest.mark.parametrize("places", [0, 2, 3])
@pytest.mark.parametrize("n_only", [0, 2])
def test_neighbors_against_brute_force(places, n_only):
    """As many principal components as features are a rotation: nearest are the nearest in the features."""
    view, known = make_view(places=places, n_only=n_only)
    scored = np.arange(0, N, 2)
    found = cell_graph(view, known, N, scored)
    assert found.anchors.tolist() == [cell for cell in scored if cell in known]
    anchors = np.flatnonzero(np.isin(known, found.anchors))
    features = brute_features(view, anchors)
    distance = cdist(features, features[anchors])
    k = len(known) // 20
    assert found.neighbors.shape == (N, k) and found.neighbors.dtype == np.int32
    expected = np.sort(np.argsort(distance, axis=1)[:, :k], axis=1)
    np.testing.assert_array_equal(np.sort(found.neighbors[known], axis=1), expected)
    assert (found.neighbors[list(SILENT)] == -1).all()
    assert (found.around is None) == (places == 0)


def test_of_many_features_the_first_components_count():
    view, known = make_view(n_genes=60, n_only=0)
    found = cell_graph(view, known, N, np.arange(N))
    anchors = np.arange(len(known))
    features = brute_features(view, anchors)
    left, length, _ = np.linalg.svd(features - features.mean(axis=0), full_matrices=False)
    projected = left[:, :20] * length[:20]
    expected = np.argsort(cdist(projected, projected), axis=1)[:, : found.neighbors.shape[1]]
    same = [len(set(a) & set(b)) / len(b) for a, b in zip(found.neighbors[known], expected, strict=True)]
    assert np.mean(same) > 0.97


@pytest.mark.parametrize("n, k", [(30, 1), (210, 10), (700, 20)])
def test_number_of_neighbors(n, k):
    view, known = make_view(n=max(n, N))
    some = replace(view, counts=view.counts[:n], coords=view.coords[:n], batch=view.batch[:n], panel_only=None)
    found = cell_graph(some, known[:n], max(n, N), np.arange(max(n, N)))
    assert found.neighbors.shape[1] == k


def test_anchors_are_some_of_the_scored_cells(monkeypatch):
    """Evenly spaced where there are more of them than ANCHORS; none without counts."""
    view, known = make_view()
    monkeypatch.setattr(graphs, "ANCHORS", 40)
    for scored in (np.arange(N), np.arange(50, N)):
        found = cell_graph(view, known, N, scored)
        there = [cell for cell in scored if cell in known]
        assert len(found.anchors) == 40 and set(found.anchors) <= set(there)
        assert found.anchors[0] == there[0] and found.anchors[-1] == there[-1]
        steps = np.diff(np.searchsorted(there, found.anchors))
        assert steps.max() - steps.min() <= 1
        assert found.neighbors[known].min() == 0 and found.neighbors.max() == 39
    few = cell_graph(view, known, N, np.array([3, 7, 20, 200]))
    assert few.anchors.tolist() == [7, 20, 200] and few.neighbors.shape[1] == 3


@pytest.mark.parametrize("places", [0, 2])
def test_wanted_rows_are_those_of_the_whole(places, monkeypatch):
    monkeypatch.setattr(graphs, "BLOCK_CELLS", 37)
    view, known = make_view(places=places)
    scored, wanted = np.arange(0, N, 3), np.array([0, 3, 9, 11, 120, 228])
    whole, some = cell_graph(view, known, N, scored), cell_graph(view, known, N, scored, wanted)
    np.testing.assert_array_equal(some.anchors, whole.anchors)
    np.testing.assert_array_equal(some.neighbors[wanted], whole.neighbors[wanted])
    for shares in ((0.4, 0.1), (0.6, 0.0)):
        ours, theirs = some.average(wanted, *shares), whole.average(wanted, *shares)
        assert (ours != theirs).nnz == 0 and ours.nnz > 0
    assert (some.neighbors >= 0).sum() < (whole.neighbors >= 0).sum()


def test_blocks_of_cells_change_nothing(monkeypatch):
    view, known = make_view()
    whole = cell_graph(view, known, N, np.arange(N))
    monkeypatch.setattr(graphs, "BLOCK_CELLS", 17)
    parts = cell_graph(view, known, N, np.arange(N))
    np.testing.assert_array_equal(np.sort(parts.neighbors), np.sort(whole.neighbors))
    np.testing.assert_array_equal(parts.around, whole.around)


# ---- cells around ----


@pytest.mark.parametrize("places", [2, 3])
def test_cells_around_against_brute_force(places):
    view, known = make_view(places=places)
    found = cells_around(view.coords, view.batch)
    assert found.shape == (len(known), N_AROUND) and found.dtype == np.int32
    for i, expected in enumerate(brute_around(view)):
        assert found[i, : len(expected)].tolist() == expected and (found[i, len(expected) :] == -1).all()
    alone = int(np.flatnonzero(known == 11)[0])
    assert (found[alone] == -1).all() and not (found == alone).any()
    # The same of all the sample's cells, of which some have no counts.
    everywhere = cell_graph(view, known, N, np.arange(N)).around
    assert (everywhere[list(SILENT)] == -1).all() and not np.isin(everywhere, SILENT).any()
    np.testing.assert_array_equal(everywhere[known], np.where(found < 0, -1, known[found]))


@pytest.mark.parametrize("n", [1, 2, 5, 21, 60])
def test_cells_at_one_place(n):
    """Each has others around it and never itself, however many lie there; one apart has them all the same."""
    coords = np.concatenate([np.zeros((n, 2)), [[9.0, 9.0]]])
    found = cells_around(coords, np.full(n + 1, "s"))
    for i, row in enumerate(found):
        there = row[row >= 0].tolist()
        assert len(there) == min(N_AROUND, n) == len(set(there)) and i not in there
        assert (row[len(there) :] == -1).all()
    if n > N_AROUND:
        assert n not in found[:n]


def test_sections_are_apart_though_they_lie_in_one_place():
    rng = np.random.default_rng(0)
    coords = np.tile(rng.random((30, 2)), (2, 1))
    found = cells_around(coords, np.repeat(["a", "b"], 30))
    assert (found[:30] < 30).all() and (found[30:] >= 30).all()
    np.testing.assert_array_equal(found[:30] + 30, found[30:])


# ---- averages ----


@pytest.mark.parametrize("places", [0, 2])
@pytest.mark.parametrize("alpha, beta", [(0.4, 0.1), (0.6, 0.0), (0.0, 0.2), (0.8, 0.2)])
def test_averages_against_loops(places, alpha, beta):
    view, known = make_view(places=places)
    found = cell_graph(view, known, N, np.arange(0, N, 2))
    rows = np.array([228, 0, 3, 11, 100, 57])
    average = found.average(rows, alpha, beta)
    assert average.shape == (6, len(found.anchors)) and average.dtype == np.float32
    np.testing.assert_allclose(average.sum(axis=1)[[0, 1, 3, 5]], alpha + beta, rtol=1e-6)
    assert average[2].nnz == average[4].nnz == 0  # cells without counts
    values = np.random.default_rng(0).random((len(found.anchors), 3))

    def near(cell):
        return values[found.neighbors[cell]].mean(axis=0)

    smoothed = average @ values
    for i in (0, 1, 3, 5):
        own = near(rows[i])
        around = [cell for cell in found.around[rows[i]] if cell >= 0] if places else []
        wide = np.mean([near(cell) for cell in around], axis=0) if around else own  # alone: its own neighbors stand in
        np.testing.assert_allclose(smoothed[i], alpha * own + beta * wide, rtol=1e-5)
    whole = found.average(np.arange(N), alpha, beta)
    np.testing.assert_allclose((whole[rows] - average).toarray(), 0, atol=1e-7)


def test_neighbors_are_alike():
    """Of four types that differ, a cell's neighbors are of its own."""
    rng = np.random.default_rng(0)
    types = rng.integers(0, 4, 300)
    counts = sp.csr_matrix(rng.poisson(rng.gamma(0.5, 20, (4, 12))[types] + 1), dtype=np.float32)
    view = SpatialView(counts, tuple(map(str, range(12))), rng.random((300, 2)), np.full(300, ""))
    found = cell_graph(view, np.arange(300), 300, np.arange(300))
    assert (types[found.anchors][found.neighbors] == types[:, None]).mean() > 0.95


# ---- its file ----


@pytest.mark.parametrize("places", [0, 2])
def test_a_graph_is_read_as_written(places, tmp_path):
    view, known = make_view(places=places)
    graph = cell_graph(view, known, N, np.arange(N))
    write_graph(tmp_path / "graph.h5", graph)
    found = read_graph(tmp_path / "graph.h5")
    for name in ("anchors", "neighbors", "around"):
        ours, theirs = getattr(found, name), getattr(graph, name)
        if theirs is None:
            assert ours is None
            continue
        assert ours.dtype == theirs.dtype
        np.testing.assert_array_equal(ours, theirs)
    write_graph(tmp_path / "again.h5", found)
    assert (tmp_path / "again.h5").read_bytes() == (tmp_path / "graph.h5").read_bytes()


def test_as_many_anchors_as_there_may_be(tmp_path):
    """Their numbers are stored in 16 bits, of which one value says that there is none."""
    neighbors = np.array([[0, graphs.ANCHORS - 1], [-1, -1]], dtype=np.int32)
    write_graph(tmp_path / "graph.h5", CellGraph(np.arange(graphs.ANCHORS), neighbors, None))
    np.testing.assert_array_equal(read_graph(tmp_path / "graph.h5").neighbors, neighbors)


def test_damage_and_other_versions_are_refused(tmp_path):
    view, known = make_view()
    path = tmp_path / "graph.h5"
    write_graph(path, cell_graph(view, known, N, np.arange(N)))
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    with pytest.raises(DamagedError, match="graph.h5: damaged"):
        read_graph(path)
    write_graph(path, cell_graph(view, known, N, np.arange(N)))
    with h5py.File(path, "a") as file:
        file.attrs["schema_version"] = "0"
    seal(path)
    with pytest.raises(InputError, match="expected a graph of schema version 1, found 0; train again"):
        read_graph(path)
