"""The `test` profile for real: every file it leaves is opened and compared with what the documents say of it."""

import json

import anndata as ad
import numpy as np
import pandas as pd
import pytest
from safetensors import safe_open

SAMPLES = ("cortex_1", "cortex_2")
SCORES = (
    "sample method kappa place fold gene n_cells detected spearman spearman_fraction spearman_partial pearson rmse_z "
    "ssim jsd promised"
).split()
GENES = (
    "gene measured fold spearman spearman_partial spearman_fraction n_detected detected_fraction "
    "reference_detected_fraction reference_mean moran_i score score_lower score_upper verdict reason "
    "score_expected suspect"
).split()


@pytest.fixture(scope="module")
def workplace(launcher):
    return launcher("results")


@pytest.fixture(scope="module")
def run(workplace):
    run = workplace.run(profile="test,local")
    assert run.code == 0, run.text
    return run


def test_it_ends_well_and_without_a_warning(run):
    assert "WARN" not in run.text
    assert set(run.trace["status"]) == {"COMPLETED"}


def test_a_shared_reference_is_read_once(run):
    assert [name for name in run.ran if name.startswith("QC")] == ["QC cortex_1", "QC cortex_2", "QC reference"]


@pytest.mark.parametrize("sample", SAMPLES)
def test_counts_are_raw_and_in_place(run, sample):
    counts = ad.read_h5ad(run.outdir / sample / "counts/counts.h5ad")
    assert counts.obs_names.is_unique and counts.var_names.is_unique
    assert np.array_equal(counts.X.data, np.round(counts.X.data)) and counts.X.data.min() >= 0
    assert counts.obsm["spatial"].shape[0] == counts.n_obs
    assert {"n_counts", "n_genes", "dataset"} <= set(counts.obs)
    summary = json.loads((run.outdir / sample / "counts/qc.json").read_text())
    assert summary["n_cells"] == counts.n_obs and summary["id"] == sample


@pytest.mark.parametrize("sample", SAMPLES)
def test_every_target_is_imputed_in_every_cell(run, sample):
    folder = run.outdir / sample
    counts = ad.read_h5ad(folder / "counts/counts.h5ad")
    gene_sets = json.loads((folder / "counts/gene_sets.json").read_text())
    imputed = ad.read_h5ad(folder / "imputed.h5ad")
    assert imputed.obs_names.equals(counts.obs_names)
    assert set(imputed.var_names) == set(gene_sets["targets"])
    assert set(imputed.layers) == {"sd", "lower", "upper", "without_own_count"}
    measured = imputed.var["measured"].to_numpy(bool)
    known = np.isfinite(np.asarray(imputed.layers["without_own_count"]))
    # Of a cell whose counts are all in one fold's genes, nothing is known without them.
    assert known[:, measured].mean(axis=0).min() > 0.95 and not known[:, ~measured].any()
    mean, lower, upper = np.asarray(imputed.X), np.asarray(imputed.layers["lower"]), np.asarray(imputed.layers["upper"])
    assert np.isfinite(mean).all() and (mean >= 0).all()
    assert (lower <= upper).all()
    assert {"panel_total", "supported"} <= set(imputed.obs)
    assert imputed.obsm["X_gimvi"].shape[0] == imputed.n_obs and "spatial" in imputed.obsm
    assert {"verdict", "reason"} <= set(imputed.var)


@pytest.mark.parametrize("sample", SAMPLES)
def test_scores_and_verdicts_have_their_columns(run, sample):
    folder = run.outdir / sample
    scores = pd.read_csv(folder / "evaluation/scores.tsv", sep="\t")
    assert scores.columns.tolist() == SCORES
    assert set(scores["method"]) == {"spatialimpute", "gimvi", "knn", "linear", "celltype", "total"}
    genes = pd.read_csv(folder / "genes.tsv", sep="\t")
    assert genes.columns.tolist() == GENES
    assert set(genes["verdict"]) <= {"pass", "warn", "fail", "not assessed"}
    assert genes.loc[genes["measured"], "score"].notna().all()
    evaluation = json.loads((folder / "evaluation/evaluation.json").read_text())
    assert evaluation["headline"] in ("good", "limited", "do not use")
    assert {point["kappa"] for point in evaluation["kappa_curve"]} == {0, 5}


@pytest.mark.parametrize("sample", SAMPLES)
@pytest.mark.parametrize("models", ["models", "evaluation/models"])
def test_models_can_be_read_without_this_package(run, sample, models):
    folder = run.outdir / sample / models
    assert json.loads((folder / "models.json").read_text())["schema_version"]
    with safe_open(folder / "weights.safetensors", "np") as weights:
        assert list(weights.keys())
    history = pd.read_csv(folder / "history.tsv", sep="\t")
    assert {"member", "fold", "kappa", "place", "step", "epoch", "loss", "learning_rate"} <= set(history)


def test_the_report_is_about_both_samples_and_names_its_tools(run):
    report = (run.outdir / "multiqc/multiqc_report.html").read_text()
    for word in (*SAMPLES, "torch", "Nextflow", "n_top_genes"):
        assert word in report, word
    for sample in SAMPLES:
        assert list((run.outdir / sample / "figures").glob("*.png"))


def test_the_run_itself_is_on_record(run):
    for name in ("report.html", "timeline.html", "dag.html", "trace-*.tsv"):
        paths = list((run.outdir / "pipeline_info").glob(name))
        assert paths and all(path.stat().st_size for path in paths)


def test_resume_runs_nothing(workplace, run):
    again = workplace.run("-resume", profile="test,local")
    assert again.code == 0, again.text
    assert again.ran == []


def test_one_kappa_is_used_as_given(workplace, run):
    """`--kappa 0` trains without an adversary; only the steps that use kappa run again."""
    sheet = workplace.project / "assets/test/one.csv"
    pd.read_csv(sheet.with_name("samplesheet.csv")).iloc[:1].to_csv(sheet, index=False)
    outdir = workplace.cwd / "kappa0"
    fixed = workplace.run("-resume", "--input", str(sheet), "--kappa", "0", profile="test,local", outdir=str(outdir))
    assert fixed.code == 0, fixed.text
    assert not [name for name in fixed.ran if name.startswith(("QC", "SELECT_GENES"))]
    evaluation = json.loads((outdir / "cortex_1/evaluation/evaluation.json").read_text())
    assert evaluation["kappa"] == 0
    stacks = json.loads((outdir / "cortex_1/models/models.json").read_text())["stacks"]
    assert {member["kappa"] for stack in stacks for member in stack["members"]} == {0}
