"""Every bad input ends at once, in one message that names the place and the remedy, and leaves nothing behind."""

import time
from pathlib import Path

import bad_counts
import bad_files
import bad_hdf5
import bad_params
import bad_sheets
import pytest
from corpus import CASES, GOOD_SHEET, Case
from running import check_inputs, qc, run

SECONDS = 20
INPUT_ERROR = 65
#: Imported for the cases that they register.
SOURCES = (bad_sheets, bad_params, bad_files, bad_hdf5, bad_counts)


def select_genes(folder: Path, spatial: str) -> list:
    """QC of both sides, then the arguments of the selection."""
    for role, file in (("spatial", spatial), ("reference", "reference.h5ad")):
        code, text = run("qc", qc(role, role, "--input", file), folder)
        assert code == 0, text
        (folder / "counts.h5ad").rename(folder / f"{role}.counts.h5ad")
    return ["--sample", "s1", "--spatial", "spatial.counts.h5ad", "--reference", "reference.counts.h5ad"]


def arguments(case: Case, given: list, folder: Path) -> list:
    if case.command == "select_genes":
        return select_genes(folder, given[1])
    if case.command == "qc":
        return qc("s1", "spatial", *given)
    if not (folder / "sheet.csv").exists() and not case.name.startswith("sheet: missing"):
        (folder / "sheet.csv").write_text(GOOD_SHEET)
    return check_inputs(folder, given[0] if given else {})


def test_the_good_files_are_good(folder):
    (folder / "sheet.csv").write_text(GOOD_SHEET)
    assert run("check_inputs", check_inputs(folder, {}), folder)[0] == 0
    assert run("qc", qc("s1", "spatial", "--input", "spatial.h5ad"), folder)[0] == 0


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name.replace(" ", "_"))
def test_bad_input(case, folder):
    given = arguments(case, case.spoil(folder), folder)
    before = sorted(folder.rglob("*"))
    start = time.monotonic()
    code, text = run(case.command, given, folder)
    assert code == INPUT_ERROR, text
    assert time.monotonic() - start < SECONDS
    assert text.count("ERROR") == 1 and "Traceback" not in text
    missing = [part for part in case.says if part not in text]
    assert not missing, f"{missing} not in: {text}"
    assert sorted(folder.rglob("*")) == before


def test_the_corpus_is_large_and_its_names_are_distinct():
    names = [case.name for case in CASES]
    assert len(names) >= 60 and len(set(names)) == len(names)
