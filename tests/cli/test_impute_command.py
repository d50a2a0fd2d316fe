"""The imputation step as a command: the imputed file, the latent codes, reproducibility, one-line errors."""

import json

import anndata as ad
import numpy as np
import pandas as pd
import pytest
from spatialimpute.evaluation.reliability import GENE_COLUMNS
from spatialimpute.files.counts import read_counts
from spatialimpute.files.gene_sets import read_gene_sets, write_gene_sets
from spatialimpute.files.sealed import digest, read_json, write_json

FLAGS = ["--models", "models", "--evaluation", "evaluation.json", "--genes", "genes.tsv", "--n-samples", 6]


@pytest.fixture(scope="module")
def imputed(final, step, inputs):
    result = step(final, "impute", *inputs, *FLAGS, "--params-json", '{"seed": 0}')
    assert result.code == 0, result.stderr
    return final


def test_imputed_file(imputed):
    gene_sets, counts = read_gene_sets(imputed / "gene_sets.json"), read_counts(imputed / "spatial.h5ad")
    data = ad.read_h5ad(imputed / "imputed.h5ad")
    assert data.obs_names.tolist() == counts.cells.tolist()
    assert data.var_names.tolist() == gene_sets.targets
    assert data.X.dtype == np.float32 and set(data.layers) == {"sd", "lower", "upper"}
    total = np.asarray(counts.select(gene_sets.shared).sum(1)).ravel()
    np.testing.assert_array_equal(data.obs["panel_total"], total)
    assert (total > 0).all()
    # X / panel_total is the frequency relative to the panel: those of panel genes sum to one, or nearly,
    # since members are averaged each on its own mean frequency per gene.
    frequency = data[:, gene_sets.shared].X / total[:, None]
    np.testing.assert_allclose(frequency.sum(1).mean(), 1, atol=0.02)
    assert (data.layers["lower"] <= data.layers["upper"]).all() and (data.layers["sd"] > 0).all()
    inside = (data.layers["lower"] <= data.X) & (data.X <= data.layers["upper"])
    assert inside.mean() > 0.95
    assert data.obs["supported"].dtype == bool and data.obs["supported"].mean() > 0.5
    assert data.obs["celltype"].tolist() == counts.obs["celltype"].tolist()
    np.testing.assert_array_equal(data.obsm["spatial"], counts.coords)
    assert data.obsm["X_gimvi"].shape == (140, 4)
    assert not list(imputed.glob("*.partial"))


def test_its_gene_table_and_facts(imputed):
    data = ad.read_h5ad(imputed / "imputed.h5ad")
    genes = pd.read_csv(imputed / "genes.tsv", sep="\t", dtype={"fold": str})
    assert list(data.var) == GENE_COLUMNS[1:]
    for column in ("verdict", "reason"):
        assert data.var[column].tolist() == genes[column].tolist()
    assert data.var["fold"].tolist() == genes["fold"].fillna("").tolist()
    assert set(data.var["fold"]) == {"0", "1", "2", ""}
    np.testing.assert_allclose(data.var["spearman_partial"], genes["spearman_partial"])
    about = data.uns["spatialimpute"]
    evaluation = json.loads((imputed / "evaluation.json").read_text())
    assert about["schema_version"] == "1" and about["sample"] == "s1" and about["params"] == '{"seed": 0}'
    assert about["kappa"] == evaluation["kappa"] and about["knn_weight"] == evaluation["knn_weight"]
    assert about["n_samples"] == 18 and about["interval"] == 0.9
    assert about["spatial_digest"] == digest(imputed / "spatial.h5ad")
    assert list(about["reference_digests"]) == [digest(imputed / "reference.h5ad")]


def test_latent_file(imputed):
    data = ad.read_h5ad(imputed / "latent.h5ad")
    assert data.shape == (270, 0) and data.obsm["X_gimvi"].shape == (270, 4)
    assert data.obs["side"].value_counts().to_dict() == {"spatial": 140, "reference": 130}
    assert data.obs["dataset"].tolist() == ["spatial"] * 140 + ["reference"] * 130
    assert data.obs["celltype"].isin(read_counts(imputed / "reference.h5ad").obs["celltype"]).mean() > 0.9
    spatial = ad.read_h5ad(imputed / "imputed.h5ad").obsm["X_gimvi"]
    np.testing.assert_array_equal(data.obsm["X_gimvi"][:140], spatial)


