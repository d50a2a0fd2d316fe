#!/usr/bin/env python3
"""Train the models of all folds and the final ones on the references alone, for every sample of a panel: ./models/."""

from contextlib import nullcontext

import click
from spatialimpute import cli


@click.command(help=__doc__)
@click.option(
    "--inputs", "folder", required=True, type=cli.FOLDER,
    help="What select_genes.py --training wrote.",
)  # fmt: skip
@cli.gimvi_options
@cli.compute_options
def main(folder, preset, seed, accelerator, threads, checkpoint_dir, **overrides):
    cli.set_threads(1)  # each of `threads` workers trains stacks of its own
    from spatialimpute import device
    from spatialimpute.files.inputs import SampleInputs
    from spatialimpute.methods.gimvi.checkpoints import checkpoints_of, kept_on_termination
    from spatialimpute.methods.gimvi.data import TrainingData
    from spatialimpute.methods.gimvi.saving import save
    from spatialimpute.methods.gimvi.settings import resolve_settings
    from spatialimpute.methods.gimvi.training import ensemble, train

    inputs = SampleInputs(folder)
    settings = resolve_settings(preset, **overrides | {"train_on": "reference"})
    where = device.choose(accelerator, threads=1)
    members = ensemble(settings, dict.fromkeys([*inputs.gene_sets.folds, None], 0.0), range(settings.seeds))
    data = TrainingData(inputs.references(), None, inputs.gene_sets, settings)
    checkpoint = checkpoints_of(checkpoint_dir, inputs.digests(), settings, seed, where)
    with kept_on_termination() if checkpoint else nullcontext():
        stacks = train(data, members, seed, where, threads, checkpoint)
    save(stacks, "models", inputs.gene_sets, settings)
    if checkpoint:
        for stack in stacks:
            checkpoint(stack.members).clear()


if __name__ == "__main__":
    cli.run(main)
