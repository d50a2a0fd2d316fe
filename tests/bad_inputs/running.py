"""Steps of bin/, run in this process: a new one for each bad input would take minutes."""

import contextlib
import io
import json
import logging
import runpy
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def run(command: str, arguments: list, folder: Path) -> tuple[int, str]:
    """Run a step of bin/ in this process; its exit code and what it wrote to stderr."""
    stderr, argv, level = io.StringIO(), sys.argv, logging.getLogger().level
    handler = logging.StreamHandler(stderr)
    logging.getLogger().addHandler(handler)
    sys.argv = [command, *map(str, arguments)]
    try:
        with contextlib.chdir(folder), contextlib.redirect_stderr(stderr):
            runpy.run_path(str(ROOT / "bin" / f"{command}.py"), run_name="__main__")
        return 0, stderr.getvalue()
    except SystemExit as end:
        return end.code or 0, stderr.getvalue()
    finally:
        sys.argv = argv
        logging.getLogger().removeHandler(handler)
        logging.getLogger().setLevel(level)


def check_inputs(folder: Path, params: dict) -> list:
    given = {"input": "sheet.csv", "outdir": "results"} | params
    (folder / "params.json").write_text(json.dumps(given))
    return [
        "--input", folder / "sheet.csv", "--params", folder / "params.json", "--schema", ROOT / "nextflow_schema.json",
        "--sheet-schema", ROOT / "assets/schema_input.json", "--methods", ROOT / "assets/methods.json",
        "--base-dir", folder, "--launch-dir", folder,
    ]  # fmt: skip


def qc(name: str, role: str, *arguments) -> list:
    return ["--id", name, "--role", role, *arguments]
