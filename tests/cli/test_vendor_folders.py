"""Instruments' folders through the commands: the check takes or refuses them at once, QC reads them through links."""

import csv
import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import vendor_bundles as bundles
from spatialimpute.files.counts import read_counts

ROOT = Path(__file__).resolve().parents[2]
WRITERS = {
    "Xenium": bundles.xenium,
    "MERSCOPE": bundles.merscope,
    "CosMx": bundles.cosmx,
    "Visium": bundles.visium,
    "STARmap": bundles.starmap_plus,
}


@pytest.fixture
def check(tmp_path, step):
    """Run the check of inputs on rows of (sample, spatial, technology)."""
    reference = tmp_path / "reference.csv"
    reference.write_text("cell_id,Gad1,Sst,Vip\na,1,2,3\nb,3,2,1\n")
    (tmp_path / "params.json").write_text(
        json.dumps({"input": "sheet.csv", "outdir": "results", "min_shared_genes": 3})
    )

    def run(rows):
        with open(tmp_path / "sheet.csv", "w", newline="") as handle:
            lines = [(sample, spatial, reference.name, technology) for sample, spatial, technology in rows]
            csv.writer(handle).writerows([("sample", "spatial", "reference", "technology"), *lines])
        return step(
            tmp_path, "check_inputs", "--input", "sheet.csv", "--params", "params.json", "--base-dir", ".",
            "--schema", ROOT / "nextflow_schema.json", "--sheet-schema", ROOT / "assets" / "schema_input.json",
            "--methods", ROOT / "assets" / "methods.json",
        )  # fmt: skip

    return run


def test_the_check_takes_folders(tmp_path, check):
    for technology, write in WRITERS.items():
        write(tmp_path / technology)
    result = check([(technology, technology, technology) for technology in WRITERS])
    assert result.code == 0, result.stderr
    samples = json.loads((tmp_path / "samples.json").read_text())
    assert [Path(sample["spatial"][0]).name for sample in samples] == list(WRITERS)


def test_the_check_lists_what_is_wrong_with_all_folders(tmp_path, check):
    bundles.xenium(tmp_path / "xenium")
    bundles.merscope(tmp_path / "merscope")
    (tmp_path / "merscope" / "cell_metadata.csv").unlink()
    bundles.visium(tmp_path / "visium" / "outs")
    rows = [("a", "xenium/cell_feature_matrix.h5", "Xenium"), ("b", "merscope", "MERSCOPE"), ("c", "visium", "Visium")]
    result = check(rows)
    assert result.code == 65 and "3 problems" in result.stderr
    assert "a part of a Xenium folder; name the folder: xenium" in result.stderr
    assert "a MERSCOPE folder needs cell_metadata.csv[.gz] beside cell_by_gene.csv, which is missing" in result.stderr
    assert "in a folder within it: outs (a Visium folder); name it: visium/outs" in result.stderr


def test_a_folder_of_two_instruments_is_refused(tmp_path, check):
    bundles.xenium(tmp_path / "both")
    bundles.merscope(tmp_path / "other")
    for path in (tmp_path / "other").iterdir():
        path.rename(tmp_path / "both" / path.name)
    result = check([("a", "both", "Xenium")])
    assert result.code == 65
    assert "'both', holds the files of a Xenium folder and of a MERSCOPE folder" in result.stderr


@pytest.mark.parametrize("technology", ["Xenium", "MERSCOPE", "CosMx", "Visium"])
def test_qc_of_a_linked_folder(tmp_path, step, technology):
    folder = WRITERS[technology](tmp_path / "elsewhere")
    (tmp_path / "linked").symlink_to(folder)
    arguments = ["--id", "s1", "--role", "spatial", "--technology", "MERFISH", "--input", "linked"]
    batch = ["--batch-key", "fov"] if technology in ("MERSCOPE", "CosMx") else []
    result = step(tmp_path, "qc", *arguments, *batch)
    assert result.code == 0, result.stderr
    counts = read_counts(tmp_path / "counts.h5ad")
    np.testing.assert_array_equal(counts.X.toarray(), bundles.COUNTS)
    assert ("batch" in counts.obs) == bool(batch)
    summary = json.loads((tmp_path / "qc.json").read_text())
    assert summary["coordinate_unit"] == "um" and summary["technology"] == "MERFISH"
    assert len(summary["warnings"]) == (technology != "MERSCOPE")
    steps = pd.read_csv(tmp_path / "qc.tsv", sep="\t").set_index("step")["reason"]
    assert ("pixels to microns" in steps) == (technology in ("CosMx", "Visium"))


def test_images_beside_the_counts_do_not_change_the_digest(tmp_path, step):
    folder = bundles.xenium(tmp_path / "x")
    digests = []
    for name in ("morphology.ome.tif", "transcripts.parquet", "cells.parquet"):
        assert step(tmp_path, "qc", "--id", "s", "--role", "spatial", "--input", "x").code == 0
        digests.append(json.loads((tmp_path / "qc.json").read_text())["source_digest"])
        cells = pd.read_parquet(folder / "cells.parquet").assign(x_centroid=lambda table: table["x_centroid"] + 1)
        cells.to_parquet(folder / name)
    assert step(tmp_path, "qc", "--id", "s", "--role", "spatial", "--input", "x").code == 0
    digests.append(json.loads((tmp_path / "qc.json").read_text())["source_digest"])
    assert digests[0] == digests[1] == digests[2] != digests[3]
