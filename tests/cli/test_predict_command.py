"""The prediction step as a command: inputs in, predictions (and gimVI's models) out, one-line errors."""

import json
import subprocess
import sys
from pathlib import Path

import anndata as ad
import numpy as np
import pandas as pd
import pytest
from safetensors.numpy import load_file
from spatialimpute.files.gene_sets import read_gene_sets, write_gene_sets
from spatialimpute.files.inputs import SampleInputs
from spatialimpute.files.predictions import PredictionsFile
from spatialimpute.files.sealed import read_json, seal, write_json
from spatialimpute.folds import all_folds, held_out_genes
from spatialimpute.methods.gimvi import checkpoints, training

SCRIPT = Path(__file__).resolve().parents[2] / "bin" / "predict.py"
KNN = Path(__file__).resolve().parents[1] / "unit" / "external_knn.py"


def members(folder):
    described = json.loads((folder / "models.json").read_text())
    return [member for stack in described["stacks"] for member in stack["members"]]


def read(path):
    return PredictionsFile(path).read()


# ---- methods of the package, and outside it ----


@pytest.mark.parametrize("method", ["knn", "linear", "celltype", "total"])
def test_writes_predictions(crossvalidated, method):
    inputs = SampleInputs(crossvalidated / "inputs")
    predictions = read(crossvalidated / "all" / f"{method}.h5ad")
    assert (predictions.method, predictions.sample) == (method, "s1")
    genes, fold = held_out_genes(inputs.gene_sets)
    assert predictions.genes.tolist() == genes.tolist() and predictions.fold.tolist() == fold.tolist()
    assert predictions.mean.shape == (140, 24)
    missing = np.isnan(predictions.mean)
    assert missing[7].all() and missing[9, fold == "0"].all() and not missing[9, fold != "0"].any()
    for one in all_folds(inputs.gene_sets):
        known = np.asarray(inputs.spatial(genes=one.in_use).X.sum(1)).ravel() > 0
        assert (missing[:, fold == one.name] == ~known[:, None]).all()
    assert predictions.sd is None and predictions.kappa is None and predictions.place is None
    np.testing.assert_allclose(predictions.mean_frequency, np.nanmean(predictions.mean, axis=0), rtol=1e-5)


def test_same_bytes_again(crossvalidated, prepared, copy_of, step, inputs):
    folder = copy_of(prepared)
    for method in ("knn", "linear", "celltype"):
        assert step(folder, "predict", *inputs, "--method", method).code == 0
        again = (folder / "predictions" / f"{method}.h5ad").read_bytes()
        assert again == (crossvalidated / "all" / f"{method}.h5ad").read_bytes()


def test_only_scored_cells_are_predicted(prepared, crossvalidated, copy_of, step, inputs, quick):
    folder, cells = copy_of(prepared), [3, 7, 60, 139]
    gene_sets = read_gene_sets(folder / "inputs/gene_sets.json")
    gene_sets.scored_cells = cells
    write_gene_sets(folder / "inputs/gene_sets.json", gene_sets)
    assert step(folder, "predict", *inputs, "--method", "knn").code == 0
    assert step(folder, "predict", *inputs, "--method", "gimvi", "--kappa", "0", "--seeds", 1, *quick).code == 0
    for name in ("knn", "gimvi.kappa0.place0"):
        predictions = read(folder / "predictions" / f"{name}.h5ad")
        assert predictions.cells.tolist() == [f"spatial{cell}" for cell in cells]
        assert np.isnan(predictions.mean[1]).all() and np.isfinite(predictions.mean[[0, 2, 3]]).all()
    every = read(crossvalidated / "all" / "knn.h5ad")
    np.testing.assert_allclose(read(folder / "predictions/knn.h5ad").mean, every.mean[cells], rtol=1e-6)


