"""The imputation step and the gathering of its parts as commands: files, facts, bytes, one-line errors."""

import shutil

import anndata as ad
import numpy as np
import pandas as pd
import pytest
import torch
from impute_sample import N_CELLS, N_REFERENCE, UNKNOWN, their_cells, their_genes, write_final
from spatialimpute.evaluation.gene_table import COLUMNS
from spatialimpute.files.inputs import SampleInputs
from spatialimpute.files.sealed import digest, read_json, sealed_digest, write_json

INPUTS = ["--sample", "s1", "--inputs", "inputs"]
FLAGS = [*INPUTS, "--models", "models", "--evaluation", "evaluation.json", "--genes", "genes.tsv", "--n-samples", 4]
TEN_SHARDS = [f"{start}:{start + 1024}" for start in range(0, N_CELLS, 1024)]


@pytest.fixture(scope="module")
def sample(tmp_path_factory):
    torch.set_num_threads(1)
    folder = tmp_path_factory.mktemp("sample")
    write_final(folder)
    return folder


@pytest.fixture(scope="module")
def imputed(sample, step):
    result = step(sample, "impute", *FLAGS, "--threads", 2, "--params-json", '{"seed": 0}')
    assert result.code == 0, result.stderr
    return sample


def test_imputed_file(imputed):
    inputs = SampleInputs(imputed / "inputs")
    counts, shared = inputs.spatial(), inputs.gene_sets.shared
    data = ad.read_h5ad(imputed / "imputed.h5ad")
    assert data.obs_names.tolist() == counts.cells.tolist()
    assert data.var_names.tolist() == inputs.gene_sets.targets
    assert data.X.dtype == np.float32 and set(data.layers) == {"sd", "lower", "upper"}
    total = np.asarray(counts.X.sum(1)).ravel()
    np.testing.assert_array_equal(data.obs["panel_total"], total)
    known = total > 0
    assert not known[UNKNOWN] and known.mean() > 0.99
    for values in (data.X, *data.layers.values(), data.obsm["X_gimvi"]):
        assert np.isnan(values[~known]).all() and np.isfinite(values[known]).all()
    assert not data.obs["supported"][~known].any() and data.obs["supported"].mean() > 0.5
    # X / panel_total is the frequency relative to the panel: those of panel genes sum to one, or nearly,
    # since members are averaged each on its own mean frequency per gene.
    frequency = data[known, shared].X / total[known, None]
    np.testing.assert_allclose(frequency.sum(1).mean(), 1, atol=0.02)
    lower, upper, mean = (data.layers["lower"][known], data.layers["upper"][known], data.X[known])
    assert (lower <= upper).all() and (data.layers["sd"][known] > 0).all()
    assert ((lower <= mean) & (mean <= upper)).mean() > 0.95
    assert data.obs["celltype"].tolist() == counts.obs["celltype"].tolist()
    carried, certain = data.obs["transferred_celltype"], data.obs["transferred_celltype_probability"]
    assert ((carried == "unassigned") == ~data.obs["supported"]).all()
    assert (certain.isna() == ~data.obs["supported"]).all() and certain.dropna().between(0, 1).all()
    assert set(carried) <= {*inputs.references()[0].obs["celltype"], "unassigned"}
    np.testing.assert_array_equal(data.obsm["spatial"], counts.coords)
    assert not list(imputed.glob("*.partial"))


def test_its_gene_table_and_facts(imputed):
    data = ad.read_h5ad(imputed / "imputed.h5ad")
    genes = pd.read_csv(imputed / "genes.tsv", sep="\t", dtype={"fold": str})
    assert list(data.var) == [*COLUMNS[1:], *their_genes()]
    for column in ("verdict", "reason"):
        assert data.var[column].tolist() == genes[column].tolist()
    assert set(data.var["fold"]) == {"1", ""}
    np.testing.assert_allclose(data.var["spearman_partial"], genes["spearman_partial"])
    about = data.uns["spatialimpute"]
    assert about["schema_version"] == "2" and about["sample"] == "s1" and about["params"] == '{"seed": 0}'
    assert about["kappa"] == 0 and about["recipe"] == {"weights": {"knn": 0.25}, "alpha": 0.4, "beta": 0.1}
    assert about["n_samples"] == 12 and about["interval"] == 0.9
    assert about["spatial_digest"] == sealed_digest(imputed / "inputs" / "spatial.h5ad")
    assert list(about["reference_digests"]) == [sealed_digest(imputed / "inputs" / "reference1.h5ad")]
    assert about["genes_digest"] == digest(imputed / "genes.tsv")


