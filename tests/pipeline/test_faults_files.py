"""Files that go wrong under a run: full disks, damaged intermediates, a reference that is gone, odd dates, read-only
inputs. Steps of the project's copy do at their start what the test wants to happen at that moment.
"""

import json
import os
import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest
from nextflow_runs import Run, published

FUTURE = 4_000_000_000  # the year 2096
FILL = """
import shutil
disk = Path({!r})
(disk / "filler").write_bytes(bytes(shutil.disk_usage(disk).free - 150_000))
"""


class Workplace:
    """A launcher whose steps QC and IMPUTE first run the Python code that the test has laid down for them."""

    def __init__(self, launcher):
        self.launcher = launcher("files")
        self.cwd = self.launcher.cwd
        for step in ("qc", "impute"):
            path, entry = self.launcher.project / f"bin/{step}.py", 'if __name__ == "__main__":\n'
            hook = f"    from pathlib import Path\n    exec(Path({str(self._plan(step))!r}).read_text())\n"
            assert path.read_text().count(entry) == 1
            path.write_text(path.read_text().replace(entry, entry + hook))
            self.plan(step, "")
        params = {"cv_folds": 0, "kappa": 0, "max_steps": 30, "n_top_genes": 100, "n_samples": 5}
        (self.cwd / "params.json").write_text(json.dumps(params))

    def _plan(self, step: str) -> Path:
        return self.cwd / f"{step}.plan"

    def plan(self, step: str, code: str) -> None:
        self._plan(step).write_text(code)

    def run(self, sheet: str, outdir: Path, *options: str) -> Run:
        return self.launcher.run("-params-file", "params.json", "--input", sheet, *options, outdir=str(outdir))


@pytest.fixture(scope="module")
def workplace(launcher):
    return Workplace(launcher)


def complaints(run: Run) -> dict[str, str]:
    """Failed task -> its line among the run's last ones."""
    return dict(re.findall(r"^FAILED (.+?): ERROR: (.+)$", run.text, re.M))


# ---- a full disk, first that of the work folder, then that of the results ----


@dataclass
class Filled:
    work: Run
    work_left: list[str]
    results: Run
    results_left: dict[str, bytes]
    freed: Run
    disks: dict[str, Path]


@pytest.fixture(scope="module")
def filled(workplace, tmpfs, row):
    disks = {name: tmpfs("64m") for name in ("work", "results")}
    sheet = workplace.launcher.sheet("one.csv", [row("a")])
    options = ("-work-dir", str(disks["work"] / "work"))

    def run(full: str | None, *more: str) -> Run:
        for disk in disks.values():
            (disk / "filler").unlink(missing_ok=True)
        workplace.plan("impute", FILL.format(str(disks[full])) if full else "")
        return workplace.run(sheet, disks["results"] / "results", *options, *more)

    work = run("work")
    work_left = [path.name for path in (disks["work"] / "work").rglob("imputed.h5ad*")]
    results = run("results", "-resume")
    results_left = published(disks["results"] / "results")
    return Filled(work, work_left, results, results_left, run(None, "-resume"), disks)


def test_a_full_work_disk_is_said_once_and_leaves_no_half_file(filled):
    assert filled.work.code != 0
    assert filled.work.tasks("FAILED") == ["IMPUTE a"]
    assert filled.work.trace.set_index("process").loc["IMPUTE", "exit"] == 73
    message = complaints(filled.work)["IMPUTE (a)"]
    assert f"no space left, or a quota used up, in {filled.disks['work']}" in message and "-resume" in message
    assert filled.work_left == []
    assert "Traceback" not in filled.work.text


def test_a_full_results_disk_is_said_once_and_leaves_no_half_file(filled, dated):
    assert filled.results.code != 0
    assert "IMPUTE a" in filled.results.tasks("COMPLETED")
    (line,) = [line for line in filled.results.text.splitlines() if line.startswith("ERROR: no space left")]
    assert str(filled.disks["results"]) in line and "-resume" in line
    whole = dated.kept
    assert "a/imputed.h5ad" not in filled.results_left
    assert [name for name, content in filled.results_left.items() if whole[name] != content] == []


def test_with_room_again_what_is_missing_is_made_and_published(filled, dated):
    assert filled.freed.code == 0, filled.freed.text
    assert {"QC a", "TRAIN a", "IMPUTE a"} <= set(filled.freed.tasks("CACHED"))
    results, whole = published(filled.freed.outdir), dated.kept
    assert results == {name: content for name, content in whole.items() if not name.startswith("b/")}


# ---- inputs on a read-only disk whose clock is ahead; then damage in the work folder and a reference that is gone ----


