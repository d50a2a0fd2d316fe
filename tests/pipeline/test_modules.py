"""Every process for real, with stand-ins in the place of its script: the command line that a script is given, where its
files go, and what happens when one fails. Two samples: of `a` the method celltype fails, of `b` gimVI.
"""

import json
import shlex
from pathlib import Path

import anndata as ad
import pandas as pd
import pytest
from scipy.io import mmwrite

#: Says on which command line it was called, and leaves what the script of its name would.
STAND_IN = """#!/bin/bash
set -euo pipefail
name=$(basename "$0" .py)
printf '%q ' "$@" > "$name.args"
case "$name $*" in
    *"--method celltype --sample a "*) echo "ERROR: no <luck>" >&2; exit 69 ;;
    *"--method gimvi --sample b "*) echo "ERROR: no model" >&2; exit 70 ;;
esac
case $name in
    qc) touch counts.h5ad qc.tsv; echo '{"n_cells": 2500}' > qc.json ;;
    select_genes)
        mkdir inputs
        touch inputs/{spatial.h5ad,reference1.h5ad,gene_facts.tsv,references.tsv}
        cat gene_folds.json > inputs/gene_sets.json 2>/dev/null || true ;;
    predict)
        mkdir predictions
        if [ "$2" = gimvi ]; then
            touch predictions/gimvi.kappa0.place0.h5ad predictions/gimvi.kappa5.place0.h5ad predictions/kappa.json
            mkdir models && touch models/{weights.safetensors,models.json,history.tsv}
        else
            touch "predictions/$2.h5ad"
        fi ;;
    evaluate) mkdir predictions; touch evaluation.json scores.tsv genes.tsv predictions/spatialimpute.h5ad ;;
    train) mkdir models; touch models/{weights.safetensors,models.json,history.tsv,blend.json} ;;
    impute)
        line="$*"
        rows=${line##*--rows }
        case $line in
            *--rows*) touch "part.${rows%%:*}.h5ad" ;;
            *) touch imputed.h5ad latent.h5ad ;;
        esac ;;
    gather) touch imputed.h5ad latent.h5ad ;;
    report)
        mkdir figures; touch figures/maps.png
        table='"id": "headline", "plot_type": "table", "pconfig": {"id": "headline-plot"}'
        echo "{$table, \\"data\\": {\\"$2\\": {\\"headline\\": \\"good\\"}}}" > "$2.headline_mqc.json" ;;
esac
"""
#: The same for export.py, which another Python runs.
EXPORT_STAND_IN = """
import pathlib, shlex, sys
pathlib.Path("export.args").write_text(shlex.join(sys.argv[1:]))
explorer = "explorer" in sys.argv
path = pathlib.Path("explorer/cell_feature_matrix.zarr.zip" if explorer else "spatialdata.zarr/zarr.json")
path.parent.mkdir()
path.touch()
"""
STEPS = ("qc", "select_genes", "predict", "evaluate", "train", "impute", "gather", "report")


@pytest.fixture(scope="module")
def workplace(launcher):
    made = launcher("modules")
    for name in STEPS:
        script = made.project / f"bin/{name}.py"
        script.write_text(STAND_IN)
        script.chmod(0o755)
    (made.project / "bin/export.py").write_text(EXPORT_STAND_IN)
    python = made.project / "bin/export-python"  # comes after that of an environment, where there is one
    python.write_text('#!/bin/bash\nexec python3 "$@"\n')
    python.chmod(0o755)
    return made


def write_xenium(folder: Path, spatial: Path) -> Path:
    """A spatial file as an instrument's folder."""
    data = ad.read_h5ad(spatial)
    matrix = folder / "cell_feature_matrix"
    matrix.mkdir(parents=True)
    mmwrite(matrix / "matrix.mtx", data.X.T)
    cells = [
        f"{i:08x}".translate(str.maketrans("0123456789abcdef", "abcdefghijklmnop")) + "-1" for i in range(len(data))
    ]
    pd.Series(cells).to_csv(matrix / "barcodes.tsv", index=False, header=False)
    features = pd.DataFrame({"id": data.var_names, "name": data.var_names, "type": "Gene Expression"})
    features.to_csv(matrix / "features.tsv", sep="\t", index=False, header=False)
    x, y = data.obsm["spatial"][:, :2].T
    table = pd.DataFrame({"cell_id": cells, "x_centroid": x, "y_centroid": y})
    table.to_csv(folder / "cells.csv.gz", index=False)
    return folder


