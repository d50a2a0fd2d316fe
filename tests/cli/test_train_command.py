"""The final training as a command: models, how their draws are blended, one-line errors."""

import json
import subprocess
import sys
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
from spatialimpute.ensemble import Recipe
from spatialimpute.files.blend import read_blend
from spatialimpute.files.graph import read_graph
from spatialimpute.files.inputs import SampleInputs
from spatialimpute.files.sealed import read_json, write_json
from spatialimpute.folds import fold_of
from spatialimpute.graph import cell_graph
from spatialimpute.methods.base import SpatialView

SCRIPT = Path(__file__).resolve().parents[2] / "bin" / "train.py"


def described(folder):
    return json.loads((folder / "models.json").read_text())


def members(folder):
    return [member for stack in described(folder)["stacks"] for member in stack["members"]]


@pytest.mark.parametrize("flags, kappa", [([], "chosen"), (["--kappa", "3"], 3.0)])
def test_final_training_takes_the_chosen_kappa(evaluated, copy_of, step, inputs, quick, flags, kappa):
    folder = copy_of(evaluated)
    write_json(folder / "evaluation.json", read_json(folder / "evaluation.json") | {"kappa": 7.0})
    flags = [*inputs, "--evaluation", "evaluation.json", "--seeds", 2, *quick, *flags]
    assert step(folder, "train", *flags).code == 0
    found = [(m["fold"], m["kappa"], m["place"]) for m in members(folder / "models")]
    kappa = 7.0 if kappa == "chosen" else kappa
    assert found == [(None, kappa, 0), (None, kappa, 1)]
    assert not list(folder.glob("predictions/gimvi*"))


def test_the_blend_is_fixed_with_the_models(final):
    inputs, evaluation = SampleInputs(final / "inputs"), read_json(final / "evaluation.json")
    targets, recipe = inputs.gene_sets.targets, evaluation["recipe"]
    blend, learned = read_blend(final / "models", targets)
    assert blend.member_scales.shape == (3, len(targets)) and (blend.member_scales > 0).all()
    assert blend.weights == {name: weight for name, weight in recipe["weights"].items() if weight}
    assert (blend.recipe.alpha, blend.recipe.beta) == (recipe["alpha"], recipe["beta"])
    # Factors bring members to their common mean, so at a gene they are on either side of 1.
    assert (blend.member_scales.min(0) <= 1).all() and (blend.member_scales.max(0) >= 1).all()
    assert set(learned) == set(blend.weights)


RECIPES = [
    Recipe({"knn": 0.0, "linear": 0.0}),
    Recipe({"knn": 0.3}),
    Recipe({"knn": 0.2, "linear": 0.2, "celltype": 0.1}, 0.4, 0.1),
    Recipe({}, 0.0, 0.2),
]


@pytest.mark.parametrize("recipe", RECIPES, ids=["nothing", "knn", "everything", "graph alone"])
def test_what_was_chosen_is_stored(recipe, evaluated, copy_of, step, inputs, quick):
    """What each method learned from the spatial cells; the graph of cells only where it has a share."""
    folder = copy_of(evaluated)
    write_json(folder / "evaluation.json", read_json(folder / "evaluation.json") | {"recipe": asdict(recipe)})
    flags = [*inputs, "--evaluation", "evaluation.json", "--seeds", 1, *quick]
    assert step(folder, "train", *flags).code == 0
    sample = SampleInputs(folder / "inputs")
    blend, learned = read_blend(folder / "models", sample.gene_sets.targets)
    np.testing.assert_allclose(blend.member_scales, 1, rtol=1e-6)
    weights = {name: weight for name, weight in recipe.weights.items() if weight > 0}
    assert blend.recipe == replace(recipe, weights=weights)
    assert set(blend.scales) == set(learned) == set(weights)
    assert all((scale > 0).all() for scale in blend.scales.values())
    spatial = sample.spatial()
    total = np.asarray(spatial.X.sum(1)).ravel()
    assert all(one["depth"] == np.median(total[total > 0]) for one in learned.values())
    path = folder / "models/graph.h5"
    assert path.exists() == (recipe.own < 1)
    if recipe.own < 1:
        found = read_graph(path)
        view, known = SpatialView.of(spatial, fold_of(sample.gene_sets, None))
        expected = cell_graph(view, known, len(total), np.arange(len(total)))
        for name in ("anchors", "neighbors", "around"):
            np.testing.assert_array_equal(getattr(found, name), getattr(expected, name))


