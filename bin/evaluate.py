#!/usr/bin/env python3
"""Score the cross-validated predictions, choose the estimator's recipe, judge every gene and the sample."""

import logging
from dataclasses import asdict
from pathlib import Path

import click
from spatialimpute import cli
from spatialimpute.errors import InputError

log = logging.getLogger("evaluate")


@click.command(help=__doc__)
@click.option("--sample", required=True, help="The sample's name, as in the sheet.")
@click.option("--inputs", "folder", required=True, type=cli.FOLDER, help="SELECT_GENES' folder.")
@click.option(
    "--predictions", "predicted", required=True, type=cli.FOLDER,
    help="Folder of the predictions of all methods, and of kappa.json.",
)  # fmt: skip
@click.option("--missing", multiple=True, help="A method that failed; repeatable.")
@cli.recipe_options
@click.option("--preset", default="default", show_default=True, help="Has the defaults of --blend and --graph.")
@click.option("--verdict-pass", default=0.2, show_default=True, help="Smallest partial score of verdict pass.")
@click.option("--verdict-warn", default=0.1, show_default=True, help="Smallest partial score of verdict warn.")
def main(sample, folder, predicted, missing, preset, blend, graph, verdict_pass, verdict_warn):
    cli.set_threads(1)
    from spatialimpute.evaluation.evaluate import evaluate
    from spatialimpute.evaluation.fold_graphs import FoldGraphs
    from spatialimpute.evaluation.gene_table import gene_table
    from spatialimpute.evaluation.scores import summarize
    from spatialimpute.evaluation.truth import Truth
    from spatialimpute.evaluation.verdicts import headline
    from spatialimpute.files.inputs import SampleInputs
    from spatialimpute.files.predictions import open_folder, write_predictions
    from spatialimpute.files.sealed import digest, read_json, write_json
    from spatialimpute.files.tsv import write_tsv
    from spatialimpute.methods.base import require_folds
    from spatialimpute.methods.gimvi.settings import resolve_settings

    inputs = SampleInputs(folder)
    require_folds(sample, inputs.gene_sets)
    truth = Truth(inputs)
    files = open_folder(predicted, truth.cells, truth.genes)
    if not any(file.method == "gimvi" for file in files):
        raise InputError(f"{predicted}: no predictions of gimVI; run predict.py --method gimvi first")
    kappa = read_json(Path(predicted) / "kappa.json")
    settings = resolve_settings(preset, blend=blend, graph=graph)
    result = evaluate(
        files,
        kappa["kappa"],
        kappa["by_fold"],
        truth,
        usable(settings.blend, inputs),
        FoldGraphs(inputs).of if settings.graph else None,
    )

    table = result.scores
    chosen = table[table["method"] == "spatialimpute"]
    genes = gene_table(inputs.gene_facts, chosen, verdict_pass, verdict_warn)
    partial = table.pivot_table(index="gene", columns="method", values="spearman_partial", aggfunc="first")
    judged = headline(
        partial["spatialimpute"],
        result.given_detected,
        partial.get("celltype"),
        genes.set_index("gene")["verdict"][partial.index],
    )
    reason = "; ".join([judged.reason, *(f"warning: {text}" for text in inputs.gene_sets.warnings)])
    Path("predictions").mkdir(exist_ok=True)
    write_predictions("predictions/spatialimpute.h5ad", result.prediction)
    write_tsv("scores.tsv", table)
    theirs = inputs.gene_columns
    write_tsv("genes.tsv", genes.join(theirs, on="gene"), exact=theirs.columns)
    evaluation = {
        "schema_version": "3",
        "sample": sample,
        "kappa": kappa["kappa"],
        "kappa_by_fold": kappa["by_fold"],
        "kappa_curve": kappa["curve"],
        "recipe": asdict(result.recipe),
        "recipe_by_fold": {name: asdict(recipe) for name, recipe in result.recipe_by_fold.items()},
        "n_scored_cells": len(truth.cells),
        "headline": judged.verdict,
        "headline_reason": reason,
        "partial_ci": judged.interval,
        "partial_given_detected": result.given_detected,
        "methods": summarize(table),
        "missing": sorted(missing),
        "scores_digest": digest("scores.tsv"),
        "genes_digest": digest("genes.tsv"),
    }
    write_json("evaluation.json", evaluation)
    log.info("%s: %s (%s)", sample, judged.verdict, reason)
    for gene, text in genes.set_index("gene")["suspect"].items():
        if text:
            log.warning("%s: panel gene %s: %s", sample, gene, text)
    log.info("%s: kappa %g, %s", sample, kappa["kappa"], result.recipe.in_words())


def usable(blend, inputs) -> list[str]:
    """The methods that may take a share; cell types only where the references have labels, not clusters."""
    return [name for name in blend if name != "celltype" or inputs.has_celltypes]


if __name__ == "__main__":
    cli.run(main)
