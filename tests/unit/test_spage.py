"""SpaGE against its published recipe: scikit-learn's PCA, a dense SVD, a loop over cells."""

import numpy as np
import pytest
from scipy.stats import zscore
from sklearn.decomposition import PCA
from sklearn.metrics.pairwise import cosine_distances
from spatialimpute.files.inputs import DEPTH
from spatialimpute.folds import fold_of
from spatialimpute.methods.base import SpatialView
from spatialimpute.methods.registry import find_method
from spatialimpute.methods.spage import MIN_SIMILARITY, K, neighbor_weights
from tissue import draw


@pytest.fixture(scope="module")
def fitted():
    references, spatial, gene_sets = draw(n_cells=(200, 120))
    for reference in references:
        reference.obs[DEPTH] = np.asarray(reference.X.sum(axis=1)).ravel()
    view, known = SpatialView.of(spatial, fold_of(gene_sets, "0"))
    method = find_method("spage")()
    method.prepare(references)
    method.fit(view)
    return method, references[0], view, gene_sets


def z(counts):
    total = counts.sum(axis=1, keepdims=True)
    return zscore(np.log1p(counts / total * np.median(total)))


def test_prediction_is_the_published_recipe(fitted):
    method, reference, view, gene_sets = fitted
    genes = gene_sets.folds["0"]
    in_use = reference.select(view.genes).toarray()
    kept = in_use.sum(axis=1) > 0
    sides = [z(in_use[kept].astype(float)), z(view.counts.toarray().astype(float))]
    n = int(0.9 * len(view.genes))
    u, similarity, _ = np.linalg.svd(PCA(n).fit(sides[0]).components_ @ PCA(n).fit(sides[1]).components_.T)
    vectors = PCA(n).fit(sides[0]).components_.T @ u[:, similarity > MIN_SIMILARITY]
    distances = cosine_distances(sides[1] @ vectors, sides[0] @ vectors)
    depth = reference.obs[DEPTH].to_numpy()[kept][:, None]
    logs = np.log1p(reference.select(genes).toarray()[kept] / depth * np.median(depth))
    expected = []
    for row in distances:
        nearest = np.argsort(row)[:K]
        weight = np.where(row[nearest] < 1, 1 - row[nearest] / row[nearest][row[nearest] < 1].sum(), 0)
        expected.append(weight / weight.sum() @ logs[nearest])
    predicted = method.predict(np.arange(view.counts.shape[0]), genes)
    # One factor per gene brings it to the frequency scale.
    ratio = predicted / np.array(expected)
    np.testing.assert_allclose(ratio, np.broadcast_to(np.median(ratio, axis=0), ratio.shape), rtol=1e-3)


def test_a_neighbor_at_a_right_angle_has_no_say():
    weights = neighbor_weights(np.array([[0.1, 0.3, 1.2], [1.0, 1.5, 1.1]]))
    np.testing.assert_allclose(weights[0], [0.75, 0.25, 0])
    assert (weights[1] == 0).all()
