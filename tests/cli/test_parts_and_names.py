"""What the sheet names within a file, and which column names the genes: from the check, which sees both, to QC."""

import json
from pathlib import Path

import anndata as ad
import h5py
import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
import zarr
from spatialimpute.files.counts import read_counts

ROOT = Path(__file__).resolve().parents[2]
CELLS = [f"c{i}" for i in range(20)]
GENES = [f"Sym{chr(97 + i)}" for i in range(12)]
COUNTS = np.random.default_rng(0).poisson(3, (20, 12)).astype(np.float32) + (np.arange(12) == 0)
XY = np.random.default_rng(1).random((20, 2)) * 50


def data(index=GENES, **var):
    found = ad.AnnData(sp.csr_matrix(COUNTS), obs=pd.DataFrame(index=CELLS), var=pd.DataFrame(var, index=index))
    found.obsm["spatial"] = XY
    return found


def write_genomes(path):
    with h5py.File(path, "w") as file:
        for genome, names in (("hg19", [name.upper() + "H" for name in GENES]), ("mm10", GENES)):
            x, group = sp.csr_matrix(COUNTS), file.create_group(genome)
            for name in ("data", "indices", "indptr"):
                group[name] = getattr(x, name)
            group["shape"], group["barcodes"] = x.shape[::-1], np.array(CELLS, "S")
            group["gene_names"], group["genes"] = np.array(names, "S"), np.array(names, "S")


@pytest.fixture
def check(tmp_path, step):
    write_genomes(tmp_path / "reference.h5")
    (tmp_path / "params.json").write_text(json.dumps({"input": "sheet.csv", "outdir": "results"}))
    root = zarr.open_group(str(tmp_path / "hd.zarr"), mode="w", zarr_format=2)
    for name in ("square_008um", "square_016um"):
        ad.io.write_elem(root, f"tables/{name}", data())

    def run(*rows):
        lines = ["sample,spatial,reference,technology", *rows]
        (tmp_path / "sheet.csv").write_text("\n".join(lines) + "\n")
        result = step(
            tmp_path, "check_inputs", "--input", "sheet.csv", "--params", "params.json", "--base-dir", ".",
            "--schema", ROOT / "nextflow_schema.json", "--sheet-schema", ROOT / "assets" / "schema_input.json",
            "--methods", ROOT / "assets" / "methods.json",
        )  # fmt: skip
        samples = json.loads((tmp_path / "samples.json").read_text()) if result.code == 0 else []
        return result, samples

    return run


@pytest.mark.filterwarnings("ignore:zarr v3 autosharding")
def test_parts_go_from_the_sheet_to_qc(tmp_path, check, step):
    result, [sample] = check("a,hd.zarr/tables/square_008um,reference.h5/mm10,Visium HD")
    assert sample["spatial"] == [str(tmp_path / "hd.zarr/tables/square_008um")]
    assert sample["spatial_part"] == "tables/square_008um" and sample["spatial_beside"] == []
    [reference] = sample["reference"]
    assert reference["files"] == [str(tmp_path / "reference.h5/mm10")] and reference["part"] == "mm10"
    assert reference["id"] == "reference_mm10" and reference["beside"] == []
    # As Nextflow stages them: the store or file alone, under another folder.
    (tmp_path / "raw").mkdir()
    for name in ("hd.zarr", "reference.h5"):
        (tmp_path / "raw" / name).symlink_to(tmp_path / name)
    for role, path, part in (("spatial", "hd.zarr", "tables/square_008um"), ("reference", "reference.h5", "mm10")):
        result = step(tmp_path, "qc", "--id", "x", "--role", role, "--input", f"raw/{path}", "--part", part)
        assert result.code == 0, result.stderr
        assert list(read_counts(tmp_path / "counts.h5ad").genes) == GENES


@pytest.mark.filterwarnings("ignore:zarr v3 autosharding")
def test_two_parts_of_one_file_are_two_references(check):
    _, [first, second] = check(
        "a,hd.zarr/tables/square_008um,reference.h5/mm10,Visium HD",
        "b,hd.zarr/tables/square_016um,reference.h5/mm10,Visium HD",
    )
    assert first["reference"] == second["reference"]
    result, _ = check("a,hd.zarr,reference.h5,Visium HD", "b,hd.zarr/tables/x,reference.h5/mm9,Visium HD")
    assert result.code == 65
    for words in (
        "found 'hd.zarr', a SpatialData store of the tables square_008um, square_016um; name the one that is wanted",
        "found 'reference.h5', holds several genomes: hg19, mm10; name the one",
        "no 'x'; name the one that is wanted, such as hd.zarr/tables/square_008um",
        "no group or genome 'mm9'; it holds hg19, mm10",
    ):
        assert words in result.stderr


def test_the_column_of_names_goes_from_the_check_to_qc(tmp_path, check, step, caplog):
    caplog.set_level("INFO")
    numbers = [f"{i}" for i in range(12)]
    data(numbers, **{"Name in the atlas": GENES}).write_h5ad(tmp_path / "cells.h5ad")
    result, [sample] = check("a,cells.h5ad,reference.h5/mm10,MERFISH")
    assert "cells.h5ad: genes are named by its column 'Name in the atlas', so that 12 are shared" in caplog.text
    assert sample["spatial_gene_column"] == "Name in the atlas" and sample["reference"][0]["gene_column"] is None
    given = ["--gene-column", sample["spatial_gene_column"]]
    result = step(tmp_path, "qc", "--id", "x", "--role", "spatial", "--input", "cells.h5ad", *given)
    assert result.code == 0 and "genes named by Name in the atlas" in caplog.text
    assert list(read_counts(tmp_path / "counts.h5ad").genes) == GENES
    assert json.loads((tmp_path / "qc.json").read_text())["gene_names_from"] == "Name in the atlas"
