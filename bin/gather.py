#!/usr/bin/env python3
"""Join the parts that impute.py --rows wrote into one imputed file, the same as without --rows."""

import logging

import click
from spatialimpute import cli
from spatialimpute.errors import InputError

log = logging.getLogger("gather")


@click.command(help=__doc__)
@click.option("--sample", required=True, help="The sample's name, as in the sheet.")
@click.option("--inputs", "folder", required=True, type=cli.FOLDER, help="SELECT_GENES' folder.")
@click.option(
    "--parts", required=True, multiple=True, type=click.Path(exists=True), help="A part, or a folder of them."
)
@click.option("--imputed-format", default="auto", show_default=True, type=click.Choice(["auto", "h5ad", "zarr"]))
@click.option("--threads", default=1, show_default=True, type=click.IntRange(min=1))
def main(sample, folder, parts, imputed_format, threads):
    cli.set_threads(1)
    from spatialimpute.files.chunks import Grid
    from spatialimpute.files.counts import read_counts
    from spatialimpute.files.imputed import ImputedWriter, choose_format, write_latent
    from spatialimpute.files.inputs import SampleInputs
    from spatialimpute.files.parts import Parts
    from spatialimpute.folds import blocks
    from spatialimpute.imputation.cell_types import transfer_celltypes
    from spatialimpute.imputation.in_order import map_in_order

    inputs, found = SampleInputs(folder), Parts(part_paths(parts))
    if found.n_cells != inputs.n_cells:
        raise InputError(f"{folder}: holds {inputs.n_cells:,} cells, the parts are of {found.n_cells:,}")
    spatial = inputs.spatial(genes=[], every_column=True)
    grid = Grid.of(found.n_cells, len(found.genes))
    path = f"imputed.{choose_format(imputed_format, grid, found.layers)}"
    with ImputedWriter.open(path, grid, found.layers, spatial, found.genes, {"spatialimpute": found.facts}) as writer:
        chunks = blocks(grid.n_cells, grid.rows)
        for encoded in map_in_order(lambda rows: writer.encode(found.read(rows)), chunks, threads):
            writer.write(encoded)
        references = [read_counts(path, genes=[]) for path in inputs.reference_paths]
        writer.further = transfer_celltypes(references, found.reference_latents, writer.latent, writer.supported)
    write_latent("latent.h5ad", spatial, writer.latent, references, found.reference_latents)
    log.info("%s: gathered %d parts", sample, len(found.parts))


def part_paths(given: tuple[str, ...]) -> list:
    """The files given, and those of folders."""
    from pathlib import Path

    paths = [file for path in map(Path, given) for file in (path.glob("part.*.h5ad") if path.is_dir() else [path])]
    if not paths:
        raise InputError(f"--parts {given[0]}: expected parts that impute.py --rows wrote; it holds none")
    return paths


if __name__ == "__main__":
    cli.run(main)
