#!/usr/bin/env python3
"""Choose the genes to model, to impute and to hold out: ./gene_sets.json.

Where spatial genes match the reference's by case or Ensembl id only, ./spatial.h5ad is written too: the same
counts under the reference's names, to be used in place of --spatial from here on.
"""

import click
from spatialimpute import cli


@click.command(help=__doc__)
@click.option("--sample", required=True, help="The sample's name, as in the sheet.")
@click.option("--spatial", required=True, type=click.Path(exists=True), help="counts.h5ad of the spatial side.")
@click.option("--reference", "references", required=True, multiple=True, type=click.Path(exists=True))
@click.option("--genes", multiple=True, help="Further genes to impute: a file or a comma list; repeatable.")
@click.option("--gene-folds", type=click.Path(exists=True), help="JSON {sample: [[gene, ...], ...]}.")
@click.option("--cv-folds", default=5, show_default=True, type=click.IntRange(min=0))
@click.option("--n-top-genes", default=2000, show_default=True, type=click.IntRange(min=0))
@click.option("--max-shared-genes", default=0, show_default=True, type=click.IntRange(min=0), help="0: all.")
@click.option("--min-shared-genes", default=10, show_default=True, type=click.IntRange(min=1))
@click.option("--seed", default=0, show_default=True)
def main(sample, spatial, references, genes, gene_folds, **options):
    cli.set_threads(1)
    import numpy as np
    from spatialimpute.check.gene_lists import parse_gene_list, read_gene_folds
    from spatialimpute.files.counts import read_counts, write_counts
    from spatialimpute.files.gene_sets import write_gene_sets
    from spatialimpute.genes import select_genes

    counts = read_counts(spatial)
    gene_sets, renamed = select_genes(
        sample,
        counts.genes.tolist(),
        [read_counts(path) for path in references],
        spatial_ids=counts.gene_ids,
        requested=list(dict.fromkeys(gene for value in genes for gene in parse_gene_list(value))),
        gene_folds=read_gene_folds(gene_folds).get(sample) if gene_folds else None,
        **options,
    )
    write_gene_sets("gene_sets.json", gene_sets)
    if renamed:
        counts.genes = np.array([renamed.get(gene, gene) for gene in counts.genes])
        write_counts("spatial.h5ad", counts)


if __name__ == "__main__":
    cli.run(main)