def test_a_method_outside_the_package(prepared, crossvalidated, copy_of, step, inputs):
    folder = copy_of(prepared)
    flags = ["--method", "theirs", "--command", f"{sys.executable} {KNN}"]
    result = step(folder, "predict", *inputs, *flags)
    assert result.code == 0, result.stderr
    found, ours = read(folder / "predictions/theirs.h5ad"), read(crossvalidated / "all/knn.h5ad")
    assert found.method == "theirs"
    np.testing.assert_allclose(found.mean, ours.mean, rtol=1e-4)


def test_a_method_that_fails_says_its_last_words_and_leaves_nothing(prepared, copy_of, step, inputs, tmp_path):
    """Exit code 69: the sample goes on without it."""
    folder = copy_of(prepared)
    (tmp_path / "fails.py").write_text("import sys\nsys.exit('no such model')\n")
    (tmp_path / "silent.py").write_text("")
    (tmp_path / "negative.py").write_text("open('mean.mtx', 'w').write('%%MatrixMarket matrix array real general\\n')")
    (tmp_path / "seed.py").write_text("import sys\nsys.exit(f'threads {sys.argv[2]}, seed {sys.argv[3]}')\n")
    for command, message in {
        "nowhere knn.R": "there is no 'nowhere' here",
        f"{sys.executable} nowhere.py": "no such script",
        f"{sys.executable} {tmp_path}/fails.py": "fails.py ended with 1: no such model",
        f"{sys.executable} {tmp_path}/silent.py": "silent.py left no mean.mtx",
        f"{sys.executable} {tmp_path}/negative.py": "negative.py is not a Matrix Market array",
        f"{sys.executable} {tmp_path}/seed.py": "threads 2, seed 11",
    }.items():
        flags = ["--method", "theirs", "--command", command, "--seed", 11, "--threads", 2]
        result = step(folder, "predict", *inputs, *flags)
        assert result.code == 69, result.stderr
        assert result.stderr.startswith("ERROR: theirs: ") and len(result.stderr.splitlines()) == 1
        assert message in result.stderr
        assert not list((folder / "predictions").iterdir())


def test_a_method_that_nobody_has(prepared, copy_of, step, inputs):
    result = step(copy_of(prepared), "predict", *inputs, "--method", "registry")
    assert result.code == 65
    assert result.stderr == (
        "ERROR: --method registry: the package has no method of this name, and no --command is given\n"
    )


# ---- gimVI ----


def test_gimvi_writes_models_and_predictions(crossvalidated):
    inputs = SampleInputs(crossvalidated / "inputs")
    gene_sets, counts, models = inputs.gene_sets, inputs.spatial(), crossvalidated / "models_cv"
    assert sorted(path.name for path in models.iterdir()) == ["history.tsv", "models.json", "weights.safetensors"]
    content = read_json(models / "models.json")
    assert content["schema_version"] == "2" and content["gene_digest"].startswith("sha256:")
    assert content["settings"]["n_hidden"] == 16 and content["settings"]["encoder"] == "panel"
    # The first place at every kappa, the others at what was chosen.
    choice = read_json(crossvalidated / "all/kappa.json")
    chosen = sorted({choice["kappa"], *choice["by_fold"].values()})
    places = sorted({(0.0, 0), (5.0, 0), *((kappa, place) for kappa in chosen for place in range(3))})
    found = sorted((m["fold"], m["kappa"], m["place"], m["decoder_hidden"]) for m in members(models))
    assert found == [(fold, kappa, place, 128 if place == 2 else 0) for fold in "012" for kappa, place in places]
    weights = load_file(models / "weights.safetensors")
    assert {name.split("/")[0] for name in weights} == {str(i) for i in range(len(content["stacks"]))}
    history = pd.read_csv(models / "history.tsv", sep="\t", dtype={"fold": str})
    assert list(history.columns) == [
        "member", "fold", "kappa", "place", "step", "epoch", "loss", "reconstruction", "kl_z", "kl_library",
        "held_out_loss", "disc_accuracy", "learning_rate", "stack",
    ]  # fmt: skip
    assert len(history.groupby(["fold", "kappa", "place"])) == 3 * len(places)
    assert history["disc_accuracy"].notna().equals(history["kappa"] > 0)

    found = sorted(path.name for path in (crossvalidated / "all").glob("gimvi*"))
    assert found == [f"gimvi.kappa{kappa:g}.place{place}.h5ad" for kappa, place in places]
    for kappa, place in places:
        prediction = read(crossvalidated / "all" / f"gimvi.kappa{kappa:g}.place{place}.h5ad")
        assert (prediction.kappa, prediction.place) == (kappa, place)
        assert (prediction.method, prediction.sample) == ("gimvi", "s1")
        assert prediction.mean.shape == prediction.sd.shape == (140, 24)
        genes, fold = held_out_genes(gene_sets)
        assert prediction.genes.tolist() == genes.tolist() and prediction.fold.tolist() == fold.tolist()
        for one in all_folds(gene_sets):
            counted = np.asarray(counts.select(one.in_use).sum(1)).ravel() > 0
            for values in (prediction.mean, prediction.sd):
                expected = np.tile(counted[:, None], len(one.held_out))
                np.testing.assert_array_equal(values[:, fold == one.name] > 0, expected)
    about = ad.read_h5ad(crossvalidated / "all" / "gimvi.kappa5.place0.h5ad").uns["spatialimpute"]
    assert about["schema_version"] == "2" and about["kappa"] == 5.0 and about["place"] == 0