@pytest.mark.parametrize(
    "flags, recipe",
    [
        ([], Recipe({"knn": 0.1}, 0.4, 0.1)),
        (["--blend", "none"], Recipe({}, 0.4, 0.1)),
        (["--graph", "false"], Recipe({"knn": 0.1})),
        (["--preset", "paper", "--seeds", 3], Recipe()),
    ],
)
def test_final_training_without_crossvalidation(flags, recipe, prepared, copy_of, step, inputs, quick):
    folder = copy_of(prepared)
    assert step(folder, "train", *inputs[:-1], "nofolds", *quick, *flags).code == 0
    blend, _ = read_blend(folder / "models", SampleInputs(folder / "nofolds").gene_sets.targets)
    assert blend.recipe == recipe and (folder / "models/graph.h5").exists() == (recipe.own < 1)
    assert sorted((m["fold"], m["kappa"], m["place"]) for m in members(folder / "models")) == [
        (None, 0.0, seed) for seed in range(3)
    ]


def test_presets_and_overrides(prepared, copy_of, step, inputs, quick):
    folder = copy_of(prepared)

    def architecture(*flags):
        result = step(folder, "train", *inputs, "--seeds", 1, *quick, *flags)
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
    off = architecture("--second-input", "false", "--zero-inflated-mean", "false")
    for switch in ("second_input", "zero_inflated_mean"):
        assert default[switch] and not paper[switch] and not off[switch]
    flags = ("--other-gene-weight", 0.5, "--max-spatial-weight", 3)
    assert architecture(*flags)
    settings = described(folder / "models")["settings"]
    assert (settings["other_gene_weight"], settings["max_spatial_weight"]) == (0.5, 3.0)


def contents(folder):
    return {path.name: path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def test_same_bytes_again(final, evaluated, copy_of, step, inputs, quick):
    folder = copy_of(evaluated)
    assert step(folder, "train", *inputs, "--evaluation", "evaluation.json", *quick).code == 0
    again = contents(folder / "models")
    assert again == contents(final / "models")
    recipe = read_json(folder / "evaluation.json")["recipe"]
    graph = {"graph.h5"} if recipe["alpha"] + recipe["beta"] > 0 else set()
    assert set(again) == graph | {
        "blend.json", "blend.safetensors", "history.tsv", "models.json", "weights.safetensors"
    }  # fmt: skip


def test_errors_are_one_line(prepared, evaluated, copy_of, step, inputs, quick, monkeypatch):
    folder = copy_of(evaluated)

    def error(*flags, code=65):
        result = step(folder, "train", *inputs, *quick, *flags)
        assert result.code == code, result.stderr
        assert result.stderr.startswith("ERROR: ") and len(result.stderr.splitlines()) == 1
        assert not (folder / "models").exists()
        return result.stderr

    for kappa in ("x", "0,5", "nan", "", "-1"):
        message = error("--kappa", kappa)
        assert f"--kappa {kappa!r}: expected " in message, message
    assert "preset 'best' is unknown" in error("--preset", "best")
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    message = error("--accelerator", "gpu")
    assert "no CUDA device is visible" in message and "--accelerator auto or cpu" in message
    text = (folder / "evaluation.json").read_text()
    (folder / "evaluation.json").write_text(text.replace("knn", "knm"))
    assert "evaluation.json: damaged" in error("--evaluation", "evaluation.json", code=74)


def test_wrong_usage(prepared, step, inputs):
    for flags in (
        ["--max-steps", "0"], ["--seeds", "0"], ["--evaluation", "nowhere.json"], ["--other-gene-weight", "0"],
        ["--other-gene-weight", "1.1"], ["--max-spatial-weight", "0.9"], ["--second-input", "perhaps"],
        ["--zero-inflated-mean", "perhaps"],
    ):  # fmt: skip
        assert step(prepared, "train", *inputs, *flags).code == 2
    assert "Usage" in step(prepared, "train", "--sample", "s1").stderr


def test_training_that_does_not_stay_finite(prepared, copy_of, step, inputs, quick):
    result = step(copy_of(prepared), "train", *inputs, *quick, "--learning-rate", 1e30)
    assert result.code == 70
    message = [line for line in result.stderr.splitlines() if line.startswith("ERROR: ")]
    assert len(message) == 1 and "fold none, kappa 0, place 0" in message[0]


def test_as_a_process(prepared, tmp_path):
    """The script stands by itself: imports, exit code, one line and no traceback."""
    command = [sys.executable, SCRIPT, "--sample", "s1", "--inputs", prepared / "inputs", "--kappa", "none"]
    result = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert result.returncode == 65
    assert result.stderr == "ERROR: --kappa 'none': expected `auto` or a number\n"
