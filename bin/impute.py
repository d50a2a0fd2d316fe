#!/usr/bin/env python3
"""Impute every target gene in every spatial cell: posterior mean, standard deviation and interval."""

import logging
from dataclasses import asdict

import click
from spatialimpute import cli
from spatialimpute.errors import InputError

log = logging.getLogger("impute")
FILE = click.Path(exists=True, dir_okay=False)


@click.command(help=__doc__)
@click.option("--sample", required=True, help="The sample's name, as in the sheet.")
@click.option("--inputs", "folder", required=True, type=cli.FOLDER, help="SELECT_GENES' folder.")
@click.option("--models", required=True, type=cli.FOLDER, help="Final models.")
@click.option("--evaluation", type=FILE, help="evaluation.json, by which genes.tsv is checked.")
@click.option("--genes", "genes_path", type=FILE, help="genes.tsv; made here if not given.")
@click.option("--heldout", type=FILE, help="EVALUATE's prediction of held-out genes, for layer without_own_count.")
@click.option("--rows", help="START:STOP, the cells of a part, by multiples of 1,024; gather.py joins parts.")
@click.option("--n-samples", default=50, show_default=True, type=click.IntRange(min=2), help="Per model and cell.")
@click.option("--interval", default=0.9, show_default=True, type=click.FloatRange(0, 1, min_open=True, max_open=True))
@click.option(
    "--layers", default="sd,lower,upper,without_own_count", show_default=True, help="Beside the mean, or none."
)
@click.option("--imputed-format", default="auto", show_default=True, type=click.Choice(["auto", "h5ad", "zarr"]))
@click.option("--seed", default=0, show_default=True)
@click.option("--accelerator", default="auto", type=click.Choice(["auto", "cpu", "gpu"]))
@click.option("--threads", default=1, show_default=True, type=click.IntRange(min=1))
@click.option("--params-json", default="{}", help="The run's parameters, kept with the result.")
def main(
    sample, folder, models, evaluation, genes_path, heldout, rows, n_samples, interval, layers, imputed_format, seed,
    accelerator, threads, params_json,
):  # fmt: skip
    cli.set_threads(1)  # each of `threads` threads imputes rows of its own
    from spatialimpute import device
    from spatialimpute.files.chunks import Grid
    from spatialimpute.files.imputed import ImputedWriter, choose_format, write_latent
    from spatialimpute.files.inputs import SampleInputs
    from spatialimpute.files.parts import part_name, part_uns
    from spatialimpute.files.sealed import digest, sealed_digest
    from spatialimpute.folds import blocks
    from spatialimpute.imputation.cell_types import transfer_celltypes
    from spatialimpute.imputation.held_out import WithoutOwnCount
    from spatialimpute.imputation.in_order import map_in_order
    from spatialimpute.imputation.models import FinalModels
    from spatialimpute.imputation.rows import impute_rows
    from spatialimpute.methods.gimvi.support import Support, encode_reference

    where, inputs = device.choose(accelerator, 1), SampleInputs(folder)
    layers = [layer for layer in parse_layers(layers) if heldout or layer != "without_own_count"]
    gene_sets, n_cells = inputs.gene_sets, inputs.n_cells
    start, stop = parse_rows(rows, n_cells) if rows else (0, n_cells)
    final = FinalModels.read(models, gene_sets)
    genes = judged_genes(inputs, genes_path, evaluation)
    references = inputs.references()
    spatial = inputs.spatial(slice(start, stop), every_column=not rows)  # GATHER gives the whole its columns
    posterior = final.posterior(inputs, spatial, start, references, n_samples, seed, where)
    held_out = None
    if "without_own_count" in layers:
        held_out = WithoutOwnCount(heldout, spatial, start, n_cells, gene_sets)
    support = Support.of(final.stacks[0], references, gene_sets)
    latents = []
    if start == 0:
        latents = [encode_reference(final.stacks[0], s, counts, gene_sets) for s, counts in enumerate(references)]
    about = {
        "sample": sample,
        "version": cli.__version__,
        "params": params_json,
        "kappa": final.kappa,
        "recipe": asdict(final.blend.recipe),
        "n_samples": posterior.n_draws,
        "interval": interval,
        "spatial_digest": sealed_digest(inputs.spatial_path),
        "reference_digests": [sealed_digest(path) for path in inputs.reference_paths],
        "models_digest": digest(models),
        "genes_digest": digest(genes_path or "genes.tsv"),
    }
    grid = Grid.of(n_cells, len(gene_sets.targets))
    uns = {"spatialimpute": about}
    if rows:
        grid, path = grid.part(stop - start), part_name(start)
        uns |= part_uns(start, stop, n_cells, latents)
    else:
        path = f"imputed.{choose_format(imputed_format, grid, layers)}"
    with ImputedWriter.open(path, grid, layers, spatial, genes, uns) as writer:

        def impute(chunk: slice):
            return writer.encode(impute_rows(posterior, support, chunk, interval, held_out))

        for encoded in map_in_order(impute, blocks(stop - start, grid.rows), threads):
            writer.write(encoded)
        if not rows:
            writer.further = transfer_celltypes(references, latents, writer.latent, writer.supported)
    if not rows:
        write_latent("latent.h5ad", spatial, writer.latent, references, latents)
    log.info("%s: imputed %d genes in %d cells", sample, len(gene_sets.targets), stop - start)


