#!/usr/bin/env python3
"""Check the samplesheet, the files it names and the parameters; list every problem at once."""

import json
import logging
from pathlib import Path

import click
from spatialimpute.cli import run
from spatialimpute.errors import InputError

log = logging.getLogger("check_inputs")
EXISTING = click.Path(exists=True, dir_okay=False, path_type=Path)
FOLDER = click.Path(file_okay=False, path_type=Path)


@click.command(help=__doc__)
@click.option("--input", "sheet_path", type=click.Path(path_type=Path), required=True, help="Samplesheet.")
@click.option("--params", "params_path", type=EXISTING, required=True, help="Nextflow's params as JSON.")
@click.option("--schema", type=EXISTING, required=True, help="nextflow_schema.json")
@click.option("--sheet-schema", type=EXISTING, required=True, help="schema_input.json")
@click.option("--methods", type=EXISTING, required=True, help="methods.json")
@click.option("--base-dir", type=FOLDER, required=True, help="Folder that the sheet's relative paths start from.")
@click.option("--launch-dir", type=FOLDER, help="Folder that relative paths in parameters start from.")
@click.option("--local", is_flag=True, help="Every step runs on this machine as it is.")
@click.option("--out", type=click.Path(path_type=Path), default="samples.json", show_default=True)
def main(sheet_path, params_path, schema, sheet_schema, methods, base_dir, launch_dir, local, out):
    from spatialimpute.check.exports import check_environment, check_explorer
    from spatialimpute.check.gene_spellings import GeneColumns, choose_gene_columns
    from spatialimpute.check.named_files import check_accelerator, check_param_files, param_aliases
    from spatialimpute.check.params import check_methods, check_params, load_schema
    from spatialimpute.check.sheet import Sheet, numbered
    from spatialimpute.files.sealed import whole

    params, problems = check_params(json.loads(params_path.read_text()), load_schema(schema))
    problems += check_methods(params, methods)
    if local:
        problems += check_accelerator(params) + check_environment(params)
    samples, read = [], GeneColumns()
    try:
        sheet = Sheet(sheet_path, sheet_schema, base_dir)
    except InputError as error:
        problems.append(str(error))
    else:
        problems += sheet.problems
        samples = sheet.samples
        problems += check_param_files(params, launch_dir, samples, read) + check_explorer(params, samples)
    if problems:
        raise InputError(numbered(f"samplesheet {sheet_path.name} and parameters", problems))
    for sentence in choose_gene_columns(samples, param_aliases(params, launch_dir), read):
        log.info("%s", sentence)
    with whole(out) as partial:
        partial.write_text(json.dumps(samples, indent=1, ensure_ascii=False) + "\n")
    for text in (text for sample in samples for text in sample.get("notes", ())):
        log.info("%s", text)
    for text in (text for sample in samples for text in sample.get("warnings", ())):
        log.warning("%s", text)
    references = {entry["id"] for sample in samples for entry in sample["reference"] + sample["alternatives"]}
    log.info("%d samples, %d references, no problem found", len(samples), len(references))


if __name__ == "__main__":
    run(main)
