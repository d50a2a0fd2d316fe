"""The simulator as a command."""

import subprocess
import sys
from pathlib import Path

import anndata as ad
import pandas as pd

SCRIPT = Path(__file__).resolve().parents[2] / "bin" / "simulate.py"


def run(folder, *arguments):
    command = [sys.executable, SCRIPT, "--out-dir", folder, *arguments]
    return subprocess.run(command, capture_output=True, text=True)


def test_two_sections_share_a_reference(tmp_path):
    size = ["--n-spatial", "120", "--n-reference", "100", "--n-panel", "20", "--n-genes", "60"]
    result = run(tmp_path / "new" / "folder", *size, "--samples", "2", "--seed", "5")
    assert result.returncode == 0, result.stderr
    assert "storing" not in result.stdout + result.stderr
    folder = tmp_path / "new" / "folder"
    sheet = pd.read_csv(folder / "samplesheet.csv")
    first, second = (ad.read_h5ad(folder / name) for name in sheet["spatial"])
    assert first.shape == second.shape == (120, 25)
    assert list(first.var_names) == list(second.var_names)
    assert (first.X != second.X).nnz > 0
    assert ad.read_h5ad(folder / sheet["reference"][0]).shape == (100, 60)
    assert ad.read_h5ad(folder / "truth_2.h5ad").shape == (119, 60)


def test_panel_larger_than_the_genome_is_refused(tmp_path):
    result = run(tmp_path, "--n-panel", "80", "--n-genes", "60")
    assert result.returncode == 2
    assert "--n-panel 80 is larger than --n-genes 60" in result.stderr
