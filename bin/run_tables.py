#!/usr/bin/env python3
"""Write what the report says of the run as a whole, for MultiQC: parameters, what failed, versions."""

import json
from pathlib import Path

import click
from spatialimpute import cli


@click.command(help=__doc__)
@click.option(
    "--run", "path", required=True, type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="JSON of parameters, versions, samples, failed, failures, as modules/subworkflows/report.nf puts it together.",
)  # fmt: skip
def main(path):
    from spatialimpute.report.run_tables import write_run_tables

    write_run_tables(json.loads(path.read_text()), ".")


if __name__ == "__main__":
    cli.run(main)
