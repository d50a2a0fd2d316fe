#!/usr/bin/env python3
"""Simulate a cortex-like tissue: spatial.h5ad, reference.h5ad, truth.h5ad and samplesheet.csv."""

import logging
from pathlib import Path

import click
from spatialimpute import cli

log = logging.getLogger("simulate")


@click.command(help=__doc__)
@click.option("--out-dir", default=".", show_default=True, type=click.Path(file_okay=False, path_type=Path))
@click.option("--n-spatial", default=2000, show_default=True, type=click.IntRange(min=2), help="Spatial cells.")
@click.option("--n-reference", default=2000, show_default=True, type=click.IntRange(min=2), help="Reference cells.")
@click.option("--n-panel", default=120, show_default=True, type=click.IntRange(min=10), help="Panel genes.")
@click.option("--n-genes", default=1200, show_default=True, type=click.IntRange(min=50), help="Reference genes.")
@click.option(
    "--n-truth", default=20_000, show_default=True, type=click.IntRange(min=1), help="Spatial cells with truth."
)
@click.option(
    "--samples", default=1, show_default=True, type=click.IntRange(min=1), help="Sections that share the reference."
)
@click.option("--seed", default=0, show_default=True, type=click.IntRange(min=0))
def main(out_dir, n_spatial, n_reference, n_panel, n_genes, n_truth, samples, seed):
    if n_panel > n_genes:
        raise click.UsageError(f"--n-panel {n_panel} is larger than --n-genes {n_genes}")
    from spatialimpute.simulation import samples as simulation
    from spatialimpute.simulation.tissue import Tissue

    out_dir.mkdir(parents=True, exist_ok=True)
    tissue = Tissue(n_genes, n_panel, seed)
    simulation.write_reference(out_dir / "reference.h5ad", tissue, n_reference)
    for i in range(samples):
        spatial, truth = (out_dir / simulation.section_file(kind, i) for kind in ("spatial", "truth"))
        simulation.write_spatial(spatial, truth, tissue, n_spatial, n_truth, section=i)
    simulation.write_samplesheet(out_dir / "samplesheet.csv", samples)
    log.info("simulated %d x %d spatial and %d reference cells in %s", samples, n_spatial, n_reference, out_dir)


if __name__ == "__main__":
    cli.run(main)