@pytest.mark.parametrize("format", ["h5ad", "zarr"])
def test_their_columns_arrive_as_they_were(imputed, tmp_path, step, format):
    folder = shutil.copytree(imputed, tmp_path / "s")
    if format == "zarr":
        result = step(folder, "impute", *FLAGS, "--imputed-format", "zarr")
        assert result.code == 0, result.stderr
    data = ad.read_zarr(folder / "imputed.zarr") if format == "zarr" else ad.read_h5ad(folder / "imputed.h5ad")
    cells = pd.DataFrame(their_cells(), index=data.obs_names)
    pd.testing.assert_frame_equal(data.obs[list(cells)], cells, check_names=False)
    genes = their_genes().set_axis([f"Gene{i + 1:04d}" for i in range(40)]).loc[data.var_names]
    pd.testing.assert_frame_equal(data.var[list(genes)], genes, check_names=False)


def test_latent_file(imputed):
    data = ad.read_h5ad(imputed / "latent.h5ad")
    assert data.shape == (N_CELLS + N_REFERENCE, 0) and data.obsm["X_gimvi"].shape == (N_CELLS + N_REFERENCE, 4)
    assert data.obs["side"].tolist() == ["spatial"] * N_CELLS + ["reference"] * N_REFERENCE
    assert data.obs["dataset"].tolist() == data.obs["side"].tolist()
    spatial = ad.read_h5ad(imputed / "imputed.h5ad").obsm["X_gimvi"]
    np.testing.assert_array_equal(data.obsm["X_gimvi"][:N_CELLS], spatial)


def test_ten_shards_give_the_bytes_of_one_task(imputed, tmp_path, step):
    folder = shutil.copytree(imputed, tmp_path / "s")
    for name in ("imputed.h5ad", "latent.h5ad"):
        (folder / name).unlink()
    (folder / "parts").mkdir()
    assert len(TEN_SHARDS) == 10
    for rows in TEN_SHARDS[::-1]:
        result = step(folder, "impute", *FLAGS, "--params-json", '{"seed": 0}', "--rows", rows)
        assert result.code == 0, result.stderr
        assert not (folder / "imputed.h5ad").exists() and not (folder / "latent.h5ad").exists()
    for part in folder.glob("part.*.h5ad"):
        part.rename(folder / "parts" / part.name)
    result = step(folder, "gather", *INPUTS, "--parts", "parts", "--threads", 2)
    assert result.code == 0, result.stderr
    for name in ("imputed.h5ad", "latent.h5ad"):
        assert (folder / name).read_bytes() == (imputed / name).read_bytes(), name
    (folder / "parts" / "part.000000001024.h5ad").unlink()
    result = step(folder, "gather", *INPUTS, "--parts", "parts")
    assert result.code == 65 and "begins at cell 2,048, expected 1,024" in result.stderr


def test_other_seed_other_numbers(imputed, tmp_path, step):
    folder = shutil.copytree(imputed, tmp_path / "s")
    assert step(folder, "impute", *FLAGS, "--rows", "0:1024", "--seed", 1).code == 0
    other = ad.read_h5ad(folder / "part.000000000000.h5ad").X
    assert not np.array_equal(other, ad.read_h5ad(imputed / "imputed.h5ad").X[:1024])


def test_samples_interval_layers_format_and_share_of_neighbors(imputed, tmp_path, step):
    folder = shutil.copytree(imputed, tmp_path / "s")
    shutil.rmtree(folder / "models")
    results = {}
    for name, models, flags in (
        ("plain", "models_alone", ["--layers", "sd,lower,upper"]),
        ("narrow", "models_alone", ["--interval", 0.5]),
        ("mixed", "models_knn", ["--imputed-format", "zarr", "--layers", "upper,sd"]),
        ("few", "models_alone", ["--n-samples", 2, "--layers", "none"]),
    ):
        shutil.copytree(folder / models, folder / "models", dirs_exist_ok=True)
        result = step(folder, "impute", *FLAGS, *flags)
        assert result.code == 0, result.stderr
        zarr = folder / "imputed.zarr"
        results[name] = ad.read_zarr(zarr) if zarr.exists() else ad.read_h5ad(folder / "imputed.h5ad")
        if zarr.exists():
            shutil.rmtree(zarr)
    plain, narrow, mixed, few = results.values()
    assert few.uns["spatialimpute"]["n_samples"] == 6 and not few.layers
    assert set(mixed.layers) == {"sd", "upper"}
    nothing = {"weights": {}, "alpha": 0, "beta": 0}
    assert mixed.uns["spatialimpute"]["recipe"] == nothing | {"weights": {"knn": 0.25}}
    assert plain.uns["spatialimpute"]["recipe"] == nothing
    known = plain.obs["panel_total"].to_numpy() > 0
    np.testing.assert_array_equal(plain.X, narrow.X)
    assert (plain.layers["lower"] <= narrow.layers["lower"])[known].all()
    assert (plain.layers["upper"] >= narrow.layers["upper"])[known].all()
    # Each is rounded to a quarter of the mean's error, which is sd / sqrt(12).
    np.testing.assert_allclose(mixed.layers["sd"][known], 0.75 * plain.layers["sd"][known], rtol=2 / 8 / np.sqrt(12))
    assert np.abs(mixed.X - plain.X)[known].max() > 0.1
    scale = mixed.obs["panel_total"].to_numpy()[known, None]
    np.testing.assert_allclose((mixed.X[known] / scale).mean(0), (plain.X[known] / scale).mean(0), rtol=0.15)


