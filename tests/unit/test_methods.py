"""Methods of the package: neighbors against brute force, means on the right scale, and scores on real tissue."""

import json
import pkgutil
from dataclasses import replace
from pathlib import Path

import anndata as ad
import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
from samples import package_methods, with_depth, write_sample
from spatialimpute import methods
from spatialimpute.errors import InputError
from spatialimpute.evaluation.metrics import score_genes
from spatialimpute.evaluation.truth import Truth
from spatialimpute.files.counts import Counts
from spatialimpute.files.gene_sets import GeneSets
from spatialimpute.folds import Fold
from spatialimpute.methods import base, celltype
from spatialimpute.methods.base import SpatialView
from spatialimpute.methods.celltype import CellType, label
from spatialimpute.methods.knn import KNN, Neighbors, neighbors
from spatialimpute.methods.reference_pool import ReferencePool
from spatialimpute.methods.registry import find_method
from spatialimpute.methods.total import Total
from spatialimpute.normalize import ZScore
from tissue import make_counts

DATA = Path(__file__).resolve().parents[3] / "shared" / "data"
METHODS = package_methods()
each_method = pytest.mark.parametrize("method", METHODS.values(), ids=METHODS)


@pytest.fixture
def tissue():
    """Four cell types, 20 panel and 10 other genes; reference and spatial cells drawn from the same profiles."""
    rng = np.random.default_rng(0)
    profiles = rng.gamma(0.4, 1.0, (4, 30)) + 0.02
    genes = [f"g{i}" for i in range(30)]

    def draw(n, depth):
        celltype = rng.integers(0, 4, n)
        size = rng.lognormal(np.log(depth), 0.3, n)
        return rng.poisson(profiles[celltype] * size[:, None]), celltype

    reference, celltype = draw(300, 10)
    spatial, truth = draw(200, 5)
    reference = make_counts(reference, genes, "r", celltype=[f"type{c}" for c in celltype])
    return reference, make_counts(spatial, genes, "s", truth=truth), genes


def fitted(method, references, spatial, in_use):
    """The method after it has seen the references and the spatial counts of the genes in use."""
    method.prepare(with_depth(references))
    view, known = SpatialView.of(spatial, Fold("0", (), tuple(in_use)))
    assert len(known) == len(spatial.cells)
    method.fit(view)
    return method


def predicted(method, references, spatial, in_use, targets):
    """Its prediction of the targets in every cell."""
    return fitted(method, references, spatial, in_use).predict(np.arange(len(spatial.cells)), targets)


def brute_neighbors(R, S, k):
    def unit(X):
        total = X.sum(axis=1, keepdims=True)
        log = np.log1p(X / np.maximum(total, 1) * np.median(total[total > 0]))
        sd = log[total[:, 0] > 0].std(axis=0)
        z = (log - log[total[:, 0] > 0].mean(axis=0)) / np.where(sd > 1e-5, sd, 1)
        return z / np.linalg.norm(z, axis=1, keepdims=True)

    similarity = unit(S) @ unit(R).T
    similarity[:, R.sum(axis=1) == 0] = -np.inf
    return np.argsort(-similarity, axis=1, kind="stable")[:, :k]


def test_neighbors_against_brute_force(tissue):
    reference, spatial, genes = tissue
    R, S = reference.X[:, :20].toarray(), spatial.X[:, :20].toarray()
    R[[3, 50]] = 0
    S[7] = 0
    R[:, 4] = 0
    found = neighbors(sp.csr_matrix(R), sp.csr_matrix(S), k=10)
    assert found.shape == (200, 10)
    np.testing.assert_array_equal(np.sort(found), np.sort(brute_neighbors(R, S, 10)))
    assert not np.isin(found, [3, 50]).any()


def test_fewer_reference_cells_than_neighbors(tissue):
    reference, spatial, genes = tissue
    few = reference.take(np.arange(8))
    assert neighbors(few.X, spatial.X, k=50).shape == (200, 8)
    prediction = predicted(KNN(), [few], spatial, genes[:20], genes[20:])
    np.testing.assert_allclose(prediction, np.tile(prediction[0], (200, 1)), rtol=1e-5)


def test_no_cell_has_no_neighbors(tissue):
    reference, spatial, genes = tissue
    found = Neighbors([reference.X], ZScore.fit(spatial.X), k=7).of(spatial.X[:0])
    assert found.shape == (0, 7)


@each_method
def test_predictions_by_blocks_are_the_same(tissue, method, monkeypatch):
    reference, spatial, genes = tissue
    one = fitted(method(), [reference], spatial, genes[:20])
    every = np.arange(200)
    whole = one.predict(every, genes[20:])
    monkeypatch.setattr("spatialimpute.methods.knn.CHUNK", 13)
    monkeypatch.setattr(base, "BLOCK", 37)
    parts = one.predict_blocks(every, genes[20:])
    assert whole.dtype == parts.dtype == np.float32
    assert whole.shape == (200, 10)
    assert np.isfinite(whole).all() and (whole >= 0).all()
    np.testing.assert_allclose(parts, whole, rtol=1e-6)
    some = np.array([150, 3, 77])
    np.testing.assert_allclose(one.predict(some, genes[25:27]), whole[some, 5:7], rtol=1e-6)


