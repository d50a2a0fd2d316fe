#!/usr/bin/env python3
"""Train the final gimVI models on all shared genes, and fix how their draws become one estimate: ./models/."""

from contextlib import nullcontext

import click
from spatialimpute import cli
from spatialimpute.errors import InputError


@click.command(help=__doc__)
@click.option("--sample", required=True, help="The sample's name, as in the sheet.")
@click.option("--inputs", "folder", required=True, type=cli.FOLDER, help="SELECT_GENES' folder.")
@click.option("--evaluation", type=click.Path(exists=True), help="evaluation.json: kappa for `auto`, the recipe.")
@click.option("--kappa", default="auto", show_default=True, help="`auto`, or a number.")
@click.option(
    "--pretrained", type=cli.FOLDER, help="pretrain.py's models, with --train-on reference: nothing is trained."
)
@cli.gimvi_options
@cli.recipe_options
@cli.compute_options
def main(
    sample, folder, evaluation, kappa, pretrained, preset, seed, accelerator, threads, checkpoint_dir, **overrides
):  # fmt: skip
    cli.set_threads(1)  # each of `threads` workers trains stacks of its own
    from spatialimpute import device
    from spatialimpute.ensemble import Recipe
    from spatialimpute.evaluation.recipe import recipe_without_folds
    from spatialimpute.files.blend import write_blend
    from spatialimpute.files.graph import write_graph
    from spatialimpute.files.inputs import SampleInputs
    from spatialimpute.files.sealed import read_json
    from spatialimpute.folds import fold_of, scored_cells
    from spatialimpute.graph import cell_graph
    from spatialimpute.imputation.models import GRAPH
    from spatialimpute.methods.base import SpatialView
    from spatialimpute.methods.gimvi.blending import final_blend
    from spatialimpute.methods.gimvi.checkpoints import checkpoints_of, kept_on_termination
    from spatialimpute.methods.gimvi.data import TrainingData
    from spatialimpute.methods.gimvi.reference_only import fit_to_sample, members_where
    from spatialimpute.methods.gimvi.saving import load_with_history, save
    from spatialimpute.methods.gimvi.settings import resolve_settings
    from spatialimpute.methods.gimvi.training import ensemble, train

    inputs = SampleInputs(folder)
    settings = resolve_settings(preset, technology=inputs.technology, **overrides)
    chosen = read_json(evaluation) if evaluation else {"kappa": 0.0}
    if "recipe" in chosen:
        recipe = Recipe(**chosen["recipe"])
    else:
        recipe = recipe_without_folds(settings.blend, settings.graph)
    cli.require_pretrained(settings, pretrained)
    members = ensemble(settings, {None: final_kappa(kappa, chosen)}, range(settings.seeds))
    where = device.choose(accelerator, threads=1)
    spatial, references = inputs.spatial(), inputs.references()
    checkpoint = None if pretrained else checkpoints_of(checkpoint_dir, inputs.digests(), settings, seed, where)
    if pretrained:
        final = members_where(load_with_history(pretrained, inputs.gene_sets), lambda member: member.fold is None)
        stacks = [fit_to_sample(stack, spatial, inputs.gene_sets) for stack in final]
    else:
        data = TrainingData(references, spatial, inputs.gene_sets, settings)
        with kept_on_termination() if checkpoint else nullcontext():
            stacks = train(data, members, seed, where, threads, checkpoint)
    save(stacks, "models", inputs.gene_sets, settings)
    view, known = SpatialView.of(spatial, fold_of(inputs.gene_sets, None), inputs.panel_only())
    blend, learned = final_blend(stacks, spatial, view, known, references, inputs.gene_sets, recipe, where)
    write_blend("models", blend, inputs.gene_sets.targets, learned)
    if recipe.own < 1:
        scored = scored_cells(inputs.gene_sets, inputs.n_cells)
        write_graph(f"models/{GRAPH}", cell_graph(view, known, inputs.n_cells, scored))
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
