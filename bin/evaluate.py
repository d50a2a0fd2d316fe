#!/usr/bin/env python3
"""Score the cross-validated predictions, choose kappa and the kNN weight, judge every gene and the sample."""

import logging
from pathlib import Path

import click
from spatialimpute import cli
from spatialimpute.errors import InputError

log = logging.getLogger("evaluate")


@click.command(help=__doc__)
@click.option("--sample", required=True, help="The sample's name, as in the sheet.")
@click.option("--spatial", required=True, type=click.Path(exists=True), help="counts.h5ad of the spatial side.")
@click.option("--reference", "references", required=True, multiple=True, type=click.Path(exists=True))
@click.option("--gene-sets", "gene_sets_path", required=True, type=click.Path(exists=True), help="gene_sets.json")
@click.option(
    "--predictions", "folder", required=True, type=click.Path(exists=True, file_okay=False),
    help="Folder of the predictions of all methods.",
)  # fmt: skip
@click.option("--preset", default="default", show_default=True, help="Whether the kNN estimate may take a share.")
@click.option("--verdict-pass", default=0.2, show_default=True, help="Smallest partial score of verdict pass.")
@click.option("--verdict-warn", default=0.1, show_default=True, help="Smallest partial score of verdict warn.")
def main(sample, spatial, references, gene_sets_path, folder, preset, verdict_pass, verdict_warn):
    cli.set_threads(1)
    from spatialimpute.evaluation import reliability, scores, selection
    from spatialimpute.files.counts import read_counts
    from spatialimpute.files.gene_sets import read_gene_sets
    from spatialimpute.files.predictions import read_folder, write_predictions
    from spatialimpute.files.sealed import digest, write_json
    from spatialimpute.files.tsv import write_tsv
    from spatialimpute.methods.gimvi.settings import resolve_settings

    counts, gene_sets = read_counts(spatial), read_gene_sets(gene_sets_path)
    if not gene_sets.folds:
        raise InputError(f"{sample}: the panel has no gene folds, so there is no held-out gene to score")
    truth = selection.Truth.of(counts, gene_sets)
    predictions = read_folder(folder, counts.cells, truth.genes)
    members = [prediction for prediction in predictions if prediction.method == "gimvi"]
    if not members:
        raise InputError(f"{folder}: no predictions of gimVI; train with --stage crossvalidate first")
    knn = next((prediction for prediction in predictions if prediction.method == "knn"), None)
    if not resolve_settings(preset).knn_share:
        knn = None
    choice = selection.choose(members, knn, truth)
    table = scores.score_table([choice.prediction, *predictions], truth)
    chosen = table[table["method"] == "spatialimpute"]
    genes = reliability.gene_table(
        counts, [read_counts(path) for path in references], gene_sets, chosen, verdict_pass, verdict_warn
    )
    partial = table.pivot_table(index="gene", columns="method", values="spearman_partial", aggfunc="first")
    given_detected = float(truth.partial(choice.prediction.mean, given_detected=True).mean())
    judged = reliability.headline(
        partial["spatialimpute"],
        given_detected,
        partial.get("celltype"),
        genes.set_index("gene")["verdict"][partial.index],
    )

    Path("predictions").mkdir(exist_ok=True)
    write_predictions("predictions/spatialimpute.h5ad", choice.prediction)
    write_tsv("scores.tsv", table)
    write_tsv("genes.tsv", genes)
    evaluation = {
        "schema_version": "1",
        "sample": sample,
        "kappa": choice.kappa,
        "kappa_curve": choice.curve.to_dict("records"),
        "knn_weight": choice.knn_weight,
        "headline": judged.verdict,
        "headline_reason": judged.reason,
        "partial_ci": judged.interval,
        "partial_given_detected": given_detected,
        "methods": scores.summarize(table),
        "scores_digest": digest("scores.tsv"),
        "genes_digest": digest("genes.tsv"),
    }
    write_json("evaluation.json", evaluation)
    log.info(
        "%s: %s (%s); kappa %g, kNN weight %g", sample, judged.verdict, judged.reason, choice.kappa, choice.knn_weight
    )


if __name__ == "__main__":
    cli.run(main)
