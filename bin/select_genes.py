#!/usr/bin/env python3
"""Choose the genes to model, to impute and to hold out, and write ./inputs/: all that later steps need of a sample."""

import logging
from pathlib import Path

import click
from spatialimpute import cli

log = logging.getLogger("select_genes")


@click.command(help=__doc__)
@click.option("--sample", required=True, help="The sample's name, as in the sheet.")
@click.option("--spatial", required=True, type=click.Path(exists=True), help="counts.h5ad of the spatial side.")
@click.option("--reference", "references", required=True, multiple=True, type=click.Path(exists=True))
@click.option(
    "--alternative", "alternatives", multiple=True, type=click.Path(exists=True),
    help="counts.h5ad of a reference that is compared, not used; repeatable.",
)  # fmt: skip
@click.option("--genes", multiple=True, help="Further genes to impute: a file or a comma list; repeatable.")
@click.option("--gene-folds", type=click.Path(exists=True), help="JSON {sample: [[gene, ...], ...]}.")
@click.option("--cv-folds", default=5, show_default=True, type=click.IntRange(min=0))
@click.option("--n-top-genes", default=2000, show_default=True, type=click.IntRange(min=0))
@click.option("--max-shared-genes", default=2000, show_default=True, type=click.IntRange(min=0), help="0: all.")
@click.option("--min-shared-genes", default=10, show_default=True, type=click.IntRange(min=1))
@click.option(
    "--score-cells", default=50_000, show_default=True, type=click.IntRange(min=0),
    help="Cells that cross-validation predicts and scores; 0: all.",
)  # fmt: skip
@click.option("--training", is_flag=True, help="Write ./training/ and ./training.txt too, which pretrain.py takes.")
@click.option("--seed", default=0, show_default=True)
def main(sample, spatial, references, alternatives, genes, gene_folds, score_cells, training, seed, **options):
    cli.set_threads(1)
    import numpy as np
    from spatialimpute.agreement import SpatialSide, agreement_table, compare
    from spatialimpute.check.gene_lists import parse_gene_list, read_gene_folds
    from spatialimpute.files.counts import read_counts
    from spatialimpute.files.inputs import SampleInputs, write_inputs, write_training
    from spatialimpute.folds import draw_scored_cells
    from spatialimpute.gene_facts import gene_facts
    from spatialimpute.genes import select_genes

    counts = read_counts(spatial, every_column=True)
    reference_counts = [read_counts(path) for path in references]
    gene_sets, renamed = select_genes(
        sample,
        counts.genes.tolist(),
        reference_counts,
        spatial_ids=counts.gene_ids,
        requested=list(dict.fromkeys(gene for value in genes for gene in parse_gene_list(value))),
        gene_folds=read_gene_folds(gene_folds).get(sample) if gene_folds else None,
        seed=seed,
        **options,
    )
    side = SpatialSide(counts, seed)
    found = [compare(side, reference, seed) for reference in reference_counts]
    gene_sets.warnings += [f"{one.reference}: {text}" for one in found for text in one.of_fit]
    found += [compare(side, read_counts(path), seed) for path in alternatives]
    for one in found:
        log.info("%s: %s", sample, one.in_words())
        for text in one.warnings:
            log.warning("%s: %s: %s", sample, one.reference, text)
    counts.genes = np.array([renamed.get(gene, gene) for gene in counts.genes])
    if gene_sets.folds:
        gene_sets.scored_cells = draw_scored_cells(counts.obs, score_cells, seed)
    facts = gene_facts(counts, reference_counts, gene_sets)
    used = [True] * len(references) + [False] * len(alternatives)
    write_inputs("inputs", counts, reference_counts, gene_sets, facts, agreement_table(found, used))
    if training:
        Path("training.txt").write_text(write_training("training", SampleInputs("inputs")))


if __name__ == "__main__":
    cli.run(main)
