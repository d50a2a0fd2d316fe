"""Parameters against the pipeline's own schema."""

import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator
from spatialimpute.check.named_files import check_param_files
from spatialimpute.check.params import check_params, load_schema
from spatialimpute.technologies import LIKELIHOOD_BY_TECHNOLOGY, canonical_technology

ROOT = Path(__file__).resolve().parents[2]
SCHEMA = load_schema(ROOT / "nextflow_schema.json")
NAMES = """input outdir genes gene_folds cv_folds kappa kappa_grid preset encoder seeds seed n_top_genes
    max_shared_genes n_latent n_hidden max_steps batch_size learning_rate n_samples interval methods
    spatial_likelihood reference_likelihood min_counts min_genes max_mad drop_outliers gene_aliases verdict_pass
    verdict_warn min_shared_genes accelerator gpu_cluster_options publish_dir_mode help""".split()


def check(**given):
    return check_params({"input": "s.csv", "outdir": "r", **given}, SCHEMA)


def test_schema_is_valid_and_complete():
    whole = json.loads((ROOT / "nextflow_schema.json").read_text())
    Draft202012Validator.check_schema(whole)
    assert set(NAMES) <= set(SCHEMA)
    for name, spec in SCHEMA.items():
        assert spec["type"] in ("string", "integer", "number", "boolean"), name
        assert spec["description"] and spec["help_text"], name
    assert {entry["$ref"].rsplit("/", 1)[1] for entry in whole["allOf"]} == set(whole["$defs"])


def test_defaults_pass_their_own_schema():
    params, problems = check()
    assert problems == []
    again, problems = check(**{name: value for name, value in params.items() if name not in ("input", "outdir")})
    assert problems == [] and again == params
    assert params["cv_folds"] == 5 and params["kappa"] == "auto" and params["n_latent"] is None


@pytest.mark.parametrize(
    "name, value, expected",
    [
        ("cv_folds", "5", 5),
        ("cv_folds", 0, 0),
        ("n_latent", 5.0, 5),
        ("learning_rate", "3e-3", 0.003),
        ("max_mad", 3, 3.0),
        ("kappa", 0, "0"),
        ("kappa", 0.5, "0.5"),
        ("kappa", "1e-3", "1e-3"),
        ("kappa_grid", [0, 1, 5], "0,1,5"),
        ("methods", ["knn", "total"], "knn,total"),
        ("methods", "knn, total", "knn, total"),
        ("export", ["spatialdata", "explorer"], "spatialdata,explorer"),
        ("export", None, None),
        ("genes", ["Sst", "Vip"], "Sst,Vip"),
        ("drop_outliers", "true", True),
        ("seeds", None, None),
    ],
)
def test_values_are_read_where_that_is_unambiguous(name, value, expected):
    params, problems = check(**{name: value})
    assert problems == [] and params[name] == expected and type(params[name]) is type(expected)


@pytest.mark.parametrize(
    "name, value, words",
    [
        ("seeds", "abc", "found 'abc', expected a whole number of at least 1"),
        ("cv_folds", 1, "found 1, expected 0 (skip) or 2 to 100 folds"),
        ("cv_folds", 2.5, "found 2.5"),
        ("cv_folds", True, "found true"),
        ("cv_folds", None, "no value"),
        ("interval", 1, "more than 0 and less than 1"),
        ("learning_rate", "nan", "found 'nan'"),
        ("kappa", -1, "'auto' or a number of at least 0"),
        ("kappa", "automatic", "'auto' or a number"),
        ("kappa_grid", "0,,1", "numbers of at least 0, separated by commas"),
        ("methods", "knn;tangram", "expected names of methods, separated by commas"),
        ("export", "spatialdata;explorer", "expected some of spatialdata, explorer, separated by commas"),
        ("export", True, "given without a value"),
        ("preset", "papr", "did you mean 'paper'?"),
        ("genes", True, "given without a value"),
        ("drop_outliers", "maybe", "true or false"),
        ("n_latent", {"a": 1}, "a whole number"),
        ("n_latnt", 3, "did you mean 'n_latent'?"),
        ("nLatnt", 3, "did you mean 'n_latent'?"),
        ("zzz", 3, "known are accelerator"),
    ],
)
def test_mistakes_are_named(name, value, words):
    _, problems = check(**{name: value})
    assert len(problems) == 1 and f"'{name}'" in problems[0] and words in problems[0]


def test_all_mistakes_at_once_and_missing_ones():
    _, problems = check_params({"cv_folds": 1, "sed": 3}, SCHEMA)
    assert len(problems) == 4
    assert sum("missing" in problem for problem in problems) == 2


def test_hyphens_and_camel_case():
    """Nextflow keeps `--cv-folds 3` as cv-folds and cvFolds, and leaves cv_folds, which the pipeline reads, alone."""
    _, problems = check(**{"cv-folds": 3, "cvFolds": 3, "cv_folds": 5})
    assert problems == ["parameter 'cv-folds': write it as 'cv_folds'"]
    assert check(**{"cv-folds": 5, "cvFolds": 5, "cv_folds": 5})[1] == []


@pytest.mark.parametrize(
    "given",
    [
        {"verdict_warn": 0.3},
        {"max_shared_genes": 5},
        {"gene_folds": "f.json", "cv_folds": 0},
        {"export": "explorer", "cv_folds": 0},
        {"train_on": "reference", "kappa": 5},
        {"train_on": "reference", "preset": "paper"},
        {"train_on": "reference", "encoder": "separate"},
    ],
)
def test_contradictions(given):
    assert len(check(**given)[1]) == 1


VALUES = st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text("ab01.,-e ", max_size=6))


@settings(max_examples=50, deadline=None)
@given(st.dictionaries(st.sampled_from(NAMES), VALUES, max_size=6))
def test_no_value_crashes_the_check(given):
    check_params(given, SCHEMA)


def test_files_of_parameters(tmp_path):
    (tmp_path / "good.json").write_text('{"s": [["a"], ["b"]]}')
    (tmp_path / "twice.json").write_text('{"s": [["a"], ["a"]]}')
    (tmp_path / "other.json").write_text('{"t": [["a"], ["b"]]}')
    (tmp_path / "flat.json").write_text('{"s": ["a", "b"]}')
    (tmp_path / "a.tsv").write_text("one two\n")

    samples = [{"sample": "s", "spatial": [], "reference": [], "genes": None, "warnings": []}]

    def problems(**params):
        return " ".join(check_param_files(params, tmp_path, samples))

    assert problems(gene_folds="good.json", genes="Sst,Vip") == ""
    assert "gene 'a' is in 2 places" in problems(gene_folds="twice.json")
    assert "none of which is in the sheet" in problems(gene_folds="other.json")
    assert "expected {sample: [[gene" in problems(gene_folds="flat.json")
    assert "not valid JSON" in problems(gene_folds="a.tsv")
    assert "no such file" in problems(genes="genes.txt")
    assert "line 1" in problems(gene_aliases="a.tsv")
    assert check_param_files({"genes": "genes.txt"}, None, []) == []


def test_technologies_are_those_of_the_sheet_schema():
    schema = json.loads((ROOT / "assets" / "schema_input.json").read_text())
    Draft202012Validator.check_schema(schema)
    assert schema["items"]["properties"]["technology"]["enum"] == list(LIKELIHOOD_BY_TECHNOLOGY)
    assert canonical_technology("visium hd") == "Visium HD" and canonical_technology("SLIDE_SEQ") == "Slide-seq"
    assert set(LIKELIHOOD_BY_TECHNOLOGY.values()) <= {"nb", "poisson", "zinb"}
