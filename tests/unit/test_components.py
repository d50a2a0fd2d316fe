"""Methods that may take a share: what they learned is a few arrays, from which they are what they were when fitted."""

import numpy as np
import pytest
import scipy.sparse as sp
from samples import package_methods, with_depth
from spatialimpute.ensemble import Blend, Recipe
from spatialimpute.files.blend import read_blend, write_blend
from spatialimpute.folds import fold_of
from spatialimpute.methods import base
from spatialimpute.methods.base import Component, SpatialView
from spatialimpute.methods.knn import neighbors
from spatialimpute.methods.linear import RIDGE, Linear
from tissue import draw, make_counts

COMPONENTS = {name: method for name, method in package_methods().items() if issubclass(method, Component)}
each_component = pytest.mark.parametrize("name", COMPONENTS)


@pytest.fixture(scope="module")
def tissue():
    """Two references that differ in their genes, spatial cells, and the gene sets."""
    references, spatial, gene_sets = draw(n_cells=(150, 110, 90), depths=(60, 40))
    return with_depth(references), spatial, gene_sets


def view_of(tissue, fold="1"):
    _, spatial, gene_sets = tissue
    return SpatialView.of(spatial, fold_of(gene_sets, fold))[0]


def prepared(name, references):
    method = COMPONENTS[name]()
    method.prepare(references)
    return method


# ---- every component ----


@each_component
def test_restored_from_a_file_it_is_as_fitted(name, tissue, tmp_path):
    references, _, gene_sets = tissue
    view, genes = view_of(tissue), [*gene_sets.folds["1"], *gene_sets.genes[15:]]
    fitted, again = prepared(name, references), prepared(name, references)
    fitted.fit(view)
    expected = fitted.predict(np.arange(view.counts.shape[0]), genes)
    learned = prepared(name, references).learn(view)
    assert all(isinstance(array, np.ndarray) for array in learned.values()) and learned
    recipe = Recipe({name: 0.2})
    write_blend(tmp_path, Blend(np.ones((1, 2), np.float32), recipe, {name: np.ones(2, np.float32)}), ["a", "b"], {
        name: learned
    })  # fmt: skip
    _, read = read_blend(tmp_path, ["a", "b"])
    for key, array in learned.items():
        assert read[name][key].tobytes() == array.tobytes() and read[name][key].shape == array.shape
    again.restore(read[name], view.genes)
    found = again.estimate(view.counts, genes)
    assert found.dtype == np.float32 and found.tobytes() == expected.tobytes()
    assert (found >= 0).all() and np.isfinite(found).all() and found.std(axis=0).max() > 0


@each_component
def test_what_it_learns_is_few_numbers(name, tissue):
    """None per spatial cell, since they are stored with the models, whatever the sample's size."""
    references, _, _ = tissue
    view = view_of(tissue)
    more = SpatialView(sp.vstack([view.counts] * 5, format="csr"), view.genes, None, np.tile(view.batch, 5))
    sizes = [{key: array.shape for key, array in prepared(name, references).learn(one).items()} for one in (view, more)]
    assert sizes[0] == sizes[1]


@each_component
def test_its_mean_frequency_is_that_of_its_predictions(name, tissue, monkeypatch):
    references, _, gene_sets = tissue
    view, genes = view_of(tissue, None), gene_sets.targets
    method = prepared(name, references)
    method.fit(view)
    cells = np.arange(0, view.counts.shape[0], 2)
    expected = method.predict(cells, genes).mean(axis=0, dtype=np.float64)
    monkeypatch.setattr(base, "BLOCK", 17)
    found = method.mean_frequency(view.counts[cells], genes)
    assert found.dtype == np.float64
    np.testing.assert_allclose(found, expected, rtol=1e-5)


@each_component
def test_an_estimate_is_the_same_whoever_is_with_the_cell(name, tissue):
    references, _, gene_sets = tissue
    view = view_of(tissue)
    method = prepared(name, references)
    method.fit(view)
    whole = method.estimate(view.counts, gene_sets.targets)
    np.testing.assert_allclose(method.estimate(view.counts[[40]], gene_sets.targets), whole[[40]], rtol=1e-5)
    some = [gene_sets.targets[i] for i in (20, 3)]
    np.testing.assert_allclose(method.estimate(view.counts, some), whole[:, [20, 3]], rtol=1e-5)


# ---- linear regression ----


def log_scaled(X, total, depth):
    return np.log1p(X / total[:, None] * depth)


def z_score(X, weight):
    mean = weight @ X / weight.sum()
    sd = np.sqrt(weight @ (X - mean) ** 2 / weight.sum())
    return (X - mean) / np.where(sd > 1e-5, sd, 1)


