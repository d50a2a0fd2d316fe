#!/usr/bin/env python3
"""Train the final gimVI models on all shared genes, and fix how their draws become one estimate: ./models/."""

from contextlib import nullcontext

import click
from spatialimpute import cli
from spatialimpute.errors import InputError


@click.command(help=__doc__)
@click.option("--sample", required=True, help="The sample's name, as in the sheet.")
@click.option(
    "--inputs", "folder", required=True, type=click.Path(exists=True, file_okay=False), help="SELECT_GENES' folder."
)
@click.option("--evaluation", type=click.Path(exists=True), help="evaluation.json: kappa for `auto`, kNN weight.")
@click.option("--kappa", default="auto", show_default=True, help="`auto`, or a number.")
@cli.gimvi_options
@cli.compute_options
def main(sample, folder, evaluation, kappa, preset, seed, accelerator, threads, checkpoint_dir, **overrides):
    cli.set_threads(1)  # each of `threads` workers trains stacks of its own
    from spatialimpute import device
    from spatialimpute.files.blend import write_blend
    from spatialimpute.files.inputs import SampleInputs
    from spatialimpute.files.sealed import read_json
    from spatialimpute.methods.gimvi.blending import final_blend
    from spatialimpute.methods.gimvi.checkpoints import checkpoints_of, kept_on_termination
    from spatialimpute.methods.gimvi.data import TrainingData
    from spatialimpute.methods.gimvi.saving import save
    from spatialimpute.methods.gimvi.settings import resolve_settings
    from spatialimpute.methods.gimvi.training import ensemble, train

    inputs = SampleInputs(folder)
    settings = resolve_settings(preset, technology=inputs.technology, **overrides)
    chosen = read_json(evaluation) if evaluation else {"kappa": 0.0, "knn_weight": 0.0}
    members = ensemble(settings, {None: final_kappa(kappa, chosen)}, range(settings.seeds))
    where = device.choose(accelerator, threads=1)
    spatial, references = inputs.spatial(), inputs.references()
    data = TrainingData(references, spatial, inputs.gene_sets, settings)
    checkpoint = checkpoints_of(checkpoint_dir, inputs.digests(), settings, seed, where)
    with kept_on_termination() if checkpoint else nullcontext():
        stacks = train(data, members, seed, where, threads, checkpoint)
    save(stacks, "models", inputs.gene_sets, settings)
    blend, knn_scale = final_blend(stacks, spatial, references, inputs.gene_sets, chosen["knn_weight"], where)
    write_blend("models", blend, inputs.gene_sets.targets, knn_scale)
    if checkpoint:
        for stack in stacks:
            checkpoint(stack.members).clear()


def final_kappa(kappa: str, chosen: dict) -> float:
    """The given number, or with `auto` what cross-validation chose (0 where there was none)."""
    try:
        value = float(chosen["kappa"] if kappa == "auto" else kappa)
    except ValueError:
        raise InputError(f"--kappa {kappa!r}: expected `auto` or a number") from None
    if not 0 <= value < float("inf"):
        raise InputError(f"--kappa {kappa!r}: expected a number of 0 or more")
    return value


if __name__ == "__main__":
    cli.run(main)
