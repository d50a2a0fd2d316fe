"""The simulated tissue: what its files hold, and that its truth is the truth."""

import anndata as ad
import numpy as np
import pandas as pd
import pytest
from spatialimpute.evaluation.metrics import moran_i, pearson, spearman_partial
from spatialimpute.simulation import samples as simulation
from spatialimpute.simulation.tissue import MAX_ZERO_INFLATION, N_BLANKS, Tissue


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tissue")
    write(folder)
    return folder


def write(folder, n_spatial=1500, seed=0):
    tissue = Tissue(n_genes=300, n_panel=60, seed=seed)
    simulation.write_reference(folder / "reference.h5ad", tissue, 1200)
    simulation.write_spatial(folder / "spatial.h5ad", folder / "truth.h5ad", tissue, n_spatial, n_truth=1000)


def read(folder):
    return [ad.read_h5ad(folder / f"{name}.h5ad") for name in ("spatial", "reference", "truth")]


def test_files_hold_raw_counts_and_places(folder):
    spatial, reference, truth = read(folder)
    assert spatial.shape == (1500, 60 + N_BLANKS)
    assert reference.shape == (1200, 300)
    assert truth.shape == (1000, 300)
    for data in (spatial, reference):
        assert data.X.dtype == np.float32
        assert (data.X.data > 0).all() and (data.X.data % 1 == 0).all()
        assert data.obs_names.is_unique and data.var_names.is_unique
        assert data.obs["celltype"].notna().all()
    assert spatial.obsm["spatial"].shape == (1500, 2)
    assert "spatial" not in reference.obsm
    assert sum(name.startswith("Blank-") for name in spatial.var_names) == N_BLANKS
    assert list(spatial.var_names[:60]) == list(truth.var_names[truth.var["in_panel"]])
    assert list(truth.obs_names) == list(spatial.obs_names[:1000])
    assert list(truth.obs["celltype"]) == list(spatial.obs["celltype"][:1000])


def test_last_cells_repeat_the_first(folder):
    spatial, _, _ = read(folder)
    n = int(np.ceil(simulation.DUPLICATE_SHARE * 1500))
    assert (spatial.X[:n] != spatial.X[-n:]).nnz == 0
    np.testing.assert_array_equal(spatial.obsm["spatial"][:n], spatial.obsm["spatial"][-n:])
    rows = pd.DataFrame(np.hstack([spatial.obsm["spatial"], spatial.X.toarray()]))
    assert rows.duplicated().sum() == n


def test_same_seed_same_tissue(folder, tmp_path):
    write(tmp_path)
    for first, again in zip(read(folder), read(tmp_path), strict=True):
        same = first.X != again.X
        assert (same.nnz if hasattr(same, "nnz") else same.sum()) == 0
        pd.testing.assert_frame_equal(first.obs, again.obs)
    write(tmp_path, seed=1)
    assert (read(folder)[1].X != read(tmp_path)[1].X).nnz > 0


def test_chunks_do_not_change_what_comes_before(folder, tmp_path, monkeypatch):
    monkeypatch.setattr(simulation, "CHUNK", 400)
    for n, name in ((800, "short"), (1300, "long")):
        (tmp_path / name).mkdir()
        write(tmp_path / name, n_spatial=n)
    short, long = (read(tmp_path / name) for name in ("short", "long"))
    assert long[0].shape[0] == 1300
    # The last, incomplete chunk of distinct cells is drawn at its own size; all before are alike.
    assert (short[0].X[:400] != long[0].X[:400]).nnz == 0
    np.testing.assert_array_equal(short[2].X[:400], long[2].X[:400])


def test_truth_is_relative_to_the_panel_and_explains_the_counts(folder):
    spatial, _, truth = read(folder)
    panel = truth[:, truth.var["in_panel"]].X
    np.testing.assert_allclose(panel.sum(axis=1), 1, rtol=1e-5)
    counts = spatial.X[:1000, :60].toarray()
    total = counts.sum(axis=1, keepdims=True)
    # Counts are unbiased around total x truth, gene by gene (where there are enough to tell), and follow it.
    ratio = counts.mean(axis=0) / (panel * total).mean(axis=0)
    assert np.abs(ratio[counts.mean(axis=0) > 0.3] - 1).max() < 0.25
    assert np.median(pearson(counts, panel * total)) > 0.5
    assert np.median(spearman_partial(counts, panel, total.ravel())) > 0.25


def test_layers_types_and_fields_are_spatial(folder):
    spatial, _, truth = read(folder)
    coords = spatial.obsm["spatial"][:1000]
    exclusive = truth.obs["celltype"] == "L4 IT"
    assert moran_i(np.column_stack([exclusive, truth.obs["activity"]]), coords).min() > 0.1
    depth = truth.obs.groupby("celltype", observed=True)["depth"].mean()
    assert depth["L2/3 IT"] < depth["L4 IT"] < depth["L5 IT"] < depth["L6 CT"]


def test_gradients_run_within_types(folder):
    _, _, truth = read(folder)
    log = np.log(truth.X[truth.obs["celltype"] == "L2/3 IT"])
    depth = truth.obs["depth"][truth.obs["celltype"] == "L2/3 IT"].to_numpy()
    correlation = pearson(log, np.tile(depth[:, None], log.shape[1]))
    assert (np.abs(correlation) > 0.5).sum() > 10


def test_sides_differ_in_composition_and_capture(folder):
    spatial, reference, truth = read(folder)
    shares = [data.obs["celltype"].value_counts(normalize=True) for data in (spatial, reference)]
    assert shares[1]["Astrocyte"] < 0.6 * shares[0]["Astrocyte"]
    assert shares[0]["L6b"] < 0.03
    genes = spatial.var_names[:60]
    ratio = np.log(np.asarray(spatial[:, genes].X.mean(axis=0)) / np.asarray(reference[:, genes].X.mean(axis=0)))
    assert ratio.std() > 0.3
    assert truth.var["zero_inflation"].between(0, MAX_ZERO_INFLATION).all()


def test_samplesheet(tmp_path):
    simulation.write_samplesheet(tmp_path / "samplesheet.csv", 2)
    sheet = pd.read_csv(tmp_path / "samplesheet.csv")
    assert list(sheet["spatial"]) == ["spatial.h5ad", "spatial_2.h5ad"]
    assert set(sheet["reference"]) == {"reference.h5ad"}
    assert sheet["sample"].is_unique
