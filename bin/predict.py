#!/usr/bin/env python3
"""Predict the held-out genes of every fold by one method: ./predictions/, and of gimVI its ./models/ too."""

import logging
from contextlib import nullcontext
from pathlib import Path

import click
from spatialimpute import cli
from spatialimpute.errors import InputError

log = logging.getLogger("predict")


@click.command(help=__doc__)
@click.option("--method", required=True, help="A name of assets/methods.json.")
@click.option("--command", help="Of a method outside the package: interpreter and script of bin/methods.")
@click.option("--sample", required=True, help="The sample's name, as in the sheet.")
@click.option("--inputs", "folder", required=True, type=cli.FOLDER, help="SELECT_GENES' folder.")
@click.option("--kappa", default="0", show_default=True, help="gimvi: values to choose from, separated by commas.")
@click.option("--pretrained", type=cli.FOLDER, help="gimvi: pretrain.py's models, with --train-on reference.")
@cli.gimvi_options
@cli.compute_options
def main(method, command, sample, folder, kappa, **options):
    cli.set_threads(1 if method == "gimvi" else options["threads"])
    from spatialimpute.files.inputs import SampleInputs
    from spatialimpute.files.predictions import write_predictions

    inputs = SampleInputs(folder)
    Path("predictions").mkdir(exist_ok=True)
    if method == "gimvi":
        predictions = predict_gimvi(inputs, sample, parse_kappas(kappa), **options)
    else:
        predictions = other_method(method, command, options["threads"], options["seed"]).predict_folds(inputs, sample)
    for prediction in predictions:
        member = "" if prediction.place is None else f".kappa{prediction.kappa:g}.place{prediction.place}"
        write_predictions(f"predictions/{method}{member}.h5ad", prediction)
    log.info("%s: %s predicted %d genes in %d cells", sample, method, len(prediction.genes), len(prediction.cells))


def parse_kappas(text: str) -> list[float]:
    """`0,5` as numbers."""
    try:
        kappas = [float(part) for part in text.split(",")]
    except ValueError:
        raise InputError(f"--kappa {text!r}: expected numbers, separated by commas") from None
    if any(not 0 <= kappa < float("inf") for kappa in kappas):
        raise InputError(f"--kappa {text!r}: every kappa must be a number of 0 or more")
    return list(dict.fromkeys(kappas))


def other_method(method: str, command: str | None, threads: int, seed: int):
    """A method of the package or, with a command, one outside it."""
    from spatialimpute.methods.external import External
    from spatialimpute.methods.registry import find_method

    if command:
        return External(method, command, threads, seed)
    try:
        return find_method(method)()
    except KeyError:
        raise InputError(
            f"--method {method}: the package has no method of this name, and no --command is given"
        ) from None


def predict_gimvi(inputs, sample, kappas, preset, pretrained, seed, accelerator, threads, checkpoint_dir, **overrides):
    """gimVI's predictions; its models and what was chosen of kappa are written besides."""
    from spatialimpute import device
    from spatialimpute.evaluation.choice import choose_kappas
    from spatialimpute.evaluation.truth import Truth
    from spatialimpute.files.sealed import write_json
    from spatialimpute.methods.gimvi.checkpoints import checkpoints_of, kept_on_termination
    from spatialimpute.methods.gimvi.method import GimVI
    from spatialimpute.methods.gimvi.saving import load_with_history, save
    from spatialimpute.methods.gimvi.settings import resolve_settings

    settings = resolve_settings(preset, technology=inputs.technology, **overrides)
    cli.require_pretrained(settings, pretrained)
    where = device.choose(accelerator, threads=1)  # each of `threads` workers trains stacks of its own
    checkpoint = checkpoints_of(checkpoint_dir, inputs.digests(), settings, seed, where)
    with kept_on_termination() if checkpoint else nullcontext():
        choose = lambda first: choose_kappas(first, Truth(inputs))  # noqa: E731
        models = load_with_history(pretrained, inputs.gene_sets) if pretrained else None
        gimvi = GimVI(settings, kappas, choose, seed, where, threads, checkpoint, models)
        predictions = gimvi.predict_folds(inputs, sample)
    save(gimvi.stacks, "models", inputs.gene_sets, settings)
    choice = gimvi.choice
    curve = choice.curve.to_dict("records")
    write_json("predictions/kappa.json", {"kappa": choice.kappa, "by_fold": choice.by_fold, "curve": curve})
    if checkpoint:
        for stack in gimvi.stacks:
            checkpoint(stack.members).clear()
    return predictions


if __name__ == "__main__":
    cli.run(main)
