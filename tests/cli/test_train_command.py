"""The training step as a command: models, predictions, checkpoints, one-line errors."""

import json
import subprocess
import sys
from pathlib import Path

import anndata as ad
import numpy as np
import pandas as pd
import pytest
from safetensors.numpy import load_file
from spatialimpute.files.counts import read_counts
from spatialimpute.files.gene_sets import read_gene_sets
from spatialimpute.files.predictions import read_predictions
from spatialimpute.files.sealed import read_json, seal, write_json
from spatialimpute.methods.gimvi import checkpoints, training

SCRIPT = Path(__file__).resolve().parents[2] / "bin" / "train.py"


def described(folder):
    return json.loads((folder / "models.json").read_text())


def members(folder):
    return [member for stack in described(folder)["stacks"] for member in stack["members"]]


def test_crossvalidation_writes_models_and_predictions(crossvalidated):
    gene_sets = read_gene_sets(crossvalidated / "gene_sets.json")
    counts = read_counts(crossvalidated / "spatial.h5ad")
    models = crossvalidated / "models_cv"
    assert sorted(path.name for path in models.iterdir()) == ["history.tsv", "models.json", "weights.safetensors"]
    content = described(models)
    assert content["schema_version"] == "1" and content["gene_digest"].startswith("sha256:")
    assert content["settings"]["n_hidden"] == 16 and content["settings"]["encoder"] == "panel"
    # Every seed at the first kappa, the first seed at the others.
    found = sorted((m["fold"], m["kappa"], m["place"], m["decoder_hidden"]) for m in members(models))
    assert found == [(fold, *rest) for fold in "012" for rest in ((0.0, 0, 0), (0.0, 1, 0), (0.0, 2, 128), (5.0, 0, 0))]
    weights = load_file(models / "weights.safetensors")
    assert {name.split("/")[0] for name in weights} == {str(i) for i in range(len(content["stacks"]))}
    history = pd.read_csv(models / "history.tsv", sep="\t", dtype={"fold": str})
    assert list(history.columns) == [
        "member", "fold", "kappa", "place", "step", "epoch", "loss", "reconstruction", "kl_z", "kl_library",
        "held_out_loss", "disc_accuracy", "learning_rate", "stack",
    ]  # fmt: skip
    assert len(history.groupby(["fold", "kappa", "place"])) == 12
    assert history["disc_accuracy"].notna().equals(history["kappa"] > 0)

    names = ["gimvi.kappa0.place0", "gimvi.kappa0.place1", "gimvi.kappa0.place2", "gimvi.kappa5.place0"]
    found = sorted(path.name for path in (crossvalidated / "all").glob("gimvi*"))
    assert found == [f"{name}.h5ad" for name in names]
    for name in names:
        prediction = read_predictions(crossvalidated / "all" / f"{name}.h5ad")
        assert name == f"gimvi.kappa{prediction.kappa:g}.place{prediction.place}"
        assert (prediction.method, prediction.sample) == ("gimvi", "s1")
        assert prediction.mean.shape == prediction.sd.shape == (140, 24)
        assert dict(zip(prediction.genes, prediction.fold, strict=True)) == {
            gene: fold for fold, held_out in gene_sets.folds.items() for gene in held_out
        }
        for fold in gene_sets.folds:
            counted = np.asarray(counts.select(gene_sets.genes_in_use(fold)).sum(1)).ravel() > 0
            for values in (prediction.mean, prediction.sd):
                expected = np.tile(counted[:, None], len(gene_sets.folds[fold]))
                np.testing.assert_array_equal(values[:, prediction.fold == fold] > 0, expected)
    about = ad.read_h5ad(crossvalidated / "all" / f"{names[3]}.h5ad").uns["spatialimpute"]
    assert about["schema_version"] == "1" and about["kappa"] == 5.0 and about["place"] == 0


@pytest.mark.parametrize("flags, kappa", [([], "chosen"), (["--kappa", "3"], 3.0)])
def test_final_training_takes_the_chosen_kappa(evaluated, copy_of, step, inputs, quick, flags, kappa):
    folder = copy_of(evaluated)
    write_json(folder / "evaluation.json", read_json(folder / "evaluation.json") | {"kappa": 7.0})
    flags = [*inputs, "--stage", "final", "--evaluation", "evaluation.json", "--seeds", 2, *quick, *flags]
    assert step(folder, "train", *flags).code == 0
    found = [(m["fold"], m["kappa"], m["place"]) for m in members(folder / "models")]
    kappa = 7.0 if kappa == "chosen" else kappa
    assert found == [(None, kappa, 0), (None, kappa, 1)]
    assert not list(folder.glob("predictions/gimvi*"))


def test_final_training_without_crossvalidation(prepared, copy_of, step, inputs, quick):
    folder = copy_of(prepared)
    flags = [*inputs[:-1], "nofolds.json", "--stage", "final", *quick]
    assert step(folder, "train", *flags).code == 0
    assert sorted((m["fold"], m["kappa"], m["place"]) for m in members(folder / "models")) == [
        (None, 0.0, seed) for seed in range(3)
    ]


