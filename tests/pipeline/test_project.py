"""The project as a whole: its files agree with each other, and set-up says what is missing."""

import json
import os
import re
import runpy
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml
from spatialimpute import __version__
from spatialimpute.methods.gimvi.settings import PRESETS, Settings

#: The folders and files of the root; the rest are files that tools look for there.
TOP_LEVEL = {
    "main.nf", "nextflow.config", "modules", "bin", "containers", "tests", "assets", "docs", "README.md",
    ".ci", ".editorconfig", ".gitignore", "CHANGELOG.md", "CITATIONS.md", "LICENSE", "Makefile", "nextflow_schema.json",
    "pyproject.toml",
}  # fmt: skip


def test_nothing_else_lies_at_the_root(root):
    tracked = subprocess.run(["git", "ls-files"], cwd=root, capture_output=True, text=True, check=False)
    if tracked.returncode != 0:
        pytest.skip(f"git does not list this folder's files: {tracked.stderr.strip()}")
    assert {path.split("/")[0] for path in tracked.stdout.splitlines()} == TOP_LEVEL


def test_nextflow_and_python_name_the_same_version(root):
    manifest = re.search(r"version\s*=\s*'([^']+)'", (root / "nextflow.config").read_text()).group(1)
    assert manifest == __version__


def schema_defaults(root) -> dict:
    schema = json.loads((root / "nextflow_schema.json").read_text())
    return {
        name: spec.get("default") for group in schema["$defs"].values() for name, spec in group["properties"].items()
    }


def test_defaults_are_those_of_the_schema(root):
    block = re.search(r"^params \{(.*?)^\}", (root / "nextflow.config").read_text(), re.S | re.M).group(1)
    given = dict(re.findall(r"^    (\w+)\s*= (.+)$", block, re.M))
    values = {name: yaml.safe_load(text) for name, text in given.items()}
    assert values == schema_defaults(root)


def test_scripts_have_the_defaults_of_the_schema(root):
    """But for predict.py's κ, one list where the pipeline's parameters are a value and a grid."""
    documented = schema_defaults(root)
    for script in (root / "bin").glob("*.py"):
        for option in runpy.run_path(str(script))["main"].params:
            given = option.to_info_dict()["default"]
            if (
                option.name in documented
                and given is not None
                and (script.name, option.name) != ("predict.py", "kappa")
            ):
                assert given == documented[option.name], f"{script.name} --{option.name}"


def test_usage_lists_the_defaults_of_the_schema_and_of_the_presets(root):
    text = re.search(r"^## Parameters$(.*?)^### Methods", (root / "docs/usage.md").read_text(), re.S | re.M).group(1)
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in text.splitlines() if line.startswith("| `")]
    listed = {row[0].strip("`"): row[1:-1] for row in rows}
    documented = schema_defaults(root)
    assert set(listed) == set(documented)
    for name, cells in listed.items():
        values = [yaml.safe_load(cell.strip("`")) for cell in cells]
        if documented[name] not in (None, "") and name != "preset":
            assert set(values) == {documented[name]}, name
        elif name in Settings.__dataclass_fields__ and name != "max_steps":
            written = {"by technology": "auto"}
            presets = [getattr(PRESETS[preset], name) for preset in ("default", "paper")]
            if name == "blend":
                presets = [",".join(methods) or "none" for methods in presets]
            assert [written.get(value, value) for value in values] == presets, name


