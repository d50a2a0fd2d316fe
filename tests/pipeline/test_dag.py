"""The workflow's shape, by stub runs: which tasks run, with what, and which of them again."""

import json

import pytest

SAMPLE_STEPS = [
    "EVALUATE {}", "IMPUTE {}", "PREDICT {} celltype", "PREDICT {} gimvi", "PREDICT {} knn", "PREDICT {} linear",
    "PREDICT {} total", "QC {}", "REPORT {}", "SELECT_GENES {}", "TRAIN {}",
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


def test_models_of_the_references_alone_are_trained_once_for_all_samples(workplace, row):
    """Ten samples of a panel, and an eleventh that comes later; whichever is ready first."""
    rows = [row(f"s{i}", "spatial_2.h5ad" if i % 2 else "spatial.h5ad") for i in range(11)]
    options = ("--input", "panel.csv", "-stub-run", "-resume", "--train_on", "reference", "--methods", "total")
    outdir = str(workplace.cwd / "reference")
    workplace.sheet("panel.csv", rows[:10])
    ten = workplace.run(*options, outdir=outdir)
    assert ten.code == 0, ten.text
    steps = [name.split()[0] for name in ten.ran]
    assert steps.count("PRETRAIN") == 1
    assert steps.count("TRAIN") == 10  # which fit the models to the sample
    workplace.sheet("panel.csv", rows[::-1])
    eleven = workplace.run(*options, outdir=outdir)
    assert eleven.code == 0, eleven.text
    own = [name for name in eleven.ran if name.split()[1:2] == ["s10"]]
    assert sorted(set(eleven.ran) - set(own)) == ["CHECK_INPUTS panel", "MULTIQC"] and len(own) == 8


@pytest.mark.parametrize("name", ["bin/spatialimpute/errors.py", "containers/local/requirements.lock"])
def test_another_library_runs_every_step(workplace, first, name):
    """One of the package's own, which every step imports, or the lock that all the others are of."""
    library = workplace.project / name
    original = library.read_text()
    library.write_text(original + "\n# edited\n")
    edited = workplace.run("--input", "sheet.csv", "-stub-run", "-resume")
    library.write_text(original)
    assert edited.ran == first.ran


def test_the_lock_of_a_method_s_own_environment_runs_that_method_again(workplace, first):
    methods = workplace.project / "assets/methods.json"
    lock = workplace.project / "containers/envs/own/requirements.lock"
    original = methods.read_text()
    entries = json.loads(original)
    entries["other"] = entries["knn"] | {"environment": "own", "command": "python other.py"}
    methods.write_text(json.dumps(entries))
    lock.parent.mkdir()
    options = ("--input", "sheet.csv", "--methods", "knn,other", "-stub-run", "-resume")
    ran = []
    for version in ("1", "2"):
        lock.write_text(f"other=={version}\n")
        ran.append(workplace.run(*options, outdir=str(workplace.cwd / "own")).ran)
    methods.write_text(original)
    assert [name for name in ran[0] if name.startswith("PREDICT")] == ["PREDICT a other", "PREDICT b other"]
    assert [name for name in ran[1] if name.startswith("PREDICT")] == ["PREDICT a other", "PREDICT b other"]


def test_folds_of_one_sample_are_no_other_s(workplace, first):
    """`gene_folds` is one file for all; without it again, so that later runs find the first one's tasks."""
    file = workplace.cwd / "folds.json"
    options = ("--input", "sheet.csv", "--gene_folds", "folds.json", "-stub-run", "-resume")
    folds = {"a": [["Gad1"], ["Sst"]], "b": [["Gad1"], ["Sst"]]}
    file.write_text(json.dumps(folds))
    given = workplace.run(*options, outdir=str(workplace.cwd / "folds"))
    file.write_text(json.dumps(folds | {"b": [["Gad1"], ["Pvalb"]]}))
    edited = workplace.run(*options, outdir=str(workplace.cwd / "folds"))
    assert given.code == edited.code == 0, given.text + edited.text
    assert "SELECT_GENES a" in given.ran
    steps = [step.format("b") for step in SAMPLE_STEPS if not step.startswith("QC")]
    assert edited.ran == sorted([*COMMON, *steps])


def test_without_cross_validation_nothing_is_scored(workplace, first):
    run = workplace.run("--input", "sheet.csv", "-stub-run", "--cv_folds", "0", outdir=str(workplace.cwd / "unscored"))
    assert run.code == 0, run.text
    assert {name.split()[0] for name in run.ran} == {
        "CHECK_INPUTS", "QC", "SELECT_GENES", "TRAIN", "IMPUTE", "REPORT", "MULTIQC",
    }  # fmt: skip
    assert (run.outdir / "a/genes.tsv").exists()
    assert not (run.outdir / "a/evaluation").exists()


def test_a_site_that_traces_less_loses_the_last_lines_alone(workplace, first):
    """And is told so."""
    (workplace.cwd / "less.config").write_text("trace.fields = 'name,process,tag,status,exit'\n")
    run = workplace.run("--input", "sheet.csv", "-stub-run", "-resume", "-c", "less.config")
    assert run.code == 0, run.text
    assert "trace.fields lacks attempt, workdir" in run.text


def test_a_sample_of_many_cells_is_imputed_by_ranges_of_its_rows(workplace, first):
    """A stub's sample has 2,500 cells. Ranges begin where a block of random numbers does."""
    outdir = workplace.cwd / "ranges"
    run = workplace.run(
        "--input", "sheet.csv", "--cv_folds", "0", "--cells_per_task", "1500", "-stub-run", outdir=str(outdir)
    )
    assert run.code == 0, run.text
    ranges = ["0:1024", "1024:2048", "2048:2500"]
    assert [name for name in run.ran if name.startswith(("IMPUTE", "GATHER"))] == [
        "GATHER a", "GATHER b", *(f"IMPUTE {sample} {rows}" for sample in "ab" for rows in ranges),
    ]  # fmt: skip
    gathered = run.trace[(run.trace["process"] == "GATHER") & (run.trace["tag"] == "a")]["workdir"].item()
    parts = {path.name: path.resolve().parent for path in (workplace.cwd / gathered / "parts").iterdir()}
    tags = run.trace.set_index("workdir")["tag"]
    assert {name: tags[str(folder)] for name, folder in parts.items()} == {
        f"part.{rows.split(':')[0]}.h5ad": f"a {rows}" for rows in ranges
    }
    assert {"imputed.h5ad", "genes.tsv"} <= {path.name for path in (outdir / "a").iterdir()}
    assert (outdir / "a/models/latent.h5ad").exists()


def test_several_references_reach_a_sample_in_the_order_of_the_sheet(workplace, row, tissue):
    for name in ("z.h5ad", "y.h5ad"):
        (workplace.cwd / name).write_bytes((tissue / "reference.h5ad").read_bytes())
    rows = [row("two") | {"reference": "z.h5ad;y.h5ad"}, row("one") | {"reference": "y.h5ad"}]
    run = workplace.run("--input", workplace.sheet("several.csv", rows), "-stub-run")
    assert run.code == 0, run.text
    assert [name for name in run.ran if name.startswith("QC")] == ["QC one", "QC two", "QC y", "QC z"]
    trace = run.trace
    selection = trace[(trace["process"] == "SELECT_GENES") & (trace["tag"] == "two")]["workdir"].item()
    linked = [(workplace.cwd / selection / f"reference{i}.h5ad").resolve().parent.name for i in (1, 2)]
    assert linked == ["z", "y"]


def test_both_parsers_run_the_same_without_a_warning(workplace, first):
    strict = workplace.run("--input", "sheet.csv", "-stub-run", parser="v2", outdir=str(workplace.cwd / "v2"))
    assert strict.code == 0, strict.text
    assert strict.ran == first.ran
    assert "WARN" not in first.text + strict.text