@pytest.fixture(scope="module")
def run(workplace, row, tissue):
    """With cross-validation, ranges of rows, folds of `a` alone, and exports, of which `c` alone gets both."""
    folder = write_xenium(workplace.cwd / "a xenium folder", tissue / "spatial.h5ad")
    xenium = {**row("c"), "spatial": folder, "technology": "Xenium", "celltype_key": None}
    sheet = workplace.sheet("sheet.csv", [row("a"), row("b", "spatial_2.h5ad"), xenium])
    (workplace.cwd / "folds.json").write_text(json.dumps({"a": [["Gene0014"], ["Gene0015"]]}))
    options = ["--gene_folds", "folds.json", "--cells_per_task", "1024", "--methods", "knn,celltype", "--seed", "7"]
    return workplace.run("--input", sheet, *options, "--export", "spatialdata, explorer")


@pytest.fixture(scope="module")
def unscored(workplace, row):
    """On GPUs, but for the imputation, which a site keeps off them."""
    sheet = workplace.sheet("unscored.csv", [row("a")])
    (workplace.cwd / "site.config").write_text(
        "process.'withName:IMPUTE'.accelerator = null\n"
        "trace.fields = 'name,process,tag,status,exit,attempt,container,workdir'\n"
    )
    options = ["--cv_folds", "0", "--accelerator", "gpu", "--gpu_cluster_options=--gres=gpu:1", "-c", "site.config"]
    return workplace.run("--input", sheet, *options, outdir=str(workplace.cwd / "unscored"))


def arguments(run, process: str, tag: str) -> dict[str, list[str]]:
    """The command line that the script of a task was given: option -> its values."""
    (task,) = run.trace[(run.trace["process"] == process) & (run.trace["tag"] == tag)].to_dict("records")
    folder = run.outdir.parent / task["workdir"]
    words = shlex.split((folder / f"{process.lower()}.args").read_text())
    found: dict[str, list[str]] = {}
    for option, value in zip(words[::2], words[1::2], strict=True):
        found.setdefault(option, []).append(value)
    return found


def subset(found: dict, **expected) -> dict:
    """The found options that are expected, to be compared with them."""
    return {name: found.get(f"--{name.replace('_', '-')}") for name in expected}


@pytest.mark.parametrize(
    ("process", "tag", "expected"),
    [
        ("QC", "a", {"id": ["a"], "role": ["spatial"], "technology": ["MERFISH"], "input": ["raw/spatial.h5ad"]}),
        ("QC", "reference", {"id": ["reference"], "role": ["reference"], "technology": None}),
        (
            "SELECT_GENES", "a",
            {"spatial": ["spatial.h5ad"], "reference": ["reference1.h5ad"], "score_cells": ["50000"],
             "gene_folds": ["gene_folds.json"]},
        ),
        ("SELECT_GENES", "b", {"gene_folds": None}),
        (
            "PREDICT", "a gimvi",
            {"method": ["gimvi"], "inputs": ["inputs"], "kappa": ["0,5"], "seed": ["7"], "accelerator": ["auto"]},
        ),
        (
            "PREDICT", "a knn",
            {"method": ["knn"], "inputs": ["inputs"], "kappa": None, "command": None, "accelerator": None},
        ),
        ("EVALUATE", "a", {"inputs": ["inputs"], "predictions": ["heldout"], "missing": ["celltype"]}),
        ("TRAIN", "a", {"inputs": ["inputs"], "evaluation": ["judged/evaluation.json"], "kappa": ["auto"]}),
        (
            "IMPUTE", "a 1024:2048",
            {"inputs": ["inputs"], "models": ["models"], "evaluation": ["judged/evaluation.json"],
             "genes": ["judged/genes.tsv"], "heldout": ["judged/spatialimpute.h5ad"], "rows": ["1024:2048"],
             "layers": ["sd,lower,upper,without_own_count"]},
        ),
        ("GATHER", "a", {"inputs": ["inputs"], "parts": ["parts"], "imputed_format": ["auto"]}),
        (
            "EXPORT", "a spatialdata",
            {"inputs": ["inputs"], "imputed": ["imputed.h5ad"], "format": ["spatialdata"], "raw": None},
        ),
        ("EXPORT", "c explorer", {"format": ["explorer"], "raw": ["raw/a xenium folder"], "threads": ["2"]}),
        ("REPORT", "a", {"inputs": ["inputs"], "results": ["results"]}),
    ],
)  # fmt: skip
def test_each_script_is_given_what_it_takes(run, process, tag, expected):
    found = arguments(run, process, tag)
    assert found["--id" if process == "QC" else "--sample"] == [tag.split()[0]]
    assert subset(found, **expected) == expected


def test_a_sample_gets_its_own_folds_alone(run):
    assert json.loads((run.outdir / "a/counts/gene_sets.json").read_text()) == {"a": [["Gene0014"], ["Gene0015"]]}


