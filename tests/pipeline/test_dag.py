"""The workflow's shape, by stub runs: which tasks run, with what, and which of them again."""

import pytest

SAMPLE_STEPS = [
    "BASELINE {} celltype", "BASELINE {} knn", "BASELINE {} total", "EVALUATE {}", "IMPUTE {}", "QC {}", "REPORT {}",
    "SELECT_GENES {}", "TRAIN_CROSSVALIDATE {}", "TRAIN_FINAL {}",
]  # fmt: skip
COMMON = ["CHECK_INPUTS sheet", "MULTIQC"]


def steps_of(*samples: str, references: tuple[str, ...] = ()) -> list[str]:
    own = [step.format(sample) for sample in samples for step in SAMPLE_STEPS]
    return sorted(own + [f"QC {name}" for name in references] + COMMON)


@pytest.fixture(scope="module")
def workplace(launcher):
    return launcher("dag")


@pytest.fixture(scope="module")
def first(workplace, row):
    """Two samples that share a reference."""
    sheet = workplace.sheet("sheet.csv", [row("a"), row("b", "spatial_2.h5ad")])
    return workplace.run("--input", sheet, "-stub-run", parser="v1")


def test_every_step_runs_once_per_sample_and_reference(first):
    assert first.code == 0, first.text
    assert first.ran == steps_of("a", "b", references=("reference",))


def test_results_lie_where_the_documents_say(first):
    for name in (
        "a/counts/counts.h5ad", "a/counts/qc.json", "a/counts/gene_sets.json", "a/models/weights.safetensors",
        "a/evaluation/scores.tsv", "a/evaluation/evaluation.json", "a/evaluation/models/history.tsv",
        "a/evaluation/predictions/spatialimpute.h5ad", "a/genes.tsv", "a/imputed.h5ad", "a/figures",
        "references/reference/counts.h5ad", "multiqc/multiqc_report.html", "pipeline_info/report.html",
        "pipeline_info/timeline.html", "pipeline_info/dag.html",
    ):  # fmt: skip
        assert (first.outdir / name).exists(), name


def test_the_last_lines_say_where_the_results_are(first):
    assert f"Report: {first.outdir}/multiqc/multiqc_report.html" in first.text
    assert f"a: {first.outdir}/a/imputed.h5ad {first.outdir}/a/genes.tsv" in first.text


def test_resume_without_a_change_runs_nothing(workplace, first):
    again = workplace.run("--input", "sheet.csv", "-stub-run", "-resume")
    assert again.code == 0, again.text
    assert again.ran == []
    assert again.tasks("CACHED") == first.ran


def test_a_parameter_runs_only_the_steps_that_use_it(workplace, first):
    changed = workplace.run("--input", "sheet.csv", "-stub-run", "-resume", "--n_samples", "7")
    steps = [f"{step} {sample}" for step in ("IMPUTE", "REPORT") for sample in "ab"]
    assert changed.ran == sorted([*COMMON, *steps])


def test_a_new_sample_runs_only_its_own_tasks(workplace, first, row):
    rows = [row("a"), row("b", "spatial_2.h5ad")]
    workplace.sheet("sheet.csv", [*rows, row("c")])
    grown = workplace.run("--input", "sheet.csv", "-stub-run", "-resume")
    workplace.sheet("sheet.csv", rows)
    assert grown.code == 0, grown.text
    assert grown.ran == steps_of("c")


def test_an_edited_library_file_runs_every_step_that_imports_it(workplace, first):
    library = workplace.project / "bin/spatialimpute/errors.py"
    original = library.read_text()
    library.write_text(original + "\n# edited\n")
    edited = workplace.run("--input", "sheet.csv", "-stub-run", "-resume")
    library.write_text(original)
    assert edited.ran == first.ran


def test_without_cross_validation_nothing_is_scored(workplace, first):
    run = workplace.run("--input", "sheet.csv", "-stub-run", "--cv_folds", "0", outdir=str(workplace.cwd / "unscored"))
    assert run.code == 0, run.text
    assert {name.split()[0] for name in run.ran} == {
        "CHECK_INPUTS", "QC", "SELECT_GENES", "TRAIN_FINAL", "IMPUTE", "REPORT", "MULTIQC",
    }  # fmt: skip
    assert (run.outdir / "a/genes.tsv").exists()
    assert not (run.outdir / "a/evaluation").exists()


def test_several_references_reach_a_sample_in_the_order_of_the_sheet(workplace, row, tissue):
    for name in ("z.h5ad", "y.h5ad"):
        (workplace.cwd / name).write_bytes((tissue / "reference.h5ad").read_bytes())
    rows = [row("two") | {"reference": "z.h5ad;y.h5ad"}, row("one") | {"reference": "y.h5ad"}]
    run = workplace.run("--input", workplace.sheet("several.csv", rows), "-stub-run")
    assert run.code == 0, run.text
    assert [name for name in run.ran if name.startswith("QC")] == ["QC one", "QC two", "QC y", "QC z"]
    trace = run.trace
    training = trace[(trace["process"] == "TRAIN_FINAL") & (trace["tag"] == "two")]["workdir"].item()
    linked = [(workplace.cwd / training / f"reference{i}.h5ad").resolve().parent.name for i in (1, 2)]
    assert linked == ["z", "y"]


def test_both_parsers_run_the_same_without_a_warning(workplace, first):
    strict = workplace.run("--input", "sheet.csv", "-stub-run", parser="v2", outdir=str(workplace.cwd / "v2"))
    assert strict.code == 0, strict.text
    assert strict.ran == first.ran
    assert "WARN" not in first.text + strict.text
