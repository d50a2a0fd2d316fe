"""What the report says of the run as a whole."""

import json

import pytest
import yaml
from spatialimpute.report.run_tables import ELSEWHERE, write_run_tables

KNN = {"process": "PREDICT", "sample": "a", "method": "knn", "message": "ERROR: no <neighbor>\nat all"}
QC = {"process": "QC", "sample": "b", "method": None, "message": "ERROR: b.h5ad: not raw"}
CRASH = {"process": "PREDICT", "sample": "a", "method": "total", "message": "  File x.py\nValueError: odd"}


@pytest.fixture
def write(tmp_path):
    """`write(failed=…)` writes the tables of a run; a file's name -> its text."""

    def make(**facts) -> dict[str, str]:
        run = {"parameters": {}, "versions": [], "samples": ["a"], "failed": [], "failures": []} | facts
        write_run_tables(run, tmp_path)
        return {path.name: path.read_text() for path in tmp_path.iterdir()}

    return make


def test_parameters_stand_in_the_order_given_one_a_row_and_harmless(write):
    given = {"seed": 0, "genes": None, "drop_outliers": True, "input": "a\tb\n<i>.csv", "list": [1, 2]}
    lines = write(parameters=given)["params_mqc.tsv"].splitlines()
    assert lines[:2] == ["# id: params", "Parameter\tValue"]
    assert [line.split("\t") for line in lines[2:]] == [
        ["seed", "0"], ["genes", "not set"], ["drop_outliers", "true"], ["input", "a b &lt;i&gt;.csv"],
        ["list", "[1, 2]"],
    ]  # fmt: skip


def test_versions_are_those_of_each_process_by_its_own_name(write):
    rows = [["SPATIALIMPUTE:PREPARE:QC", "anndata", "0.12"], ["QC", "numpy", "2.4"], ["Workflow", "Nextflow", "25.04"]]
    found = yaml.safe_load(write(versions=rows)["software_mqc_versions.yml"])
    assert found == {"QC": {"anndata": "0.12", "numpy": "2.4"}, "Workflow": {"Nextflow": "25.04"}}


def test_without_failures_there_is_no_table_of_them(write):
    assert set(write()) == {"params_mqc.tsv", "software_mqc_versions.yml"}


def test_a_failed_sample_gets_a_row_with_its_reason(write):
    content = json.loads(write(failed=["b", "c"], failures=[QC, KNN])["failed_mqc.json"])
    assert content["id"] == "headline"
    assert content["data"]["b"] == {"headline": "failed", "reason": "QC: b.h5ad: not raw"}
    assert content["data"]["c"] == {"headline": "failed", "reason": ELSEWHERE}


def test_methods_that_failed_are_named_with_their_last_words(write):
    files = write(failures=[KNN, CRASH, QC])
    content = json.loads(files["run.missing_methods_mqc.json"])
    assert content["parent_id"] == "accuracy"
    assert {name: row["reason"] for name, row in content["data"].items()} == {
        "a: knn": "no &lt;neighbor&gt; at all", "a: total": "ValueError: odd",
    }  # fmt: skip


def test_methods_of_samples_that_failed_altogether_are_not_missing(write):
    assert set(write(samples=[], failed=["a"], failures=[KNN])) == {
        "params_mqc.tsv", "software_mqc_versions.yml", "failed_mqc.json",
    }  # fmt: skip
