#!/usr/bin/env python3
"""Draw one sample's figures and write its sections of the report as MultiQC custom content."""

import logging

import click
from spatialimpute import cli

log = logging.getLogger("report")
FILE = click.Path(exists=True, dir_okay=False)


@click.command(help=__doc__)
@click.option("--sample", required=True, help="The sample's name, as in the sheet.")
@click.option("--inputs", required=True, type=cli.FOLDER, help="SELECT_GENES' folder.")
@click.option(
    "--results", required=True, type=cli.FOLDER, help="The sample's result files, under their names, anywhere in it."
)
@click.option("--methods", required=True, type=FILE, help="assets/methods.json.")
@click.option("--threads", default=1, show_default=True, type=click.IntRange(min=1))
def main(sample, inputs, results, methods, threads):
    cli.set_threads(threads)
    from spatialimpute.report.build import write_report
    from spatialimpute.report.inputs import read_sample

    logging.getLogger("fontTools").setLevel(logging.WARNING)
    write_report(read_sample(sample, inputs, results, methods), ".")
    log.info("%s: report written", sample)


if __name__ == "__main__":
    cli.run(main)
