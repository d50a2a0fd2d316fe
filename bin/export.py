#!/usr/bin/env python3
"""Write an imputed file as other tools want it: a SpatialData store, or a matrix for Xenium Explorer."""

import logging
from pathlib import Path

import click
from spatialimpute import cli

log = logging.getLogger("export")
PATH = click.Path(exists=True, path_type=Path)


@click.command(help=__doc__)
@click.option("--sample", required=True, help="The sample's name, as in the sheet.")
@click.option("--inputs", "folder", required=True, type=PATH, help="SELECT_GENES' folder.")
@click.option("--imputed", required=True, type=PATH, help="The imputed file or zarr folder.")
@click.option("--format", "format_", required=True, type=click.Choice(["spatialdata", "explorer"]))
@click.option("--raw", type=PATH, help="The sample's Xenium folder, whose cells the matrix for Xenium Explorer has.")
@click.option("--threads", default=1, show_default=True, type=click.IntRange(min=1))
def main(sample, folder, imputed, format_, raw, threads):
    cli.set_threads(1)
    from spatialimpute.files.counts import read_info
    from spatialimpute.files.imputed import imputed_facts
    from spatialimpute.files.inputs import SampleInputs
    from spatialimpute.files.sealed import check_seal

    check_seal(imputed)
    imputed_facts(imputed)
    if format_ == "explorer":
        from spatialimpute.export.explorer import write_explorer

        if raw is None:
            raise click.UsageError("--format explorer needs --raw")
        path = "explorer/cell_feature_matrix.zarr.zip"
        write_explorer(path, imputed, raw)
    else:
        from spatialimpute.export.store import write_store

        path = "spatialdata.zarr"
        write_store(path, imputed, read_info(SampleInputs(folder).spatial_path).get("annotates"), threads)
    log.info("%s: wrote %s", sample, path)


if __name__ == "__main__":
    cli.run(main, environment="export")
