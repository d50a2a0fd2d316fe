#!/usr/bin/env python3
"""Draw one sample's figures and write its sections of the report as MultiQC custom content."""

import logging
from pathlib import Path

import click
from spatialimpute import cli

log = logging.getLogger("report")
FILE = click.Path(exists=True, path_type=Path)


@click.command(help=__doc__)
@click.option("--sample", required=True, help="The sample's name, as in the sheet.")
@click.option("--spatial", required=True, type=FILE, help="counts.h5ad of the spatial side.")
@click.option("--reference", "references", required=True, multiple=True, type=FILE, help="counts.h5ad; repeatable.")
@click.option("--gene-sets", required=True, type=FILE, help="gene_sets.json")
@click.option("--qc", multiple=True, type=FILE, help="qc.json of each dataset; repeatable.")
@click.option("--models", multiple=True, type=FILE, help="Folder with history.tsv; repeatable.")
@click.option("--scores", type=FILE, help="scores.tsv")
@click.option("--evaluation", type=FILE, help="evaluation.json")
@click.option("--genes-table", type=FILE, help="genes.tsv")
@click.option("--predictions", type=FILE, help="The chosen cross-validated prediction, spatialimpute.h5ad.")
@click.option("--imputed", type=FILE, help="imputed.h5ad")
@click.option("--latent", type=FILE, help="latent.h5ad")
@click.option("--seed", default=0, show_default=True, help="Seed of the subset of cells and the UMAP.")
@click.option("--threads", default=1, show_default=True, type=click.IntRange(min=1))
def main(sample, references, genes_table, seed, threads, **files):
    cli.set_threads(threads)
    from spatialimpute.report.build import write_report
    from spatialimpute.report.inputs import read_sample

    logging.getLogger("fontTools").setLevel(logging.WARNING)
    found = read_sample(sample, references=list(references), genes=genes_table, **files)
    write_report(found, ".", seed)
    log.info("%s: report written", sample)


if __name__ == "__main__":
    cli.run(main)
