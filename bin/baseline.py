#!/usr/bin/env python3
"""Predict the held-out genes of every fold by a method that needs no training."""

import logging
from pathlib import Path

import click
from spatialimpute import cli

log = logging.getLogger("baseline")


@click.command(help=__doc__)
@click.option("--method", required=True, type=click.Choice(["knn", "celltype", "total"]))
@click.option("--sample", required=True, help="The sample's name, as in the sheet.")
@click.option("--spatial", required=True, type=click.Path(exists=True), help="counts.h5ad of the spatial side.")
@click.option("--reference", "references", required=True, multiple=True, type=click.Path(exists=True))
@click.option("--gene-sets", "gene_sets_path", required=True, type=click.Path(exists=True), help="gene_sets.json")
@click.option("--threads", default=1, show_default=True, type=click.IntRange(min=1))
def main(method, sample, spatial, references, gene_sets_path, threads):
    cli.set_threads(threads)
    from spatialimpute.files.counts import read_counts
    from spatialimpute.files.gene_sets import read_gene_sets
    from spatialimpute.files.predictions import write_predictions
    from spatialimpute.methods.registry import METHODS, predict_folds

    predictions = predict_folds(
        METHODS[method](),
        [read_counts(path) for path in references],
        read_counts(spatial),
        read_gene_sets(gene_sets_path),
        sample,
    )
    Path("predictions").mkdir(exist_ok=True)
    write_predictions(Path("predictions") / f"{method}.h5ad", predictions)
    log.info("%s: predicted %d genes in %d cells", method, len(predictions.genes), len(predictions.cells))


if __name__ == "__main__":
    cli.run(main)
