"""QC as a command: counts.h5ad, qc.json and qc.tsv out, or one message."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from spatialimpute.files.counts import read_counts
from spatialimpute.files.sealed import read_json

ROOT = Path(__file__).resolve().parents[2]
DATA = ROOT.parent / "shared" / "data"
SUMMARY = set(
    """schema_version id role technology source source_digest counts_from gene_names_from n_cells_in n_cells
    n_genes_in n_genes control_probe_rate n_outliers coordinate_unit steps warnings""".split()
)


def qc(folder: Path, *arguments) -> subprocess.CompletedProcess:
    command = [sys.executable, ROOT / "bin" / "qc.py", "--id", "s1", *map(str, arguments)]
    result = subprocess.run(command, capture_output=True, text=True, cwd=folder)
    assert "Traceback" not in result.stderr, result.stderr
    return result


@pytest.fixture
def table(tmp_path):
    rng = np.random.default_rng(0)
    frame = pd.DataFrame(rng.poisson(4, (20, 4)), columns=["Gad67", "Sst", "Vip", "Blank-1"])
    frame.insert(0, "cell_id", [f"c{i}" for i in range(20)])
    frame["slice"], frame["kind"] = 1, ["NA", "neuron"] * 10
    frame.to_csv(tmp_path / "x.csv", index=False)
    places = pd.DataFrame({"cell_id": frame["cell_id"], "x_um": np.arange(20.0), "y_um": 1.0})
    places.to_csv(tmp_path / "x.coords.csv", index=False)
    (tmp_path / "aliases.tsv").write_text("Gad67\tGad1\n")
    return tmp_path


def test_files_and_their_content(table):
    result = qc(
        table, "--role", "spatial", "--technology", "MERFISH", "--input", "x.csv", "--batch-key", "slice",
        "--celltype-key", "kind", "--gene-aliases", "aliases.tsv",
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    counts = read_counts(table / "counts.h5ad")
    assert list(counts.genes) == ["Gad1", "Sst", "Vip"] and counts.coords.shape == (20, 2)
    assert {"batch", "celltype", "n_counts", "n_genes", "dataset", "outlier"} == set(counts.obs)
    theirs = read_counts(table / "counts.h5ad", every_column=True).obs.columns.difference(counts.obs.columns)
    assert set(theirs) == {"slice", "kind"}
    assert counts.obs["celltype"].isna().sum() == 10 and set(counts.obs["dataset"]) == {"s1"}
    summary = read_json(table / "qc.json")
    assert set(summary) == SUMMARY and summary["coordinate_unit"] == "um" and summary["counts_from"] == "X"
    assert {step["step"] for step in summary["steps"]} == {"control probes", "gene aliases"}
    table_ = pd.read_csv(table / "qc.tsv", sep="\t")
    assert list(table_.columns) == ["id", "role", "step", "axis", "n", "reason", "examples"] and len(table_) == 2


def test_same_input_same_bytes(table):
    outputs = []
    for _ in range(2):
        assert qc(table, "--role", "spatial", "--input", "x.csv", "--coords", "x.coords.csv").returncode == 0
        outputs.append([(table / name).read_bytes() for name in ("counts.h5ad", "qc.json", "qc.tsv")])
    assert outputs[0] == outputs[1]


def test_thresholds_and_outliers(table):
    frame = pd.read_csv(table / "x.csv")
    frame.loc[0, ["Gad67", "Sst", "Vip"]] = 5000
    frame.loc[1, ["Gad67", "Sst", "Vip"]] = [1, 0, 0]
    frame.to_csv(table / "x.csv", index=False)
    result = qc(
        table, "--role", "reference", "--input", "x.csv", "--batch-key", "slice", "--min-genes", 2, "--drop-outliers"
    )
    assert result.returncode == 0, result.stderr
    assert list(read_counts(table / "counts.h5ad").cells)[:2] == ["c2", "c3"]


@pytest.mark.parametrize(
    "cell, message",
    [(-1, "gene 'Sst', cell 'c3' holds -1"), (0.5, "gene 'Sst', cell 'c3' holds 0.5"), ("many", "row 5, column 'Sst'")],
)
def test_one_message_and_nothing_written(table, cell, message):
    frame = pd.read_csv(table / "x.csv").astype(object)
    frame.loc[3, "Sst"] = cell
    frame.to_csv(table / "x.csv", index=False)
    result = qc(table, "--role", "spatial", "--input", "x.csv", "--batch-key", "slice")
    assert result.returncode == 65 and result.stderr.startswith("ERROR: x.csv") and message in result.stderr
    assert not (table / "counts.h5ad").exists() and not (table / "qc.json").exists()


@pytest.mark.realdata
@pytest.mark.skipif(not DATA.is_dir(), reason=f"no real data at {DATA}")
@pytest.mark.parametrize(
    "name, dropped",
    [("osmfish_sscortex_spatial.h5ad", 454), ("raw/osmFISH_SScortex_mouse_all_cells.loom", 527)],
)
def test_duplicates_of_osmfish(tmp_path, name, dropped):
    result = qc(tmp_path, "--role", "spatial", "--technology", "osmFISH", "--input", DATA / name)
    assert result.returncode == 0, result.stderr
    steps = {step["step"]: step["n"] for step in json.loads((tmp_path / "qc.json").read_text())["steps"]}
    assert steps["duplicate cells"] == dropped
