"""Every way to set a parameter reaches what the run publishes and its records, by the pipeline's configuration."""

import json

import pytest

RECORDS = ("report.html", "timeline.html", "dag.html", "trace-*.tsv")
PIPELINE = """
process STEP {
    output:
    path 'a/result'

    script:
    'mkdir a; touch a/result'
}

workflow {
    STEP()
}
"""


def by_flag(_workplace, values):
    return [word for name, value in values.items() for word in (f"--{name}", value)]


def by_params_file(workplace, values):
    (workplace.cwd / "params.json").write_text(json.dumps(values))
    return ["-params-file", "params.json"]


def by_config_file(workplace, values):
    (workplace.cwd / "site.config").write_text(as_config(values))
    return ["-c", "site.config"]


def by_launch_folder(workplace, values):
    (workplace.cwd / "nextflow.config").write_text(as_config(values))
    return []


def by_profile(workplace, values):
    """A profile of the pipeline's own: 25.04's strict parser knows no others."""
    settings = workplace.project / "nextflow.config"
    text = settings.read_text()
    assert text.count("\nprofiles {\n") == 1
    settings.write_text(text.replace("\nprofiles {\n", f"\nprofiles {{\nsite {{\n{as_config(values)}}}\n"))
    return ["-profile", "site"]


def as_config(values) -> str:
    return "".join(f"params.{name} = '{value}'\n" for name, value in values.items())


@pytest.fixture(scope="module")
def workplace(launcher):
    made = launcher("parameters")
    (made.project / "main.nf").write_text(PIPELINE)
    return made


@pytest.mark.parametrize("parser", ["v1", "v2"])
@pytest.mark.parametrize("way", [by_flag, by_params_file, by_config_file, by_launch_folder, by_profile])
def test_results_and_records_go_where_a_parameter_says(workplace, way, parser):
    outdir = f"{way.__name__}_{parser}"
    settings = {"outdir": outdir, "publish_dir_mode": "symlink"}
    original = (workplace.project / "nextflow.config").read_text()
    options = way(workplace, settings)
    before = {path.name for path in workplace.cwd.iterdir()}
    run = workplace.run(*options, profile=None, parser=parser, outdir=None)
    (workplace.cwd / "nextflow.config").unlink(missing_ok=True)
    (workplace.project / "nextflow.config").write_text(original)
    assert run.code == 0, run.text
    folder = workplace.cwd / outdir
    assert (folder / "a/result").is_symlink()
    assert [name for name in RECORDS if not list((folder / "pipeline_info").glob(name))] == []
    new = {path.name for path in workplace.cwd.iterdir()} - before
    assert {name for name in new if not name.startswith(".nextflow")} <= {outdir, "work"}
