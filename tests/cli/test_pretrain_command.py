"""Models of the references alone as commands: trained once, then predicted from and fitted to a sample."""

import json

import numpy as np
from spatialimpute.files.inputs import SampleInputs, write_training
from spatialimpute.files.predictions import PredictionsFile
from spatialimpute.files.sealed import read_json


def test_from_the_references_to_a_sample(evaluated, copy_of, step, inputs, quick):
    folder = copy_of(evaluated)
    sample = SampleInputs(folder / "inputs")
    write_training(folder / "training", sample)
    assert step(folder, "pretrain", "--inputs", "training", "--seeds", 2, *quick).code == 0
    (folder / "models").rename(folder / "pretrained")
    flags = [*inputs, "--train-on", "reference", "--pretrained", "pretrained", "--seeds", 2, *quick]
    done = step(folder, "predict", "--method", "gimvi", *flags)
    assert done.code == 0 and "training" not in done.stderr
    files = sorted((folder / "predictions").glob("gimvi*.h5ad"))
    assert {path.name for path in files} >= {"gimvi.kappa0.place0.h5ad", "gimvi.kappa0.place1.h5ad"}
    prediction = PredictionsFile(folder / "predictions/gimvi.kappa0.place1.h5ad").read()
    assert prediction.genes.tolist() == [gene for genes in sample.gene_sets.folds.values() for gene in genes]
    assert np.isfinite(prediction.mean).mean() > 0.9
    assert read_json(folder / "predictions/kappa.json")["kappa"] == 0
    done = step(folder, "train", *flags, "--evaluation", "evaluation.json")
    assert done.code == 0 and "training" not in done.stderr
    stacks = json.loads((folder / "models/models.json").read_text())["stacks"]
    assert [(m["fold"], m["place"]) for stack in stacks for m in stack["members"]] == [(None, 0), (None, 1)]
    flags = ["--models", "models", "--n-samples", 3, "--evaluation", "evaluation.json", "--genes", "genes.tsv"]
    assert step(folder, "impute", *inputs, *flags).code == 0


def test_what_goes_together(prepared, copy_of, step, inputs, quick):
    folder = copy_of(prepared)
    write_training(folder / "training", SampleInputs(folder / "inputs"))
    (folder / "other").mkdir()
    for command in (("predict", "--method", "gimvi"), ("train",)):
        for flags in (["--train-on", "reference"], ["--pretrained", "other"]):
            done = step(folder, *command, *inputs, *quick, *flags)
            assert done.code == 65 and done.stderr.count("\n") == 1
            assert "--train-on reference and --pretrained go together" in done.stderr
    done = step(folder, "pretrain", "--inputs", "training", "--preset", "paper")
    assert done.code == 65 and "only the panel encoder" in done.stderr
    assert not (folder / "models").exists()
