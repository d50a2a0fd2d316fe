"""A training that a scheduler ends, that is killed, and whose whole node dies: the results are those of a quiet run.

One run suffers all of it, one after the other, each time as soon as the training has saved something new. Meanwhile
somebody starts a second run into the same folder.
"""

import json
import os
import signal
import time
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import pytest
from nextflow_runs import Run, published


@dataclass
class Story:
    """What was seen: the runs, and the logs of the trainings in the order of their tries."""

    second: Run
    resumed: Run
    quiet: Run
    logs: list[str]


def tries(work: Path) -> list[Path]:
    """The folders of the training's tries, in order."""
    scripts = [path for path in work.glob("??/*/.command.sh") if "train.py" in path.read_text()]
    return [path.parent for path in sorted(scripts, key=lambda path: path.stat().st_mtime)]


def log_of(task: Path) -> str:
    path = task / ".command.err"
    return path.read_text() if path.exists() else ""


def training(task: Path) -> int:
    """The process of a task's training; not its workers, whose parent it is."""
    parents = {}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            if (folder / "cwd").resolve() == task and b"bin/train.py" in (folder / "cmdline").read_bytes():
                parents[int(folder.name)] = int((folder / "stat").read_text().rsplit(")", 1)[1].split()[1])
        except OSError:  # it ended meanwhile
            continue
    (pid,) = [pid for pid, parent in parents.items() if parent not in parents]
    return pid


def wait_for(what) -> None:
    deadline = time.monotonic() + 200
    while not what():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.02)


def training_that_has_saved(work: Path, n: int) -> int:
    """The process of the n-th try, once it has saved a checkpoint of its own."""
    wait_for(lambda: len(tries(work)) == n and "INFO training" in log_of(tries(work)[-1]))
    began = time.time()
    wait_for(lambda: any(path.stat().st_mtime > began for path in (work / "checkpoints").glob("*.safetensors")))
    return training(tries(work)[-1])


@pytest.fixture(scope="module")
def story(launcher, row):
    workplace = launcher("killed")
    checkpoints = workplace.project / "bin/spatialimpute/methods/gimvi/checkpoints.py"
    text = checkpoints.read_text()
    assert "INTERVAL = 30.0" in text
    checkpoints.write_text(text.replace("INTERVAL = 30.0", "INTERVAL = 0.1"))
    sheet = workplace.cwd / workplace.sheet("sheet.csv", [row("a")])
    params = {"input": str(sheet), "cv_folds": 0, "kappa": 0, "n_top_genes": 100, "n_samples": 5}
    (workplace.cwd / "params.json").write_text(json.dumps(params))
    options, work = ("-params-file", str(workplace.cwd / "params.json")), workplace.cwd / "work"

    run = workplace.start(*options)
    time.sleep(3)  # until the first one is past its own start
    second = launcher("second").start(*options, outdir=str(workplace.outdir))
    try:
        os.kill(training_that_has_saved(work, 1), signal.SIGTERM)
        os.kill(training_that_has_saved(work, 2), signal.SIGKILL)
        training_that_has_saved(work, 3)
    finally:
        run.kill()
    refused = second.wait()
    resumed = workplace.run(*options, "-resume")
    quiet = workplace.run(*options, "-work-dir", "quiet", outdir=str(workplace.cwd / "quiet_results"))
    assert resumed.code == 0 and quiet.code == 0, resumed.text + quiet.text
    return Story(refused, resumed, quiet, [log_of(task) for task in tries(work)])


def test_the_bytes_are_those_of_a_quiet_run(story):
    results, expected = published(story.resumed.outdir), published(story.quiet.outdir)
    assert {"a/imputed.h5ad", "a/models/weights.safetensors", "a/models/history.tsv"} <= set(results)
    assert [name for name in expected if results.get(name) != expected[name]] == []
    assert set(results) == set(expected)


def test_the_scheduler_s_and_the_kernel_s_signal_are_tried_again_with_more_memory(story):
    first = min((story.resumed.outdir / "pipeline_info").glob("trace-*.tsv"))
    trace = pd.read_csv(first, sep="\t")
    trainings = trace[trace["process"].str.endswith(":TRAIN")]
    assert trainings["exit"].astype(str).tolist() == ["143", "137"]
    assert trainings["attempt"].tolist() == [1, 2]
    memory = [float(text.split()[0]) for text in trainings["memory"]]
    assert memory[1] > memory[0]
    assert "ERROR: asked to end (SIGTERM)" in story.logs[0]


def test_every_try_continues_from_the_checkpoint(story):
    assert len(story.logs) == 4
    assert "continuing from" not in story.logs[0]
    for log in story.logs[1:]:
        assert "continuing from" in log


def test_finished_tasks_are_kept(story):
    assert story.resumed.ran == ["IMPUTE a", "MULTIQC", "REPORT a", "TRAIN a"]
    assert story.resumed.tasks("CACHED") == ["CHECK_INPUTS sheet", "QC a", "QC reference", "SELECT_GENES a"]


def test_no_checkpoint_is_left(story):
    assert list((story.resumed.outdir.parent / "work/checkpoints").iterdir()) == []


def test_a_second_run_into_the_same_folder_is_refused_in_one_line(story):
    assert story.second.code != 0
    lines = [line for line in story.second.text.splitlines() if "another run is writing" in line]
    assert len(lines) == 1 and str(story.second.outdir) in lines[0] and "another --outdir" in lines[0]
    assert "Submitted" not in story.second.text
    traces = sorted((story.second.outdir / "pipeline_info").glob("trace-*.tsv"))
    assert [len(pd.read_csv(path, sep="\t")) > 0 for path in traces] == [True, False, True]
