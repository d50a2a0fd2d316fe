#!/usr/bin/env python3
"""QC: one raw file of counts to canonical counts and an account of what was dropped."""

import json
import logging
from pathlib import Path

import click
from spatialimpute import cli
from spatialimpute.errors import InputError

log = logging.getLogger("qc")


@click.command(context_settings={"show_default": True})
@click.option("--id", "id_", required=True, help="Name of the dataset.")
@click.option("--role", type=click.Choice(["spatial", "reference"]), required=True)
@click.option("--technology", default="scRNA-seq", help="Technology, as in the samplesheet.")
@click.option("--input", "path", type=click.Path(path_type=Path), required=True, help="Raw file or folder.")
@click.option("--part", help="The one of several matrices in it that is wanted.")
@click.option("--source", type=click.Path(path_type=Path), help="Where the user has it; named in messages.")
@click.option(
    "--coords",
    type=click.Path(exists=True, path_type=Path),
    help="Table of coordinates (default: beside it).",
)
@click.option("--batch-key", help="Column of the cells that names their batch.")
@click.option("--celltype-key", help="Column of the cells that names their cell type.")
@click.option("--others", help="JSON list of columns that no file of the sheet's other side knows as genes.")
@click.option("--gene-column", help="Column of the genes that names them, or 'index' (default: the usual one).")
@click.option("--gene-aliases", type=click.Path(exists=True, path_type=Path), help="TSV of alias and symbol.")
@click.option("--min-counts", type=click.IntRange(min=0), default=1, help="Fewest counts of a cell.")
@click.option("--min-genes", type=click.IntRange(min=0), default=1, help="Fewest detected genes of a cell.")
@click.option(
    "--max-mad",
    type=click.FloatRange(min=0),
    default=5.0,
    help="MADs beyond which cells are outliers; 0: none.",
)
@click.option("--drop-outliers/--flag-outliers", default=False, help="Drop outliers, or only flag them.")
def main(
    id_,
    role,
    technology,
    path,
    part,
    source,
    coords,
    batch_key,
    celltype_key,
    others,
    gene_column,
    gene_aliases,
    min_counts,
    min_genes,
    max_mad,
    drop_outliers,
):
    """Clean one dataset's counts; writes counts.h5ad, qc.json and qc.tsv."""
    cli.set_threads(1)
    from spatialimpute.check.gene_aliases import read_aliases
    from spatialimpute.files.counts import write_counts
    from spatialimpute.files.sealed import digest_all, write_json
    from spatialimpute.files.tsv import write_tsv
    from spatialimpute.qc.clean import Thresholds, clean_counts, steps_table
    from spatialimpute.sources import open_source
    from spatialimpute.sources.coordinates import find_sidecar

    if coords is None and role == "spatial":
        coords = find_sidecar(path)
    try:
        raw_source = open_source(path / part if part else path)
        others = None if others is None else json.loads(others)
        raw = raw_source.read([key for key in (batch_key, celltype_key) if key], coords, others)
        counts, summary = clean_counts(
            raw,
            id=id_,
            role=role,
            technology=technology,
            source=f"{path.name}/{part}" if part else path.name,
            source_digest=digest_all(raw_source.files()),
            batch_key=batch_key,
            celltype_key=celltype_key,
            gene_column=gene_column,
            aliases=read_aliases(gene_aliases) if gene_aliases else None,
            others=others,
            thresholds=Thresholds(min_counts, min_genes, max_mad, drop_outliers),
        )
    except InputError as error:
        raise InputError(located(str(error), path, source or path)) from error
    write_counts("counts.h5ad", counts)
    write_json("qc.json", summary)
    write_tsv("qc.tsv", steps_table(summary))
    kept = "{n_cells} of {n_cells_in} cells, {n_genes} of {n_genes_in} genes kept, {n_outliers} outliers"
    log.info("%s: %s", id_, kept.format(**summary))
    log.info("%s: raw counts from %s, genes named by %s", id_, summary["counts_from"], summary["gene_names_from"])
    for step in summary["steps"]:
        log.info("%s: %s: %d %s (%s)", id_, step["step"], step["n"], step["axis"], step["reason"])
    for warning in summary["warnings"]:
        log.warning("%s: %s", id_, warning)


def located(message: str, path: Path, source: Path) -> str:
    """The message with the file where the user has it, in place of where this step sees it."""
    for seen, there in ((str(path), str(source)), (path.name, str(source)), (f"{path.parent}/", f"{source.parent}/")):
        if message.startswith(seen):
            return there + message.removeprefix(seen)
    return message


if __name__ == "__main__":
    cli.run(main)