def test_mean_over_all_cells_is_the_frequency(tissue):
    reference, _, genes = tissue
    pool = ReferencePool(with_depth([reference]), genes[:20])
    everyone = sp.csr_matrix(np.ones((1, pool.n_cells)))
    counts = reference.X.toarray()
    expected = counts[:, 20:].sum(axis=0) / counts[:, :20].sum()
    np.testing.assert_allclose(pool.average(everyone, genes[20:])[0], expected, rtol=1e-5)
    np.testing.assert_allclose(pool.frequency(genes[20:]), expected, rtol=1e-5)


def test_frequency_scale_does_not_depend_on_reference_depth(tissue):
    reference, spatial, genes = tissue
    deep = make_counts(reference.X.toarray() * 7, genes, "r")
    means = [predicted(KNN(), [r], spatial, genes[:20], genes[20:]).mean(axis=0) for r in (reference, deep)]
    np.testing.assert_allclose(means[0], means[1], rtol=0.15)


@each_method
def test_genes_of_one_reference_only(tissue, method):
    reference, spatial, genes = tissue
    first, second = reference.take(np.arange(150)), reference.take(np.arange(150, 300))
    first = Counts(first.select(genes[:25]), np.array(genes[:25]), first.cells, first.obs)
    one = fitted(method(), [first, second], spatial, genes[:20])
    both = one.predict(np.arange(200), genes[20:])
    assert np.isfinite(both).all() and both.shape == (200, 10)
    if method is Total:
        alone = second.X.toarray()
        np.testing.assert_allclose(both[0, 5:], alone[:, 25:].sum(axis=0) / alone[:, :20].sum(), rtol=1e-5)
    with pytest.raises(InputError, match="'nowhere' is in no reference"):
        one.predict(np.arange(200), ["nowhere"])


def test_celltype_finds_the_type_and_its_profile(tissue):
    reference, spatial, genes = tissue
    method = fitted(CellType(), [reference], spatial, genes[:20])
    assert list(method.types) == ["type0", "type1", "type2", "type3"]
    assert np.mean(method.assign(spatial.select(genes[:20])) == spatial.obs["truth"]) > 0.95
    prediction = method.predict(np.arange(200), genes[20:])
    assert len(np.unique(prediction, axis=0)) == 4


def test_celltype_without_labels_clusters_the_reference(tissue):
    reference, spatial, genes = tissue
    unlabeled = make_counts(reference.X.toarray(), genes, "ref")
    clusters = label(unlabeled).obs["celltype"]
    assert label(unlabeled).obs["celltype"].equals(clusters)
    assert "celltype" not in unlabeled.obs
    # Every cluster is of one type.
    purity = pd.crosstab(clusters.to_numpy(), reference.obs["celltype"].to_numpy()).max(axis=1).sum() / 300
    assert purity > 0.95
    assert np.isfinite(predicted(CellType(), [unlabeled], spatial, genes[:20], genes[20:])).all()


def test_a_reference_is_clustered_once_a_sample(tissue, tmp_path, monkeypatch):
    """Not once a fold: clusters are the references' own, whatever is held out."""
    reference, spatial, genes = tissue
    unlabeled = make_counts(reference.X.toarray(), genes, "ref")
    seen = []
    monkeypatch.setattr(celltype, "label", lambda given: seen.append(given.info["id"]) or label(given))
    inputs = write_sample(tmp_path, [unlabeled, replace(unlabeled, info={"id": "b"})], spatial, make_panel(genes))
    (prediction,) = CellType().predict_folds(inputs, "s")
    assert len(inputs.gene_sets.folds) == 2 and seen == ["ref", "b"]
    assert np.isfinite(prediction.mean).all()


def test_cells_without_label_are_left_out_of_profiles(tissue):
    reference, spatial, genes = tissue
    reference.obs["celltype"] = reference.obs["celltype"].where(np.arange(300) % 3 > 0)
    method = fitted(CellType(), [reference], spatial, genes[:20])
    assert list(method.types) == ["type0", "type1", "type2", "type3"]


def make_panel(genes):
    return GeneSets(genes, genes, [], genes, {"0": genes[20:25], "1": genes[25:]})