def test_presets_and_overrides(prepared, copy_of, step, inputs, quick):
    folder = copy_of(prepared)

    def architecture(*flags):
        result = step(folder, "train", *inputs, "--stage", "final", "--seeds", 1, *quick, *flags)
        assert result.code == 0, result.stderr
        (stack,) = described(folder / "models")["stacks"]
        return stack["architecture"]

    paper = architecture("--preset", "paper")
    assert (paper["encoder"], paper["n_latent"], paper["n_hidden"]) == ("separate", 4, 16)
    assert [d["likelihood"] for d in paper["datasets"]] == ["zinb", "poisson"]  # osmFISH
    assert [d["latent_library"] for d in paper["datasets"]] == [True, False]
    assert [d["name"] for d in paper["datasets"]] == ["reference", "spatial"]
    mixed = architecture("--preset", "paper", "--encoder", "panel", "--spatial-likelihood", "nb")
    assert mixed["encoder"] == "panel" and mixed["datasets"][1]["likelihood"] == "nb"
    default = architecture("--reference-likelihood", "nb", "--spatial-likelihood", "auto", "--n-latent", 6)
    assert [d["likelihood"] for d in default["datasets"]] == ["nb", "nb"]
    assert (default["encoder"], default["n_latent"]) == ("panel", 6)


def contents(folder):
    return {path.name: path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


class Killed(Exception):
    """What ends a training before its time."""


def test_same_bytes_again_and_after_being_killed(prepared, copy_of, step, inputs, quick, monkeypatch):
    folder = copy_of(prepared)
    monkeypatch.setattr(checkpoints, "INTERVAL", 0)
    flags = [*inputs, "--stage", "crossvalidate", "--kappa", "0", "--seeds", 1, *quick]

    def outputs():
        return contents(folder / "models") | contents(folder / "predictions")

    assert step(folder, "train", *flags).code == 0
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
            step(folder, "train", *flags, "--checkpoint-dir", "kept")
        assert len(list((folder / "kept").iterdir())) == 1
        for stale in (folder / "models").iterdir():
            stale.unlink()
        # Another seed is another training: it starts anew.
        calls[:] = [0] * 20
        assert step(folder, "train", *flags, "--checkpoint-dir", "kept", "--seed", 1).code == 0
        assert calls[20] == 0
        assert outputs() != undisturbed
        calls[:] = [0] * 20
        assert step(folder, "train", *flags, "--checkpoint-dir", "kept").code == 0
        assert calls[20] == 12
    assert outputs() == undisturbed
    assert not list((folder / "kept").iterdir())


def test_errors_are_one_line(prepared, copy_of, step, inputs, quick, monkeypatch):
    folder = copy_of(prepared)
    crossvalidate = [*inputs, "--stage", "crossvalidate", *quick]

    def error(*flags):
        result = step(folder, "train", *flags)
        assert result.code == 65, result.stderr
        assert result.stderr.startswith("ERROR: ") and len(result.stderr.splitlines()) == 1
        assert not (folder / "models").exists() and not (folder / "predictions").exists()
        return result.stderr

    for kappa in ("x", "0,-1", "nan", "", "auto"):
        message = error(*crossvalidate, "--kappa", kappa)
        assert f"--kappa {kappa!r}" in message, message
    assert "preset 'best' is unknown" in error(*crossvalidate, "--kappa", "0", "--preset", "best")
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    message = error(*crossvalidate, "--kappa", "0", "--accelerator", "gpu")
    assert "no CUDA device is visible" in message and "--accelerator auto or cpu" in message
    message = error(*inputs[:-1], "nofolds.json", "--stage", "crossvalidate", "--kappa", "0")
    assert "no gene folds" in message
    gene_sets = read_json(folder / "gene_sets.json")
    write_json(folder / "gene_sets.json", gene_sets | {"schema_version": "2"})
    assert "gene_sets.json: expected panel schema version 1, found 2" in error(*crossvalidate, "--kappa", "0")
    write_json(folder / "gene_sets.json", gene_sets)
    raw = ad.read_h5ad(folder / "spatial.h5ad")
    del raw.uns["spatialimpute"]
    raw.write_h5ad(folder / "spatial.h5ad")
    seal(folder / "spatial.h5ad")
    message = error(*crossvalidate, "--kappa", "0")
    assert "spatial.h5ad: expected counts written by the QC step (schema version 1)" in message


def test_wrong_usage(prepared, step, inputs):
    for flags in (
        ["--stage", "both"],
        [],
        ["--stage", "final", "--max-steps", "0"],
        ["--stage", "final", "--seeds", "0"],
    ):
        assert step(prepared, "train", *inputs, *flags).code == 2
    assert "Usage" in step(prepared, "train", *inputs).stderr


def test_training_that_does_not_stay_finite(prepared, copy_of, step, inputs, quick):
    result = step(copy_of(prepared), "train", *inputs, "--stage", "final", *quick, "--learning-rate", 1e30)
    assert result.code == 70
    message = [line for line in result.stderr.splitlines() if line.startswith("ERROR: ")]
    assert len(message) == 1 and "fold none, kappa 0, place 0" in message[0]


def test_as_a_process(prepared, tmp_path, inputs):
    """The script stands by itself: imports, exit code, one line and no traceback."""
    paths = [prepared / part if "." in part else part for part in inputs]
    command = [sys.executable, SCRIPT, *paths, "--stage", "crossvalidate", "--kappa", "none"]
    result = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert result.returncode == 65
    assert result.stderr == "ERROR: --kappa 'none': expected numbers, separated by commas\n"
