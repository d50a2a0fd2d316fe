#!/usr/bin/env python3
"""Impute every target gene in every spatial cell: posterior mean, standard deviation and interval."""

import logging
from dataclasses import replace

import click
from spatialimpute import cli
from spatialimpute.errors import InputError

log = logging.getLogger("impute")


@click.command(help=__doc__)
@click.option("--sample", required=True, help="The sample's name, as in the sheet.")
@click.option("--spatial", required=True, type=click.Path(exists=True), help="counts.h5ad of the spatial side.")
@click.option("--reference", "references", required=True, multiple=True, type=click.Path(exists=True))
@click.option("--gene-sets", "gene_sets_path", required=True, type=click.Path(exists=True), help="gene_sets.json")
@click.option("--models", required=True, type=click.Path(exists=True, file_okay=False), help="Final models.")
@click.option("--evaluation", type=click.Path(exists=True), help="evaluation.json, whose kNN weight is used.")
@click.option("--genes", "genes_path", type=click.Path(exists=True), help="genes.tsv; made here if not given.")
@click.option("--n-samples", default=50, show_default=True, type=click.IntRange(min=2))
@click.option("--interval", default=0.9, show_default=True, type=click.FloatRange(0, 1, min_open=True, max_open=True))
@click.option("--seed", default=0, show_default=True)
@click.option("--accelerator", default="auto", type=click.Choice(["auto", "cpu", "gpu"]))
@click.option("--threads", default=1, show_default=True, type=click.IntRange(min=1))
@click.option("--params-json", default="{}", help="The run's parameters, kept with the result.")
def main(
    sample, spatial, references, gene_sets_path, models, evaluation, genes_path, n_samples, interval, seed, accelerator,
    threads, params_json,
):  # fmt: skip
    cli.set_threads(threads)
    import numpy as np
    from spatialimpute import device
    from spatialimpute.evaluation.reliability import gene_table
    from spatialimpute.files.counts import read_counts
    from spatialimpute.files.gene_sets import read_gene_sets
    from spatialimpute.files.imputed import ImputedWriter, write_latent
    from spatialimpute.files.sealed import check_digest, digest, read_json
    from spatialimpute.files.tsv import read_tsv, write_tsv
    from spatialimpute.methods.gimvi import saving
    from spatialimpute.methods.gimvi.posterior import Imputer
    from spatialimpute.methods.gimvi.support import Support, encode_reference
    from spatialimpute.methods.knn import KNN

    where = device.choose(accelerator, threads)
    counts, gene_sets = read_counts(spatial), read_gene_sets(gene_sets_path)
    reference_counts = [read_counts(path) for path in references]
    stacks = saving.load(models, gene_sets)
    chosen = read_json(evaluation) if evaluation else {"knn_weight": 0.0}
    if genes_path:
        if evaluation:
            check_digest(genes_path, chosen["genes_digest"])
        genes = read_tsv(genes_path, texts=("gene", "fold"))
        if genes["gene"].tolist() != gene_sets.targets:
            raise InputError(f"{genes_path}: its genes are not the panel's targets in their order; evaluate again")
    else:
        genes = gene_table(counts, reference_counts, gene_sets, None, passes=0, warns=0)
        write_tsv("genes.tsv", genes)

    # From here on the panel's counts alone, once: the only thing in memory that grows with cells.
    counts = replace(counts, X=counts.select(gene_sets.shared), genes=np.array(gene_sets.shared), gene_ids=None)
    knn = None
    if chosen["knn_weight"] > 0:
        fitted = KNN().fit(reference_counts, counts.X, gene_sets.shared)

        def knn(cells):
            return fitted.predict(gene_sets.targets, counts.X[cells])

    imputer = Imputer(stacks, counts, gene_sets, n_samples, interval, seed, where, knn, chosen["knn_weight"])
    latents = [encode_reference(stacks[0], s, reference, gene_sets) for s, reference in enumerate(reference_counts)]
    support = Support(latents)
    about = {
        "sample": sample,
        "version": cli.__version__,
        "params": params_json,
        "kappa": stacks[0].members[0].kappa,
        "knn_weight": chosen["knn_weight"],
        "n_samples": n_samples * imputer.n_members,
        "interval": interval,
        "spatial_digest": digest(spatial),
        "reference_digests": [digest(path) for path in references],
        "models_digest": digest(models),
        "genes_digest": digest(genes_path or "genes.tsv"),
    }
    with ImputedWriter.open("imputed.h5ad", counts, genes, about) as writer:
        for chunk in imputer:
            writer.write(chunk, support.contains(chunk.latent))
        spatial_latent = writer.latent
    write_latent("latent.h5ad", counts, spatial_latent, reference_counts, latents)
    log.info("%s: imputed %d genes in %d cells", sample, len(gene_sets.targets), len(counts.cells))


if __name__ == "__main__":
    cli.run(main)