def test_the_choice_of_kappa_is_written(crossvalidated):
    choice = read_json(crossvalidated / "all/kappa.json")
    assert set(choice) == {"kappa", "by_fold", "curve"}
    assert list(choice["by_fold"]) == ["0", "1", "2"] and set(choice["by_fold"].values()) <= {0.0, 5.0}
    curve = pd.DataFrame(choice["curve"])
    assert list(curve.columns) == ["kappa", "mean", "difference", "se", "n_folds"]
    assert curve["kappa"].tolist() == [0.0, 5.0] and curve["n_folds"].tolist() == [3, 3]
    within = curve.loc[curve["difference"] <= curve["se"], "kappa"]
    assert choice["kappa"] == within.min() and curve["difference"].min() == 0


def test_every_place_is_trained_at_the_chosen_kappa(prepared, copy_of, step, inputs, quick, monkeypatch):
    """Though it is not the grid's first: what is scored is the ensemble that is shipped."""
    folder = copy_of(prepared)
    monkeypatch.setattr("spatialimpute.evaluation.choice.choose_kappa", lambda scores, fold: 5.0)
    flags = ["--method", "gimvi", "--kappa", "0,5", *quick, "--max-steps", 3]
    assert step(folder, "predict", *inputs, *flags).code == 0
    found = sorted((m["fold"], m["kappa"], m["place"]) for m in members(folder / "models"))
    expected = [(0.0, 0), (5.0, 0), (5.0, 1), (5.0, 2)]
    assert found == [(fold, *place) for fold in "012" for place in expected]
    names = sorted(path.name for path in (folder / "predictions").glob("gimvi*"))
    assert names == [f"gimvi.kappa{kappa:g}.place{place}.h5ad" for kappa, place in expected]
    choice = read_json(folder / "predictions/kappa.json")
    assert choice["kappa"] == 5.0 and set(choice["by_fold"].values()) == {5.0}