def test_nextflow_code_is_lint_clean(root):
    done = subprocess.run(
        [root / ".venv/bin/nextflow", "lint", "main.nf", "nextflow.config", "assets/conf", "modules"],
        cwd=root, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout
    assert "had no errors" in done.stdout and "Warn" not in done.stdout


def test_every_module_has_what_a_process_needs(root):
    for module in (root / "modules/local").iterdir():
        text = (module / "main.nf").read_text()
        for part in ("conda ", "container ", "input:", "output:", "emit:", "script:", "stub:", "package_digest"):
            assert part in text, f"{module.name}: {part}"
        assert ("topic: versions" in text) == (module.name != "multiqc")


def test_methods_have_entries_of_one_form_and_an_environment(root):
    """`gimvi`, whose models impute, among them; an environment can be made as an image and by conda."""
    methods = json.loads((root / "assets/methods.json").read_text())
    assert set(methods) >= {"gimvi", "knn", "celltype", "total"}
    for name, method in methods.items():
        assert list(method) == [
            "label", "environment", "command", "cpus", "memory", "time", "gpu", "uncertainty", "reference", "license",
        ], name  # fmt: skip
        assert set(method["memory"]) == {"base", "spatial_cell", "reference_cell"}
        assert (root / "containers/envs" / method["environment"]).is_dir()
    defaults = re.search(r"methods +?= '(.+)'", (root / "nextflow.config").read_text()).group(1).split(",")
    assert set(defaults) < set(methods)


def test_no_script_of_a_method_hides_the_package_that_it_imports(root):
    """A script's folder comes first where Python looks for modules."""
    scripts = {path.stem: path.read_text() for path in (root / "bin/methods").glob("*.py")}
    for name, text in scripts.items():
        assert not re.search(rf"^\s*(import|from) {name}\b", text, re.M), name
    for method in json.loads((root / "assets/methods.json").read_text()).values():
        assert method["command"] is None or Path(method["command"].split()[-1]).stem in scripts


class Checkout:
    """A copy of the set-up, on a PATH that holds only what is put there."""

    def __init__(self, root: Path, folder: Path):
        self.folder = folder
        self.tools = folder / "tools"
        self.tools.mkdir()
        shutil.copytree(root / "containers/local", folder / "containers/local")
        for name in (
            "bash",
            "env",
            "cat",
            "sha256sum",
            "dirname",
            "sed",
            "mkdir",
            "mktemp",
            "rm",
            "sort",
            "head",
            "ln",
        ):
            self.tool(name, target=shutil.which(name))

    def tool(self, name: str, script: str = "", target: str | None = None) -> None:
        path = self.tools / name
        if target:
            path.symlink_to(target)
        else:
            path.write_text(f"#!{shutil.which('bash')}\n{script}\n")
            path.chmod(0o755)

    def setup(self, what: str) -> tuple[int, str]:
        done = subprocess.run(
            ["bash", "containers/local/setup.sh", what],
            cwd=self.folder, env={"PATH": str(self.tools), "HOME": os.environ["HOME"]}, capture_output=True, text=True,
            check=False, timeout=60,
        )  # fmt: skip
        return done.returncode, done.stderr


@pytest.fixture
def checkout(root, tmp_path):
    return Checkout(root, tmp_path)


def test_a_missing_python_is_said_in_one_line(checkout):
    checkout.tool("python3", "exit 1  # too old")
    code, message = checkout.setup("python")
    assert code != 0
    assert message.count("\n") == 1 and "Python 3.11" in message and "install" in message


@pytest.mark.parametrize(
    ("java", "expected"), [(None, "no Java"), ("echo 'openjdk version \"11.0.2\"' >&2", "Java 11 is too old")]
)
def test_a_missing_or_old_java_is_said_in_one_line(checkout, java, expected):
    if java:
        checkout.tool("java", java)
    code, message = checkout.setup("nextflow")
    assert code != 0
    assert message.count("\n") == 1 and expected in message and "17" in message


def test_neither_nextflow_nor_network_nor_maven_is_said_in_one_line(checkout):
    checkout.tool("java", "echo 'openjdk version \"17.0.2\"' >&2")
    checkout.tool("curl", "exit 6")
    code, message = checkout.setup("nextflow")
    assert code != 0
    last = message.splitlines()[-1]
    assert "Nextflow 25.04" in last and "Maven" in last


def test_a_nextflow_on_the_path_is_used_if_it_is_new_enough(checkout):
    checkout.tool("java", "echo 'openjdk version \"21\"' >&2")
    checkout.tool("curl", "exit 6")
    checkout.tool("nextflow", "echo nextflow version 24.10.1.5930")
    assert checkout.setup("nextflow")[0] != 0
    checkout.tool("nextflow", "echo nextflow version 25.10.0.1234")
    assert checkout.setup("nextflow")[0] == 0
    assert (checkout.folder / ".venv/bin/nextflow").resolve() == checkout.tools / "nextflow"