def test_files_go_where_their_paths_say(run):
    found = {str(path.relative_to(run.outdir / "a")) for path in (run.outdir / "a").rglob("*") if path.is_file()}
    models = {"weights.safetensors", "models.json", "history.tsv"}
    assert found == {
        "counts/counts.h5ad", "counts/qc.json", "counts/qc.tsv", "counts/gene_sets.json",
        "counts/references.tsv", "genes.tsv", "imputed.h5ad",
        *(f"models/{name}" for name in models | {"blend.json", "latent.h5ad"}),
        *(f"evaluation/models/{name}" for name in models),
        "evaluation/evaluation.json", "evaluation/scores.tsv", "evaluation/predictions/spatialimpute.h5ad",
        "figures/maps.png", "spatialdata.zarr/zarr.json",
    }  # fmt: skip


def test_xenium_explorer_is_for_xenium_folders(run, unscored):
    assert [name for name in run.ran if name.startswith("EXPORT")] == [
        "EXPORT a spatialdata", "EXPORT c explorer", "EXPORT c spatialdata",
    ]  # fmt: skip
    assert (run.outdir / "c/explorer/cell_feature_matrix.zarr.zip").exists()
    assert not [name for name in unscored.ran if name.startswith("EXPORT")]


def staged(run, process: str, tag: str, folder: str) -> list[str]:
    """Names of what lies in a folder of a task's inputs, or in the folders in it."""
    (task,) = run.trace[(run.trace["process"] == process) & (run.trace["tag"] == tag)].to_dict("records")
    place = run.outdir.parent / task["workdir"] / folder
    inner = "*/*" if folder == "results" else "*"
    return sorted(path.name for path in place.glob(inner))


def test_the_parts_of_a_sample_are_gathered(run):
    assert staged(run, "GATHER", "a", "parts") == ["part.0.h5ad", "part.1024.h5ad", "part.2048.h5ad"]


def test_evaluation_gets_the_predictions_that_there_are(run):
    assert staged(run, "EVALUATE", "a", "heldout") == [
        "gimvi.kappa0.place0.h5ad", "gimvi.kappa5.place0.h5ad", "kappa.json", "knn.h5ad",
    ]  # fmt: skip


def test_the_report_gets_all_of_a_sample_s_results(run, unscored):
    always = ["genes.tsv", "imputed.h5ad", "latent.h5ad", "models", "qc.json", "qc.json"]
    scored = ["evaluation.json", "models", "scores.tsv", "spatialimpute.h5ad"]
    assert staged(run, "REPORT", "a", "results") == sorted(always + scored)
    without_genes = [name for name in always if name != "genes.tsv"]  # which the stand-in of impute.py leaves out
    assert staged(unscored, "REPORT", "a", "results") == without_genes


def test_a_sample_goes_on_without_a_method_that_failed_and_not_without_gimvi(run):
    assert run.code != 0
    assert run.tasks("FAILED") == ["PREDICT a celltype", "PREDICT b gimvi"]
    assert "FAILED PREDICT (a celltype): ERROR: no <luck>" in run.text
    assert "FAILED PREDICT (b gimvi): ERROR: no model" in run.text
    assert f"a: {run.outdir}/a/imputed.h5ad {run.outdir}/a/genes.tsv; without celltype" in run.text
    assert not (run.outdir / "b/imputed.h5ad").exists()
    assert not [name for name in run.ran if name.startswith(("EVALUATE b", "TRAIN b", "IMPUTE b", "REPORT b"))]


def test_the_report_names_what_failed_and_why(run):
    data = run.outdir / "multiqc/multiqc_report_data"
    methods = (data / "multiqc_missing_methods-plot.txt").read_text()
    assert "a: celltype" in methods and "luck" in methods and "b: gimvi" not in methods
    headlines = (data / "multiqc_headline-plot.txt").read_text()
    assert "PREDICT: no model" in headlines


def test_a_task_computes_where_its_directive_says(run, unscored):
    images = unscored.trace.set_index("process")["container"].str.split(":").str[0]
    assert {name: images[name] for name in ("SELECT_GENES", "TRAIN", "IMPUTE", "REPORT")} == {
        "SELECT_GENES": "spatialimpute-core", "TRAIN": "spatialimpute-gpu", "IMPUTE": "spatialimpute-core",
        "REPORT": "spatialimpute-core",
    }  # fmt: skip
    assert arguments(unscored, "TRAIN", "a")["--accelerator"] == ["gpu"]
    assert arguments(unscored, "IMPUTE", "a")["--accelerator"] == ["cpu"]
    assert arguments(run, "TRAIN", "a")["--accelerator"] == ["auto"]


def test_without_cross_validation_nothing_is_missing(unscored):
    assert unscored.code == 0, unscored.text
    given = arguments(unscored, "IMPUTE", "a")
    assert subset(given, evaluation=0, genes=0, rows=0) == {"evaluation": None, "genes": None, "rows": None}
    assert arguments(unscored, "TRAIN", "a").get("--evaluation") is None
    assert (unscored.outdir / "a/imputed.h5ad").exists()