def contents(folder):
    return {path.name: path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


class Killed(Exception):
    """What ends a training before its time."""


def test_same_bytes_again_and_after_being_killed(prepared, copy_of, step, inputs, quick, monkeypatch):
    folder = copy_of(prepared)
    monkeypatch.setattr(checkpoints, "INTERVAL", 0)
    flags = [*inputs, "--method", "gimvi", "--kappa", "0", "--seeds", 1, *quick]

    def outputs():
        return contents(folder / "models") | contents(folder / "predictions")

    assert step(folder, "predict", *flags).code == 0
    undisturbed = outputs()
    update, calls = training.update, []

    def killed(state, *args, **kwargs):
        calls.append(state.step)
        if len(calls) == 13:
            raise Killed
        update(state, *args, **kwargs)

    with monkeypatch.context() as patch:
        patch.setattr(training, "update", killed)
        with pytest.raises(Killed):
            step(folder, "predict", *flags, "--checkpoint-dir", "kept")
        assert len(list((folder / "kept").iterdir())) == 1
        for stale in (folder / "models").iterdir():
            stale.unlink()
        # Another seed is another training: it starts anew.
        calls[:] = [0] * 20
        assert step(folder, "predict", *flags, "--checkpoint-dir", "kept", "--seed", 1).code == 0
        assert calls[20] == 0
        assert outputs() != undisturbed
        calls[:] = [0] * 20
        assert step(folder, "predict", *flags, "--checkpoint-dir", "kept").code == 0
        assert calls[20] == 12
    assert outputs() == undisturbed
    assert not list((folder / "kept").iterdir())


# ---- errors ----


def test_errors_are_one_line(prepared, copy_of, step, inputs, quick, monkeypatch):
    folder = copy_of(prepared)
    gimvi = [*inputs, "--method", "gimvi", *quick]

    def error(*flags):
        result = step(folder, "predict", *flags)
        assert result.code == 65, result.stderr
        assert result.stderr.startswith("ERROR: ") and len(result.stderr.splitlines()) == 1
        assert not (folder / "models").exists() and not list(folder.glob("predictions/*"))
        return result.stderr

    for kappa in ("x", "0,-1", "nan", "", "auto"):
        message = error(*gimvi, "--kappa", kappa)
        assert f"--kappa {kappa!r}" in message, message
    assert "preset 'best' is unknown" in error(*gimvi, "--kappa", "0", "--preset", "best")
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    message = error(*gimvi, "--kappa", "0", "--accelerator", "gpu")
    assert "no CUDA device is visible" in message and "--accelerator auto or cpu" in message
    for method in ("gimvi", "knn"):
        message = error("--sample", "s1", "--inputs", "nofolds", "--method", method)
        assert message == ("ERROR: s1: the gene sets have no folds, so there is no held-out gene to predict or score\n")
    (folder / "empty").mkdir()
    message = error("--sample", "s1", "--inputs", "empty", "--method", "knn")
    assert "empty: expected a folder that select_genes.py wrote" in message
    path = folder / "inputs/gene_sets.json"
    gene_sets = read_json(path)
    write_json(path, gene_sets | {"schema_version": "1"})
    assert "gene_sets.json: expected gene sets of schema version 2, found 1" in error(*gimvi, "--kappa", "0")
    write_json(path, gene_sets)
    path = folder / "inputs/spatial.h5ad"
    raw = ad.read_h5ad(path)
    del raw.uns["spatialimpute"]
    raw.write_h5ad(path)
    seal(path)
    message = error(*gimvi, "--kappa", "0")
    assert "spatial.h5ad: expected counts written by the QC step (schema version 1)" in message


def test_wrong_usage(prepared, step, inputs):
    gimvi = ["--method", "gimvi"]
    for flags in ([], [*gimvi, "--max-steps", "0"], [*gimvi, "--seeds", "0"], [*gimvi, "--threads", "0"]):
        assert step(prepared, "predict", *inputs, *flags).code == 2
    assert "Usage" in step(prepared, "predict", *inputs).stderr


def test_as_a_process(prepared, tmp_path):
    """The script stands by itself: imports, exit code, one line and no traceback."""
    command = [sys.executable, SCRIPT, "--sample", "s1", "--inputs", prepared / "inputs"]
    command += ["--method", "gimvi", "--kappa", "none"]
    result = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert result.returncode == 65
    assert result.stderr == "ERROR: --kappa 'none': expected numbers, separated by commas\n"