def test_predict_folds_marks_cells_without_counts(tissue, tmp_path):
    reference, spatial, genes = tissue
    X = spatial.X.toarray()
    X[5, :25] = 0
    X[6] = 0
    (predictions,) = KNN().predict_folds(
        write_sample(tmp_path, [reference], make_counts(X, genes, "s"), make_panel(genes)), "s"
    )
    assert list(predictions.genes) == genes[20:]
    assert list(predictions.fold) == ["0"] * 5 + ["1"] * 5
    missing = np.isnan(predictions.mean)
    assert missing[6].all()
    assert missing[5, 5:].all() and not missing[5, :5].any() == (X[5, 25:].sum() > 0)
    assert not missing[:5].any() and not missing[7:].any()
    # A component's mean is over the cells that it knows something of.
    np.testing.assert_allclose(predictions.mean_frequency, np.nanmean(predictions.mean, axis=0), rtol=1e-5)


@each_method
def test_scored_cells_are_predicted_as_among_all(tissue, method, tmp_path):
    """Fewer cells are scored, but every cell is there to learn from."""
    reference, spatial, genes = tissue
    gene_sets = make_panel(genes)
    (every,) = method().predict_folds(write_sample(tmp_path / "all", [reference], spatial, gene_sets), "s")
    cells = [3, 50, 51, 199]
    few = write_sample(tmp_path / "few", [reference], spatial, replace(gene_sets, scored_cells=cells))
    (some,) = method().predict_folds(few, "s")
    assert some.cells.tolist() == spatial.cells[cells].tolist() and len(every.cells) == 200
    np.testing.assert_allclose(some.mean, every.mean[cells], rtol=1e-6)
    np.testing.assert_allclose(some.mean_frequency, some.mean.mean(axis=0), rtol=1e-5)


def test_no_folds_no_shared_expression(tissue, tmp_path):
    reference, spatial, genes = tissue
    with pytest.raises(InputError, match="s: the gene sets have no folds"):
        KNN().predict_folds(write_sample(tmp_path, [reference], spatial, GeneSets(genes, genes, [], genes)), "s")
    silent = reference.X.toarray()
    silent[:, :20] = 0
    with pytest.raises(InputError, match="no reference cell has a count on the 20 panel genes"):
        fitted(KNN(), [make_counts(silent, genes, "r")], spatial, genes[:20])


def test_methods_are_found_by_name():
    assert {"knn", "celltype", "total"} <= set(METHODS)
    assert METHODS["knn"] is KNN and all(method.name == name for name, method in METHODS.items())
    for name in ("base", "external", "registry", "reference_pool", "nothing"):
        with pytest.raises(KeyError, match=name):
            find_method(name)
    assert {module.name for module in pkgutil.iter_modules(methods.__path__)} >= set(METHODS)


# ---- real tissue: what a prototype of these baselines reached (raw median, partial mean) ----

PROTOTYPE = {
    "hypothalamus": (0.315, 0.233),
    "osmfish": (0.292, 0.216),
    "starmap_mpfc": (0.162, 0.105),
    "merfish_mop": (0.372, 0.320),
}


def read_raw(name):
    data = ad.read_h5ad(DATA / f"{name}.h5ad")
    if "is_duplicate" in data.obs:
        data = data[~data.obs["is_duplicate"].to_numpy()]
    obs = data.obs[["cell_type"]].set_axis(["celltype"], axis=1) if "cell_type" in data.obs else data.obs[[]]
    return Counts(sp.csr_matrix(data.X), data.var_names.to_numpy(str), data.obs_names.to_numpy(str), obs)


@pytest.mark.realdata
@pytest.mark.parametrize("pair", PROTOTYPE)
def test_scores_on_real_tissue(pair, tmp_path):
    if not DATA.exists():
        pytest.skip(f"REAL DATA ABSENT: {DATA} not found, kNN scores were not checked")
    spec = json.loads((DATA / "gene_folds.json").read_text())[pair]
    spatial, reference = read_raw(spec["spatial"]), read_raw(spec["reference"])
    shared = [gene for fold in spec["folds"] for gene in fold]
    gene_sets = GeneSets(shared, shared, [], shared, {str(i): fold for i, fold in enumerate(spec["folds"])})

    inputs = write_sample(tmp_path, [reference], spatial, gene_sets)
    truth = Truth(inputs)

    def scores(method):
        (predictions,) = method.predict_folds(inputs, pair)
        tables = []
        for fold in truth.folds:
            known = truth.of(fold)
            mean = predictions.mean[np.ix_(known.known, predictions.fold == fold)]
            tables.append(score_genes(known.counts, mean, known.total))
        return pd.concat(tables)

    knn, total = scores(KNN()), scores(Total())
    raw, partial = PROTOTYPE[pair]
    assert knn["spearman"].median() == pytest.approx(raw, abs=0.003)
    assert knn["spearman_partial"].mean() == pytest.approx(partial, abs=0.003)
    assert total["spearman_partial"].abs().max() == 0
    assert scores(CellType())["spearman_partial"].mean() > 0.05