def usage(panel, query):
    use = np.bincount(neighbors(sp.csr_matrix(panel), query).ravel(), minlength=len(panel))
    return 0.5 + 0.5 * np.minimum(use / use.mean(), 10)


def dense_ridge(references, view, gene):
    """Frequencies of one gene, by least squares on the stacked cells and, for the penalty, one row per panel gene."""
    A = view.counts.toarray().astype(float)
    depth = np.median(A.sum(axis=1))
    A = z_score(log_scaled(A, A.sum(axis=1), depth), np.ones(len(A)))
    panels = [reference.select(view.genes).toarray().astype(float) for reference in references]
    kept = [panel.sum(axis=1) > 0 for panel in panels]
    common = np.median(np.concatenate([r.obs["depth"].to_numpy()[k] for r, k in zip(references, kept, strict=True)]))
    rows, targets, weights, counts, totals = [], [], [], 0.0, 0.0
    for reference, panel, some in zip(references, panels, kept, strict=True):
        if gene not in reference.genes:
            continue
        panel, expression = panel[some], reference.select([gene]).toarray().astype(float)[some]
        weight = usage(panel, view.counts)
        rows.append(z_score(log_scaled(panel, panel.sum(axis=1), depth), weight))
        targets.append(z_score(log_scaled(expression, reference.obs["depth"].to_numpy()[some], common), weight))
        weights.append(weight)
        counts, totals = counts + expression.sum(), totals + panel.sum()
    weight = np.sqrt(np.concatenate(weights) / np.concatenate(weights).sum())[:, None]
    n = A.shape[1]
    left = np.vstack([weight * np.concatenate(rows), np.sqrt(RIDGE) * np.eye(n)])
    right = np.vstack([weight * np.concatenate(targets), np.zeros((n, 1))])
    predicted = A @ np.linalg.lstsq(left, right, rcond=None)[0][:, 0]
    return counts / totals * np.exp(0.5 * predicted / predicted.std() - 0.125)


@pytest.mark.parametrize("n_references", [1, 2])
@pytest.mark.parametrize("block", [8192, 13])
def test_linear_regression_against_dense_least_squares(n_references, block, tissue, monkeypatch):
    """Genes of both references, of the one alone and of the other alone; held out, and never measured."""
    monkeypatch.setattr("spatialimpute.methods.linear.BLOCK_CELLS", block)
    references, _, gene_sets = tissue
    references = with_depth(references[:n_references])
    X = references[0].X.tolil()
    X[[4, 77]] = 0  # cells that tell nothing
    references[0].X = X.tocsr()
    view = view_of(tissue)
    genes = [gene for gene in gene_sets.genes if any(gene in reference.genes for reference in references)]
    assert len(genes) == 22 + n_references
    method = prepared("linear", references)
    method.fit(view)
    found = method.predict(np.arange(view.counts.shape[0]), genes)
    for j, gene in enumerate(genes):
        np.testing.assert_allclose(found[:, j], dense_ridge(references, view, gene), rtol=1e-4, err_msg=gene)


def test_linear_regression_is_on_the_frequency_scale(tissue):
    """Over the spatial cells, log frequencies have sd ½ about that of the reference, less ⅛."""
    references, _, gene_sets = tissue
    view = view_of(tissue, None)
    method = prepared("linear", references)
    method.fit(view)
    genes = gene_sets.targets
    found = np.log(method.estimate(view.counts, genes).astype(float))
    np.testing.assert_allclose(found.std(axis=0), 0.5, rtol=1e-3)
    panel = [reference.select(gene_sets.shared).sum() for reference in references]
    for j, gene in enumerate(genes):
        has = [i for i, reference in enumerate(references) if gene in reference.genes]
        frequency = sum(references[i].select([gene]).sum() for i in has) / sum(panel[i] for i in has)
        assert found[:, j].mean() == pytest.approx(np.log(frequency) - 0.125, abs=1e-3)


def test_linear_regression_of_a_gene_that_is_constant(tissue):
    """Everywhere 0, or everywhere the same: the same in every cell, and finite."""
    (reference, _), spatial, gene_sets = tissue
    X = np.column_stack([reference.X.toarray(), np.zeros(150), np.full(150, 3)])
    X[:, list(reference.genes).index("g2")] = 0  # also one of those to learn from
    genes = [*reference.genes, "never", "always"]
    constant = make_counts(X, genes, "r", celltype=["a"] * 150, depth=np.full(150, 100.0))
    view = view_of(tissue)
    method = Linear()
    method.prepare([constant])
    method.fit(view)
    found = method.predict(np.arange(view.counts.shape[0]), ["never", "always", "g1"])
    assert np.isfinite(found).all() and not found[:, 0].any()
    assert (found[:, 1] == found[0, 1]).all() and found[0, 1] > 0
    assert len(np.unique(found[:, 2])) > 50
