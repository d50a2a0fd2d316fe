"""The modules' nf-test files, without nf-test: every test's inputs go through its process, as a stub.

What nf-test does besides, its assertions on what comes out, is left to nf-test.
"""

import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


def calls(path: Path) -> list[tuple[str, str]]:
    """Of each test in the file: the process, and the lines that assign its inputs."""
    text = path.read_text()
    process = re.search(r'process "(\w+)"', text).group(1)
    blocks = re.findall(r'process \{\s*"""(.*?)"""', text, re.S)
    assert len(blocks) == text.count("test(") > 0, path
    return [(process, block.replace("${projectDir}", str(ROOT))) for block in blocks]


@pytest.fixture(scope="module")
def workflow(tmp_path_factory) -> tuple[Path, int]:
    """One workflow of all tests, and their number."""
    folder = tmp_path_factory.mktemp("modules")
    includes, body, number = [], [], 0
    for module in sorted((ROOT / "modules/local").iterdir()):
        for process, inputs in calls(module / "tests/main.nf.test"):
            number += 1
            includes.append(f"include {{ {process} as T{number}_{process} }} from '{module}/main.nf'")
            body.append(f"input{number} = []\n" + inputs.replace("input[", f"input{number}["))
            body.append(f"T{number}_{process}(*input{number})")
    (folder / "main.nf").write_text("\n".join([*includes, "workflow {", *body, "}\n"]))
    return folder, number


def test_inputs_of_the_modules_tests_fit_their_processes(workflow):
    folder, number = workflow
    command = [ROOT / ".venv/bin/nextflow", "run", "main.nf", "-stub-run", "-ansi-log", "false"]
    command += ["-c", ROOT / "nextflow.config", "-process.beforeScript", f"export PATH={ROOT}/.venv/bin:$PATH"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count("Submitted process") == number