@dataclass
class Dated:
    first: Run
    damaged: Run
    files: dict[str, Path]
    kept: dict[str, bytes]
    left: dict[str, bytes]
    mended: Run


def flip_a_bit(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def cut_short(path: Path) -> None:
    with path.open("r+b") as file:
        file.truncate(path.stat().st_size - 1000)


def damage(path: Path, how) -> Path:
    """Dates stay: a disk that rots does not tell."""
    before = path.stat()
    how(path)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    return path


def intermediate(work: Path, pattern: str, sample: str) -> Path:
    """The file of that name that a task of the sample made."""
    (path,) = [path for path in work.glob(f"*/*/{sample}/{pattern}") if not path.is_symlink()]
    return path


def inputs_of(work: Path, sample: str) -> Path:
    """What SELECT_GENES made for the later steps of the sample."""
    return intermediate(work, "counts/gene_sets.json", sample).parents[2] / "inputs"


@pytest.fixture(scope="module")
def dated(workplace, tmpfs, tissue, row):
    disk = tmpfs("8m")
    for path in tissue.glob("*.h5ad"):
        shutil.copyfile(path, disk / path.name)
        os.utime(disk / path.name, (FUTURE, FUTURE))
    subprocess.run(["mount", "-o", "remount,ro", disk], check=True)
    files = {"spatial": "spatial.h5ad", "reference": "reference.h5ad"}
    a = row("a") | {side: disk / name for side, name in files.items()}
    b = a | {"sample": "b", "spatial": disk / "spatial_2.h5ad"}
    c = a | {"sample": "c", "reference": "own_reference.h5ad"}
    own = Path(shutil.copyfile(disk / "reference.h5ad", workplace.cwd / "own_reference.h5ad"))
    outdir = workplace.cwd / "dated"

    first = workplace.run(workplace.launcher.sheet("two.csv", [a, b]), outdir)
    kept, work = published(outdir), workplace.cwd / "work"
    damaged = {
        "a": damage(inputs_of(work, "a") / "spatial.h5ad", flip_a_bit),
        "b": damage(intermediate(work, "models/weights.safetensors", "b"), cut_short),
    }
    three = workplace.launcher.sheet("three.csv", [a, b, c])
    workplace.plan("qc", f"import sys\nif 'own_reference.h5ad' in ' '.join(sys.argv): Path({str(own)!r}).unlink()")
    second = workplace.run(three, outdir, "--n_samples", "6", "-resume")
    left = published(outdir)
    workplace.plan("qc", "")
    for message in complaints(second).values():
        if remedy := re.search(r"Remove (\S+) and run again with -resume", message):
            shutil.rmtree(remedy[1])
    shutil.copyfile(disk / "reference.h5ad", own)
    mended = workplace.run(three, outdir, "--n_samples", "6", "-resume")
    return Dated(first, second, damaged, kept, left, mended)


def test_read_only_inputs_of_the_future_are_read(dated):
    assert dated.first.code == 0, dated.first.text
    assert {"a/imputed.h5ad", "b/imputed.h5ad"} <= set(dated.kept)


def test_a_damaged_file_is_named_and_not_used(dated):
    assert dated.damaged.code != 0
    assert dated.damaged.tasks("FAILED") == ["IMPUTE a", "IMPUTE b", "QC own_reference"]
    exits = dated.damaged.trace.set_index("tag")["exit"]
    assert exits["a"].tolist().count(74) == exits["b"].tolist().count(74) == 1
    for sample, path in dated.files.items():
        message = complaints(dated.damaged)[f"IMPUTE ({sample})"]
        assert str(path) in message and "damaged" in message and "-resume" in message


def test_results_stay_and_damage_does_not(dated):
    """-resume publishes a cached task's files again, damaged or not, until the task is repeated."""
    rotten = {f"b/models/{dated.files['b'].name}"}
    assert {name for name in dated.kept if dated.left[name] != dated.kept[name]} == rotten
    mended = published(dated.mended.outdir)
    assert {name for name in rotten if mended[name] != dated.kept[name]} == set()


def test_a_reference_that_is_gone_is_named(dated):
    message = complaints(dated.damaged)["QC (own_reference)"]
    assert "own_reference.h5ad" in message and "no such file" in message
    assert "Traceback" not in dated.damaged.text


def test_with_what_the_messages_name_removed_their_steps_are_repeated(dated):
    assert dated.mended.code == 0, dated.mended.text
    assert {"SELECT_GENES a", "TRAIN b", "QC own_reference", "IMPUTE c"} <= set(dated.mended.ran)
    assert {"QC a", "QC b", "QC reference", "SELECT_GENES b"} <= set(dated.mended.tasks("CACHED"))
    assert {f"{sample}/imputed.h5ad" for sample in "abc"} <= set(published(dated.mended.outdir))
