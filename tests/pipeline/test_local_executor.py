"""The stand-in for Nextflow's accounting of this machine's CPUs and memory (containers/local/nextflow)."""

import subprocess
from pathlib import Path

import pytest


def test_tasks_that_begin_and_end_at_once_leave_the_machine_free(root):
    share = root / ".venv/share/nextflow"
    if not (share / "jars").exists():
        pytest.skip("this machine's own Nextflow is used, not the jars from Maven Central")
    script = Path(__file__).parent / "local_executor.groovy"
    opens = [f"--add-opens=java.base/java.{package}=ALL-UNNAMED" for package in ("lang", "io", "util")]
    done = subprocess.run(
        ["java", *opens, "-cp", f"{share}/mended:{share}/jars/*", "groovy.ui.GroovyMain", script],
        capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert [line for line in done.stdout.splitlines() if " DEBUG " not in line] == [
        "whole machine after all tasks ended: true",
        "two CPUs beside three: false",
        "one CPU beside three: true",
        "8 GB beside 1 GB: false",
        "two CPUs after three: true",
        "more cpus than there are: Process requirement exceeds available CPUs -- req: 5; avail: 4",
        "more memory than there are: Process requirement exceeds available memory -- req: 9 GB; avail: 8 GB",
    ], done.stderr
