"""What a run says and does when something is wrong."""

import json

import anndata as ad
import pandas as pd
import pytest


@pytest.fixture(scope="module")
def workplace(launcher):
    return launcher("faults")


@pytest.fixture(scope="module")
def unscored(workplace, row, tissue):
    """A params file; one good sample, and one whose counts turn out not to be raw; no cross-validation, kappa 0."""
    data = ad.read_h5ad(tissue / "spatial_2.h5ad")
    data.X.data += 0.5
    data.write_h5ad(workplace.cwd / "logged.h5ad")
    sheet = workplace.sheet("sheet.csv", [row("good"), row("bad") | {"spatial": "logged.h5ad"}])
    params = {"input": sheet, "cv_folds": 0, "kappa": 0, "max_steps": 30, "n_top_genes": 100, "n_samples": 5}
    (workplace.cwd / "params.json").write_text(json.dumps(params))
    return workplace.run("-params-file", "params.json")


def test_a_bad_sample_fails_with_its_message_and_the_others_finish(unscored):
    assert unscored.code != 0
    assert unscored.tasks("FAILED") == ["QC bad"]
    message = unscored.text[unscored.text.index("FAILED QC (bad): ERROR:") :]
    assert "logged.h5ad" in message
    assert "Traceback" not in unscored.text
    assert ad.read_h5ad(unscored.outdir / "good/imputed.h5ad", backed="r").n_obs > 0
    assert not (unscored.outdir / "bad").exists()
    report = (unscored.outdir / "multiqc/multiqc_report.html").read_text()
    assert "good" in report
    headlines = (unscored.outdir / "multiqc/multiqc_report_data/multiqc_headline-plot.txt").read_text().splitlines()
    assert headlines[0].split("\t")[0] == "Sample"
    assert {line.split("\t")[0]: "failed" in line for line in headlines[1:]} == {"bad": True, "good": False}


def test_without_cross_validation_there_are_genes_and_no_scores(unscored):
    genes = pd.read_csv(unscored.outdir / "good/genes.tsv", sep="\t")
    assert (genes["verdict"] == "not assessed").all()
    assert genes["score"].isna().all()
    assert not (unscored.outdir / "good/evaluation").exists()


def test_a_method_that_fails_is_missing_in_its_sample_and_nothing_else_is(launcher, row):
    workplace = launcher("method")
    method = workplace.project / "bin/spatialimpute/methods/knn.py"
    broken = "\n\ndef fail(*_arguments):\n    raise RuntimeError('no neighbors today')\n\n\nKNN.fit = fail\n"
    method.write_text(method.read_text() + broken)
    sheet = workplace.sheet("sheet.csv", [row("a")])
    params = {"input": sheet, "methods": "knn,total", "cv_folds": 2, "kappa": 0, "seeds": 1, "max_steps": 30}
    (workplace.cwd / "params.json").write_text(json.dumps(params | {"n_top_genes": 100, "n_samples": 5}))
    run = workplace.run("-params-file", "params.json")
    assert run.code != 0
    assert run.tasks("FAILED") == ["PREDICT a knn"]
    folder = run.outdir / "a"
    assert f"a: {folder}/imputed.h5ad {folder}/genes.tsv; without knn" in run.text
    assert "FAILED PREDICT (a knn): " in run.text and "no neighbors today" in run.text
    assert ad.read_h5ad(folder / "imputed.h5ad", backed="r").n_obs > 0
    scores = pd.read_csv(folder / "evaluation/scores.tsv", sep="\t")
    assert set(scores["method"]) == {"spatialimpute", "gimvi", "total"}
    assert json.loads((folder / "evaluation/evaluation.json").read_text())["missing"] == ["knn"]
    data = run.outdir / "multiqc/multiqc_report_data"
    assert "no neighbors today" in (data / "multiqc_missing_methods-plot.txt").read_text()


def test_an_edited_step_runs_again_and_what_failed_is_tried_again(workplace, unscored):
    step = workplace.project / "bin/report.py"
    step.write_text(step.read_text() + "\n# edited\n")
    again = workplace.run("-params-file", "params.json", "-resume")
    assert again.ran == ["MULTIQC", "QC bad", "REPORT good"]


def test_mistakes_in_parameters_are_listed_at_once_and_nothing_runs(workplace, row):
    sheet = workplace.sheet("typo.csv", [row("a")])
    outdir = workplace.cwd / "typo"
    run = workplace.run(
        "--input", sheet, "--n_sample", "3", "--cv_folds", "many", "--genes", "a'; touch ../../../owned; '",
        outdir=str(outdir),
    )  # fmt: skip
    assert run.code != 0
    assert "n_samples" in run.text and "cv_folds" in run.text
    assert run.ran == ["CHECK_INPUTS typo"]
    assert "Traceback" not in run.text
    assert not (workplace.cwd / "owned").exists()
    assert [path.name for path in outdir.iterdir()] == ["pipeline_info"]


@pytest.mark.parametrize(
    ("profile", "options", "outdir", "expected"),
    [
        ("local", [], "x", "--input is missing"),
        ("local", ["--input", "typo.csv"], None, "--outdir"),
        ("local", ["--input", "no.csv"], "x", "no.csv"),
        ("local", ["--input", "typo.csv", "gpu"], "x", "'gpu': options begin with hyphens"),
        ("local", ["--input", "typo.csv"], "typo.csv/x", "--outdir typo.csv/x: this folder cannot be made"),
        ("local,sge", ["--input", "typo.csv"], "x", "there is no 'qsub' on this machine's PATH"),
    ],
)
def test_what_no_task_can_check_is_said_in_one_line(workplace, row, profile, options, outdir, expected):
    workplace.sheet("typo.csv", [row("a")])
    run = workplace.run(*options, profile=profile, outdir=outdir)
    assert run.code != 0
    assert len([line for line in run.text.splitlines() if expected in line]) == 1
    assert "Submitted" not in run.text


def test_help_lists_every_parameter_and_runs_nothing(workplace):
    run = workplace.run("--help", outdir=None)
    schema = json.loads((workplace.project / "nextflow_schema.json").read_text())
    assert run.code == 0
    for group in schema["$defs"].values():
        for name in group["properties"]:
            assert f"--{name} " in run.text


def test_a_killed_task_is_tried_again_with_more_memory(launcher, row):
    workplace = launcher("killed")
    step = workplace.project / "bin/qc.py"
    step.write_text(f'#!/bin/bash\nmkdir {workplace.cwd}/seen && exit 137\necho "ERROR: no luck" >&2\nexit 65\n')
    sheet = workplace.sheet("sheet.csv", [row("a")])
    run = workplace.run("--input", sheet, "-process.maxForks", "1")
    killed = run.trace[run.trace["exit"].astype(str) == "137"]
    assert len(killed) == 1
    again = run.trace[(run.trace["attempt"].astype(int) == 2) & (run.trace["tag"] == killed["tag"].item())]
    assert again["exit"].astype(str).tolist() == ["65"]
    assert float(again["memory"].item().split()[0]) > float(killed["memory"].item().split()[0])
    assert "ERROR: no luck" in run.text
    assert run.code != 0
