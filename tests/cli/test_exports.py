"""The parameter `export` before anything starts: an environment that is absent, samples that are no Xenium folders."""

import pytest
import vendor_bundles as bundles
from spatialimpute.check.exports import PYTHON, check_environment, check_explorer


@pytest.fixture
def samples(tmp_path):
    """One of each kind: a Xenium folder, another instrument's, an address, and a row with a problem."""
    paths = {
        "x": bundles.xenium(tmp_path / "x"),
        "m": bundles.merscope(tmp_path / "m"),
        "s": "s3://bucket/x",
        "wrong": None,
    }
    return {
        name: {"sample": name, "spatial": [str(path)] if path else [], "warnings": []} for name, path in paths.items()
    }


def test_samples_that_xenium_explorer_cannot_show_are_named(samples):
    given = [samples[name] for name in "xms"]
    assert check_explorer({"export": "spatialdata, explorer"}, given) == []
    assert [sample["explorer"] for sample in given] == [True, False, True]
    (warning,) = samples["m"]["warnings"]
    assert "'m'" in warning and "MERSCOPE folder" in warning and not samples["x"]["warnings"]


def test_a_sheet_without_any_is_refused(samples):
    (problem,) = check_explorer({"export": "explorer"}, [samples["m"], samples["wrong"]])
    assert "'export'" in problem and "MERSCOPE folder" in problem and "leave it out" in problem


@pytest.mark.parametrize("export", [None, "spatialdata"])
def test_nothing_is_looked_at_where_it_is_not_asked_for(samples, export):
    assert check_explorer({"export": export}, [samples["m"]]) == []
    assert "explorer" not in samples["m"]


def test_an_absent_environment_is_said(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    (problem,) = check_environment({"export": "spatialdata"})
    assert "make setup METHODS=export" in problem
    assert check_environment({"export": None}) == []
    (tmp_path / PYTHON).touch(mode=0o755)
    assert check_environment({"export": "spatialdata"}) == []
