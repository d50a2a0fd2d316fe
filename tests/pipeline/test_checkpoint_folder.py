"""Where trainings keep their checkpoints, and what a run says where they cannot."""

import pytest

PIPELINE = """
include { stepOptions } from './modules/options.nf'
include { checkpointFolder } from './modules/run.nf'

workflow {
    println("at ${checkpointFolder(file(params.work))}")
    println("options ${stepOptions(params).train}")
}
"""


@pytest.fixture(scope="module")
def workplace(launcher):
    made = launcher("checkpoints")
    (made.project / "main.nf").write_text(PIPELINE)
    return made


def test_a_folder_of_a_file_system_holds_them(workplace):
    run = workplace.run("--work", "/somewhere/work")
    assert "at /somewhere/work/checkpoints" in run.text.splitlines()
    assert f"--checkpoint-dir '{workplace.cwd}/work/checkpoints'" in run.text
    assert "WARN" not in run.text


def test_an_object_store_holds_none_which_is_said_in_one_line(workplace):
    run = workplace.run("--work", "http://127.0.0.1/bucket/work")
    assert "at null" in run.text.splitlines()
    (line,) = [line for line in run.text.splitlines() if "WARN" in line]
    assert "http://127.0.0.1/bucket/work" in line and "no checkpoints" in line
