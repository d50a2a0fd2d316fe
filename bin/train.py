#!/usr/bin/env python3
"""Train gimVI: on gene folds for cross-validation, or on all genes for imputation."""

import hashlib
import json
from contextlib import nullcontext
from dataclasses import asdict
from pathlib import Path

import click
from spatialimpute import cli
from spatialimpute.errors import InputError


def parse_kappas(text: str) -> list[float]:
    """`0,5` as numbers."""
    try:
        kappas = [float(part) for part in text.split(",")]
    except ValueError:
        raise InputError(f"--kappa {text!r}: expected numbers, separated by commas") from None
    if any(not 0 <= kappa < float("inf") for kappa in kappas):
        raise InputError(f"--kappa {text!r}: every kappa must be a number of 0 or more")
    return kappas


def final_kappa(kappa: str, evaluation: str | None) -> float:
    """The given number, or with `auto` what cross-validation chose (0 where there was none)."""
    from spatialimpute.files.sealed import read_json

    if kappa != "auto":
        return parse_kappas(kappa)[0]
    return float(read_json(evaluation)["kappa"]) if evaluation else 0.0


def either(auto: str | None) -> str | None:
    """A likelihood given, or None for `auto`."""
    return None if auto in (None, "auto") else auto


@click.command(help=__doc__)
@click.option("--sample", required=True, help="The sample's name, as in the sheet.")
@click.option("--spatial", required=True, type=click.Path(exists=True), help="counts.h5ad of the spatial side.")
@click.option("--reference", "references", required=True, multiple=True, type=click.Path(exists=True))
@click.option("--gene-sets", "gene_sets_path", required=True, type=click.Path(exists=True), help="gene_sets.json")
@click.option("--stage", required=True, type=click.Choice(["crossvalidate", "final"]))
@click.option("--evaluation", type=click.Path(exists=True), help="evaluation.json, whose kappa `auto` takes.")
@click.option("--preset", default="default", show_default=True)
@click.option("--encoder", type=click.Choice(["panel", "separate"]))
@click.option("--kappa", default="auto", show_default=True, help="crossvalidate: a list; final: auto or a number.")
@click.option("--seeds", type=click.IntRange(min=1), help="Members of the ensemble.")
@click.option("--seed", default=0, show_default=True)
@click.option("--n-latent", type=click.IntRange(min=1))
@click.option("--n-hidden", type=click.IntRange(min=1))
@click.option("--max-steps", type=click.IntRange(min=1))
@click.option("--batch-size", type=click.IntRange(min=2))
@click.option("--learning-rate", type=click.FloatRange(min=0, min_open=True))
@click.option("--spatial-likelihood", type=click.Choice(["auto", "poisson", "nb", "zinb"]))
@click.option("--reference-likelihood", type=click.Choice(["auto", "poisson", "nb", "zinb"]))
@click.option("--accelerator", default="auto", type=click.Choice(["auto", "cpu", "gpu"]))
@click.option("--threads", default=1, show_default=True, type=click.IntRange(min=1))
@click.option("--checkpoint-dir", type=click.Path(file_okay=False), help="Where a killed training continues from.")
def main(
    sample, spatial, references, gene_sets_path, stage, evaluation, preset, kappa, seed, accelerator, threads,
    checkpoint_dir, **overrides,
):  # fmt: skip
    cli.set_threads(1)  # each of `threads` workers trains stacks of its own
    from spatialimpute import device
    from spatialimpute.files.counts import read_counts
    from spatialimpute.files.gene_sets import read_gene_sets
    from spatialimpute.files.predictions import write_predictions
    from spatialimpute.files.sealed import digest
    from spatialimpute.methods.gimvi import saving, training
    from spatialimpute.methods.gimvi.checkpoints import Checkpoints, kept_on_termination
    from spatialimpute.methods.gimvi.data import TrainingData
    from spatialimpute.methods.gimvi.posterior import CROSSVALIDATION_SAMPLES, held_out_predictions
    from spatialimpute.methods.gimvi.settings import as_dict, resolve_settings

    for side in ("spatial_likelihood", "reference_likelihood"):
        overrides[side] = either(overrides[side])
    counts, gene_sets = read_counts(spatial), read_gene_sets(gene_sets_path)
    settings = resolve_settings(preset, technology=counts.info.get("technology"), **overrides)
    if stage == "crossvalidate":
        if not gene_sets.folds:
            raise InputError(f"{sample}: the panel has no gene folds, so there is no held-out gene to predict")
        members = training.ensemble(settings, folds=list(gene_sets.folds), kappas=parse_kappas(kappa))
    else:
        members = training.ensemble(settings, folds=[None], kappas=[final_kappa(kappa, evaluation)])
    where = device.choose(accelerator, threads=1)
    data = TrainingData([read_counts(path) for path in references], counts, gene_sets, settings)

    package = digest(Path(__file__).parent / "spatialimpute", "*.py")
    inputs = [digest(path) for path in (spatial, *references, gene_sets_path)]

    def checkpoint(group):
        facts = [inputs, as_dict(settings), [asdict(member) for member in group], seed, package, str(where)]
        key = hashlib.sha256(json.dumps(facts).encode()).hexdigest()
        return Checkpoints(checkpoint_dir, key)

    with kept_on_termination() if checkpoint_dir else nullcontext():
        stacks = training.train(data, members, seed, where, threads, checkpoint if checkpoint_dir else None)
    saving.save(stacks, "models", gene_sets, settings)
    if stage == "crossvalidate":
        Path("predictions").mkdir(exist_ok=True)
        for result in held_out_predictions(stacks, counts, gene_sets, sample, CROSSVALIDATION_SAMPLES, seed, where):
            write_predictions(f"predictions/gimvi.kappa{result.kappa:g}.place{result.place}.h5ad", result)
    if checkpoint_dir:
        for stack in stacks:
            checkpoint(stack.members).clear()


if __name__ == "__main__":
    cli.run(main)