def test_without_crossvalidation(sample, tmp_path, step):
    folder = shutil.copytree(sample, tmp_path / "s")
    (folder / "genes.tsv").unlink()
    result = step(folder, "impute", *INPUTS, "--models", "models", "--n-samples", 2, "--rows", "9216:10240")
    assert result.code == 0, result.stderr
    genes = pd.read_csv(folder / "genes.tsv", sep="\t")
    assert list(genes.columns)[: len(COLUMNS)] == COLUMNS and (genes["verdict"] == "not assessed").all()
    data = ad.read_h5ad(folder / "part.000000009216.h5ad")
    assert data.shape == (N_CELLS - 9216, 40) and (data.var["verdict"] == "not assessed").all()
    assert (data.var["fold"] == "").all() and data.var["spearman"].isna().all()
    assert data.obs_names[0] == "spatial9216"
    theirs = their_genes().set_axis([f"Gene{i + 1:04d}" for i in range(40)]).loc[data.var_names]
    # The table for people: nothing rounded, no formula, and the names of programs' columns in front.
    lines = [line.split("\t") for line in (folder / "genes.tsv").read_text().splitlines()]
    assert lines[0] == [*COLUMNS, "biotype", "entrez", "chromosome", "highly_variable", "'=length"]
    assert lines[1][len(COLUMNS) + 1] == str(int(theirs["entrez"].iloc[0]))
    assert lines[1][-1] == str(theirs["=length"].iloc[0])
    assert {line[len(COLUMNS) + 2] for line in lines[1:]} == {"01", "X"}


def test_errors_are_one_line(sample, tmp_path, step, monkeypatch):
    folder = shutil.copytree(sample, tmp_path / "s")
    for name in ("imputed.h5ad", "latent.h5ad"):
        (folder / name).unlink(missing_ok=True)

    def error(*flags, command="impute", given=FLAGS):
        result = step(folder, command, *given, *flags)
        assert result.code == 65, result.stderr
        assert result.stderr.startswith("ERROR: ") and len(result.stderr.splitlines()) == 1
        assert not list(folder.glob("imputed.h5ad*"))
        return result.stderr

    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    assert "no CUDA device is visible" in error("--accelerator", "gpu")
    assert "'mean' is unknown; expected none, or some of sd, lower, upper" in error("--layers", "sd,mean")
    for rows in ("5:1024", "1024:1024", "0:1000", "10240:11264"):
        assert f"--rows {rows}: expected multiples of 1,024" in error("--rows", rows)
    assert "--rows x: expected START:STOP" in error("--rows", "x")
    genes = (folder / "genes.tsv").read_text().splitlines()
    (folder / "genes.tsv").write_text("\n".join([genes[0], *genes[:0:-1]]) + "\n")
    write_json(folder / "evaluation.json", {"genes_digest": digest(folder / "genes.tsv")})
    assert "genes.tsv: its genes are not the gene sets' targets" in error()
    for name, what, version in (("models.json", "models", 2), ("blend.json", "a blend", 2)):
        content = read_json(folder / "models" / name)
        write_json(folder / "models" / name, content | {"schema_version": "0"})
        assert f"expected {what} of schema version {version}, found 0" in error()
        write_json(folder / "models" / name, content)
    (folder / "empty").mkdir()
    assert "expected a folder that select_genes.py wrote" in error(
        given=["--sample", "s1", "--inputs", "empty", *FLAGS[4:]]
    )
    assert "it holds none" in error(command="gather", given=[*INPUTS, "--parts", "empty"])
    for flags in (["--n-samples", 1], ["--interval", 1], ["--interval", 0]):
        assert step(folder, "impute", *FLAGS, *flags).code == 2