def test_same_bytes_again(imputed, copy_of, step, inputs):
    folder = copy_of(imputed)
    for name in ("imputed.h5ad", "latent.h5ad"):
        (folder / name).unlink()
    assert step(folder, "impute", *inputs, *FLAGS, "--params-json", '{"seed": 0}').code == 0
    for name in ("imputed.h5ad", "latent.h5ad"):
        assert (folder / name).read_bytes() == (imputed / name).read_bytes()
    assert step(folder, "impute", *inputs, *FLAGS, "--seed", 1).code == 0
    other = ad.read_h5ad(folder / "imputed.h5ad").X
    assert not np.array_equal(other, ad.read_h5ad(imputed / "imputed.h5ad").X)


def test_samples_interval_and_share_of_neighbors(imputed, copy_of, step, inputs):
    folder = copy_of(imputed)
    results = {}
    for weight, interval, n in ((0.0, 0.9, 20), (0.0, 0.5, 20), (0.5, 0.9, 20), (0.0, 0.9, 2)):
        write_json(folder / "evaluation.json", read_json(imputed / "evaluation.json") | {"knn_weight": weight})
        flags = [*FLAGS, "--interval", interval, "--n-samples", n]
        assert step(folder, "impute", *inputs, *flags).code == 0
        data = ad.read_h5ad(folder / "imputed.h5ad")
        assert data.uns["spatialimpute"]["n_samples"] == 3 * n
        results[weight, interval, n] = data
    plain, narrow, mixed = (results[key] for key in ((0.0, 0.9, 20), (0.0, 0.5, 20), (0.5, 0.9, 20)))
    np.testing.assert_array_equal(plain.X, narrow.X)
    assert (plain.layers["lower"] <= narrow.layers["lower"]).all()
    assert (plain.layers["upper"] >= narrow.layers["upper"]).all()
    np.testing.assert_allclose(mixed.layers["sd"], 0.5 * plain.layers["sd"], rtol=1e-3, atol=1e-5)
    assert np.abs(mixed.X - plain.X).max() > 0.1
    scale = mixed.obs["panel_total"].to_numpy()[:, None]
    np.testing.assert_allclose((mixed.X / scale).mean(0), (plain.X / scale).mean(0), rtol=0.15)


def test_without_crossvalidation(prepared, copy_of, step, inputs, quick):
    folder = copy_of(prepared)
    (folder / "nofolds.json").rename(folder / "gene_sets.json")
    assert step(folder, "train", *inputs, "--stage", "final", "--seeds", 1, *quick).code == 0
    assert step(folder, "impute", *inputs, "--models", "models", "--n-samples", 2).code == 0
    genes = pd.read_csv(folder / "genes.tsv", sep="\t")
    assert list(genes.columns) == GENE_COLUMNS and (genes["verdict"] == "not assessed").all()
    data = ad.read_h5ad(folder / "imputed.h5ad")
    assert data.shape == (140, 60) and (data.var["verdict"] == "not assessed").all()
    assert data.uns["spatialimpute"]["knn_weight"] == 0.0
    assert (data.var["fold"] == "").all() and data.var["spearman"].isna().all()


def test_errors_are_one_line(final, copy_of, step, inputs, monkeypatch):
    folder = copy_of(final)
    for name in ("imputed.h5ad", "latent.h5ad"):
        (folder / name).unlink(missing_ok=True)

    def error(*flags):
        result = step(folder, "impute", *inputs, *FLAGS, *flags)
        assert result.code == 65, result.stderr
        assert result.stderr.startswith("ERROR: ") and len(result.stderr.splitlines()) == 1
        assert not list(folder.glob("imputed.h5ad*"))
        return result.stderr

    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    assert "no CUDA device is visible" in error("--accelerator", "gpu")
    genes = (folder / "genes.tsv").read_text().splitlines()
    (folder / "genes.tsv").write_text("\n".join([genes[0], *genes[:0:-1]]) + "\n")
    evaluation = read_json(folder / "evaluation.json")
    write_json(folder / "evaluation.json", evaluation | {"genes_digest": digest(folder / "genes.tsv")})
    assert "genes.tsv: its genes are not the panel's targets" in error()
    models = read_json(folder / "models" / "models.json")
    write_json(folder / "models" / "models.json", models | {"schema_version": "0"})
    assert "expected models of schema version 1, found 0" in error()
    write_json(folder / "models" / "models.json", models)
    gene_sets = read_gene_sets(folder / "gene_sets.json")
    gene_sets.genes = gene_sets.genes[::-1]
    write_gene_sets(folder / "gene_sets.json", gene_sets)
    assert "trained on other genes" in error()
    for flags in (["--n-samples", 1], ["--interval", 1], ["--interval", 0]):
        assert step(folder, "impute", *inputs, *FLAGS, *flags).code == 2