def parse_rows(text: str, n_cells: int) -> tuple[int, int]:
    """`START:STOP` as numbers; a STOP beyond the last cell means that one."""
    from spatialimpute.imputation.blocks import BLOCK_CELLS

    try:
        start, stop = (int(part) for part in text.split(":"))
    except ValueError:
        raise InputError(f"--rows {text}: expected START:STOP, two numbers") from None
    stop = min(stop, n_cells)
    if not 0 <= start < stop or start % BLOCK_CELLS or (stop % BLOCK_CELLS and stop != n_cells):
        raise InputError(
            f"--rows {text}: expected multiples of {BLOCK_CELLS:,} with START below STOP and below the sample's "
            f"{n_cells:,} cells, where the last part ends"
        )
    return start, stop


def parse_layers(text: str) -> list[str]:
    """`sd,lower` as a list in the file's order; `none` is no layer."""
    from spatialimpute.files.imputed import LAYERS

    asked = [] if text == "none" else text.split(",")
    if unknown := [layer for layer in asked if layer not in LAYERS]:
        raise InputError(f"--layers {text}: {unknown[0]!r} is unknown; expected none, or some of {', '.join(LAYERS)}")
    return [layer for layer in LAYERS if layer in asked]


def judged_genes(inputs, genes_path: str | None, evaluation: str | None):
    """The gene table; where there is none, it is made from the gene facts and written to genes.tsv."""
    from spatialimpute.evaluation.gene_table import gene_table
    from spatialimpute.files.sealed import check_digest, read_json
    from spatialimpute.files.tsv import read_tsv, write_tsv

    theirs = inputs.gene_columns  # as they were: a table of text knows less of them
    if not genes_path:
        genes = gene_table(inputs.gene_facts, None, passes=0, warns=0).join(theirs, on="gene")
        write_tsv("genes.tsv", genes, exact=theirs.columns)
        return genes
    if evaluation:
        check_digest(genes_path, read_json(evaluation)["genes_digest"])
    genes = read_tsv(genes_path, texts=("gene", "fold"))
    if genes["gene"].tolist() != inputs.gene_sets.targets:
        raise InputError(f"{genes_path}: its genes are not the gene sets' targets in their order; evaluate again")
    return genes.drop(columns=theirs.columns, errors="ignore").join(theirs, on="gene")


if __name__ == "__main__":
    cli.run(main)
