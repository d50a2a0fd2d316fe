"""The check of inputs as a command: all problems at once, exit code 65, nothing written."""

import csv
import json
import subprocess
import sys
from pathlib import Path

import anndata as ad
import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
import vendor_bundles as bundles

ROOT = Path(__file__).resolve().parents[2]
GIVEN = {"input": "sheet.csv", "outdir": "results", "min_shared_genes": 2}
COLUMNS = ["sample", "spatial", "reference", "technology"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Small files of every role, and a sheet's folder to write sheets into."""
    path = tmp_path_factory.mktemp("sheet")
    x = sp.csr_matrix(np.ones((3, 2), np.float32))
    cells = pd.DataFrame({"slice": ["a"] * 3, "cell_type": ["n"] * 3}, index=list("abc"))
    genes = pd.DataFrame(index=["Sst", "Gad1"])
    ad.AnnData(x, obs=cells, var=genes, obsm={"spatial": np.eye(3)}).write_h5ad(path / "spatial.h5ad")
    ad.AnnData(x, obs=cells.assign(donor="d"), var=genes).write_h5ad(path / "ref.h5ad")
    (path / "other").mkdir()
    ad.AnnData(x, var=genes).write_h5ad(path / "other" / "ref.h5ad")
    (path / "plain.csv").write_text("id,Gad1,Sst\na,1,2\n")
    (path / "placed.csv").write_text("id,Gad1,Sst\na,1,2\n")
    (path / "placed.coords.csv").write_text("id,x,y\na,1,2\n")
    (path / "unplaced.csv").write_text("id,Gad1,Sst\na,1,2\n")
    (path / "unplaced.coords.csv").write_text("id,left\na,1\n")
    return path


def check(folder: Path, sheet, params=None):
    """Run the command on a sheet (text, bytes, or rows); returns the process and the samples written."""
    if isinstance(sheet, list):
        with open(folder / "sheet.csv", "w", newline="") as handle:
            csv.writer(handle).writerows(sheet)
    else:
        (folder / "sheet.csv").write_bytes(sheet if isinstance(sheet, bytes) else sheet.encode())
    (folder / "params.json").write_text(json.dumps(GIVEN | (params or {})))
    out = folder / "samples.json"
    out.unlink(missing_ok=True)
    result = subprocess.run(
        [sys.executable, ROOT / "bin" / "check_inputs.py", "--input", folder / "sheet.csv"]
        + ["--params", folder / "params.json", "--schema", ROOT / "nextflow_schema.json"]
        + ["--sheet-schema", ROOT / "assets" / "schema_input.json", "--methods", ROOT / "assets" / "methods.json"]
        + ["--base-dir", folder, "--launch-dir", folder, "--out", out],
        capture_output=True,
        text=True,
    )
    assert "Traceback" not in result.stderr
    return result, json.loads(out.read_text()) if out.exists() else None


def problems(folder, sheet, params=None) -> str:
    result, samples = check(folder, sheet, params)
    assert result.returncode == 65 and samples is None
    assert result.stderr.startswith("ERROR: samplesheet")
    return result.stderr


def test_a_good_sheet(folder):
    header = COLUMNS + ["spatial_batch_key", "reference_batch_key", "celltype_key", "genes"]
    rows = [
        ["s1", "spatial.h5ad", "ref.h5ad;other/ref.h5ad", "osmfish", "slice", "", "cell_type", "Sst; Gad1"],
        ["s2", str(folder / "spatial.h5ad"), "other/../ref.h5ad", "STARMAP", "", "donor", "", ""],
        ["s3", "placed.csv", "https://example.org/ref.h5ad", "Visium HD", "", "", "", ""],
    ]
    rows[0][5] = ""
    result, samples = check(folder, [header, *rows])
    assert result.returncode == 0, result.stderr
    first, second, third = samples
    assert first["technology"] == "osmFISH" and second["technology"] == "STARmap" and first["genes"] == "Sst,Gad1"
    assert first["spatial"] == [str(folder / "spatial.h5ad")]
    assert third["spatial"] == [str(folder / "placed.csv"), str(folder / "placed.coords.csv")]
    assert third["reference"][0]["files"] == ["https://example.org/ref.h5ad"]
    ids = [entry["id"] for sample in samples for entry in sample["reference"]]
    assert ids[0] == ids[2] == "ref" and ids[1].startswith("ref-") and len(set(ids)) == 3
    # A reference that samples share is read once, so what one row says of it holds for all.
    assert first["reference"][0] == second["reference"][0]
    assert first["reference"][0]["batch_key"] == "donor" and first["reference"][0]["celltype_key"] == "cell_type"


def test_one_matrix_of_several_may_be_named(folder):
    for sample in ("A_", "B_"):
        archive = folder / "archive"
        archive.mkdir(exist_ok=True)
        (archive / f"{sample}matrix.mtx").write_text(
            "%%MatrixMarket matrix coordinate integer general\n2 3 2\n1 1 4\n2 3 5\n"
        )
        (archive / f"{sample}features.tsv").write_text("ENSMUSG00000000001\tSst\nENSMUSG00000000002\tGad1\n")
        (archive / f"{sample}barcodes.tsv").write_text("a\nb\nc\n")
    text = problems(folder, [COLUMNS, ["s1", "spatial.h5ad", "archive", "MERFISH"]])
    assert "name the matrix of one sample, for example archive/A_matrix.mtx" in text
    result, samples = check(folder, [COLUMNS, ["s1", "spatial.h5ad", "archive/B_matrix.mtx", "MERFISH"]])
    assert result.returncode == 0, result.stderr
    assert samples[0]["reference"][0]["files"] == [str(folder / "archive" / "B_matrix.mtx")]
    assert [Path(path).name for path in samples[0]["reference"][0]["beside"]] == ["B_features.tsv", "B_barcodes.tsv"]
    (folder / "archive" / "B_barcodes.tsv").unlink()
    text = problems(folder, [COLUMNS, ["s1", "spatial.h5ad", "archive/B_matrix.mtx", "MERFISH"]])
    assert "B_barcodes.tsv[.gz] is missing beside B_matrix.mtx" in text


def test_ids_do_not_change_when_a_row_is_added(folder):
    rows = [["s1", "spatial.h5ad", "ref.h5ad", "MERFISH"], ["s2", "spatial.h5ad", "other/ref.h5ad", "MERFISH"]]
    ids = [[e["id"] for s in check(folder, [COLUMNS, *rows[:n]])[1] for e in s["reference"]] for n in (1, 2)]
    assert ids[0] == ids[1][:1]


@pytest.mark.parametrize("text", ["\ufeff{}", "{}\r\n\r\n", "{}\n,,,\n"])
def test_byte_order_mark_and_windows_lines_are_fine(folder, text):
    sheet = text.format("sample, spatial ,reference,technology\r\ns1,spatial.h5ad,ref.h5ad,MERFISH")
    assert check(folder, sheet)[0].returncode == 0


def test_every_problem_at_once(folder):
    rows = [
        ["../x", "spatial.h5ad", "gone.h5ad", "MERFISHH"],
        ["s2", "plain.csv", "ref.h5ad", "Xenium"],
        ["S2", "spatial.h5ad", "spatial.h5ad", ""],
        ["s4", "spatial.h5ad", "ref.h5ad"],
    ]
    text = problems(folder, [COLUMNS, *rows], {"cv_folds": 1, "n_latnt": 3, "genes": "genes.txt"})
    for words in (
        "parameters: 11 problems",
        "1. parameter 'cv_folds': found 1, expected 0 (skip)",
        "parameter 'n_latnt': there is none of this name; did you mean 'n_latent'?",
        "row 2, column 'sample': found '../x', expected a name",
        "row 2, column 'technology': found 'MERFISHH', expected one of",
        "did you mean 'MERFISH'?",
        "row 2, column 'reference': found 'gone.h5ad', no such file",
        "row 3, column 'spatial': found 'plain.csv', which holds no coordinates",
        "plain.coords.csv beside it",
        "row 4, column 'sample': found 'S2', row 3 has a name that differs in case alone",
        "row 4, column 'reference': found 'spatial.h5ad', which is the spatial file",
        "row 4, column 'technology': found ''",
        "row 5: found 3 fields, expected 4",
        "genes.txt: no such file",
    ):
        assert words in text, words


def test_names_that_could_do_harm(folder):
    names = ["../x", "a b", "a;b", "a'b", 'a"b', "$(x)", "a/b", "-x", ".x", "multiqc", "=1+1", "x" * 101, "ä", "a\nb"]
    text = problems(folder, [COLUMNS, *([name, "spatial.h5ad", "ref.h5ad", "MERFISH"] for name in names)])
    assert text.count("column 'sample'") == len(names)


@pytest.mark.parametrize(
    "sheet, words",
    [
        ("", "empty; expected a header with sample, spatial"),
        ("sample,spatial,reference,technology\n", "no samples"),
        ("sample;spatial;reference;technology\ns1;a;b;c\n", "separated by semicolons, expected commas"),
        ("sample\tspatial\treference\ttechnology\n", "separated by tabs, expected commas"),
        ("sample,spatial,refrence,technology\ns1,spatial.h5ad,ref.h5ad,MERFISH\n", "did you mean 'reference'?"),
        ("sample,spatial,reference\ns1,spatial.h5ad,ref.h5ad\n", "column 'technology' is missing"),
        ("sample,sample,spatial,reference,technology\n", "column 'sample' appears 2 times"),
        ('sample,spatial,reference,technology\ns1,"spatial.h5ad,ref.h5ad,MERFISH\n', "is not CSV"),
        ("sample,spatial,reference,technology\ns\xe4,a,b,c\n".encode("latin-1"), "not UTF-8 text"),
        (b"PK\x03\x04\0\0", "not a text file"),
    ],
)
def test_sheets_that_are_none(folder, sheet, words):
    assert words in problems(folder, sheet)


@pytest.mark.parametrize(
    "column, value, words",
    [
        ("spatial_batch_key", "slise", "(it has: slice, cell_type); did you mean 'slice'?"),
        ("reference_batch_key", "x", "no such column of the cells in ref.h5ad"),
        ("celltype_key", "celltype", "did you mean 'cell_type'?"),
        ("genes", "lists/genes.txt", "no such file"),
        ("spatial", "unplaced.csv", "whose second file is wrong"),
        ("spatial", "$HOME/x.h5ad", "without quotes, wildcards or shell signs"),
        ("reference", "ref.h5ad;ref.h5ad", "named twice"),
        ("reference", "", "found '', expected a value"),
    ],
)
def test_cells_of_a_row(folder, column, value, words):
    row = {"sample": "s", "spatial": "spatial.h5ad", "reference": "ref.h5ad", "technology": "other"} | {column: value}
    text = problems(folder, [list(row), list(row.values())])
    assert words in text and f"column '{column}'" in text and "1 problem\n" in text


def test_rows_that_disagree_on_a_shared_reference(folder):
    header = COLUMNS + ["reference_batch_key"]
    rows = [["a", "spatial.h5ad", "ref.h5ad", "ISS", "donor"], ["b", "spatial.h5ad", "ref.h5ad", "ISS", "slice"]]
    assert "row 2 has 'donor' for the same reference" in problems(folder, [header, *rows])


def test_it_imports_nothing_heavy(folder, tmp_path):
    paths = [bundles.xenium(tmp_path / "xenium"), bundles.visium(tmp_path / "visium", mtx=True)]
    paths += [write(tmp_path / write.__name__) for write in (bundles.merscope, bundles.cosmx, bundles.spatialdata)]
    paths += [tmp_path / "xenium/cell_feature_matrix.h5", tmp_path / "visium/filtered_feature_bc_matrix"]
    paths += [folder / "spatial.h5ad", folder / "placed.csv"]
    code = (
        "import sys; sys.path.insert(0, 'bin'); import h5py, spatialimpute.check.named_files, "
        "spatialimpute.check.params, spatialimpute.check.sheet\n"
        "from spatialimpute.sources import open_source\n"
        "for source in map(open_source, sys.argv[1:]): source.header(), source.files(), source.gene_columns()\n"
        "print({'pandas', 'anndata', 'scanpy', 'torch', 'scipy.sparse'} & set(sys.modules))"
    )
    command = [sys.executable, "-c", code, *paths]
    result = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)
    assert result.stdout.strip() == "set()", result.stderr


def test_the_example_files_fit_the_schemas():
    rows = list(csv.reader(open(ROOT / "assets" / "example_samplesheet.csv")))
    schema = json.loads((ROOT / "assets" / "schema_input.json").read_text())["items"]["properties"]
    assert rows[0] == list(schema) and all(len(row) == len(schema) for row in rows)


def test_alternatives_are_checked_and_only_compared(folder):
    result, samples = check(folder, [COLUMNS, ["s1", "placed.csv", "ref.h5ad | other/ref.h5ad;ref.h5ad", "MERFISH"]])
    assert result.returncode == 0, result.stderr
    (sample,) = samples
    assert [entry["files"] for entry in sample["reference"]] == [[str(folder / "ref.h5ad")]]
    assert [entry["files"] for entry in sample["alternatives"]] == [[str(folder / "other/ref.h5ad")]]
    assert len({entry["id"] for entry in sample["reference"] + sample["alternatives"]}) == 2
    assert "ref.h5ad and placed.csv share 2 gene names (reference)" in result.stderr
    assert "share 2 gene names (alternative)" in result.stderr
    result, _ = check(folder, [COLUMNS, ["s1", "placed.csv", "ref.h5ad|gone.h5ad", "MERFISH"]])
    assert result.returncode == 65 and "found 'gone.h5ad', no such file" in result.stderr
    result, _ = check(folder, [COLUMNS, ["s1", "placed.csv", "|", "MERFISH"]])
    assert result.returncode == 65 and "expected a reference" in result.stderr


def test_columns_that_may_hold_cell_types_are_named(folder):
    obs = pd.DataFrame({"celltype_minor": ["a"] * 3, "celltype_major": ["b"] * 3, "donor": "d"}, index=list("abc"))
    data = ad.AnnData(sp.csr_matrix(np.ones((3, 2), np.float32)), obs=obs, var=pd.DataFrame(index=["Sst", "Gad1"]))
    data.write_h5ad(folder / "labels.h5ad")
    sheet = [[*COLUMNS, "celltype_key"], ["s1", "placed.csv", "labels.h5ad", "MERFISH", ""]]
    result, samples = check(folder, sheet)
    words = "labels.h5ad: cell types may be in the columns celltype_minor, celltype_major; without celltype_key"
    assert result.returncode == 0 and words in result.stderr and len(samples[0]["warnings"]) == 1
    sheet[1][-1] = "celltype_major"
    result, samples = check(folder, sheet)
    assert result.returncode == 0 and "may be in" not in result.stderr and samples[0]["warnings"] == []


def test_a_second_files_columns_may_be_keys(folder):
    (folder / "keyed.csv").write_text("id,Gad1,Sst\na,1,2\n")
    (folder / "keyed.coords.csv").write_text("id,x,y,slice\na,1,2,s\n")
    sheet = [[*COLUMNS, "spatial_batch_key"], ["s1", "keyed.csv", "ref.h5ad", "MERFISH", "slice"]]
    assert check(folder, sheet)[0].returncode == 0


def test_an_alternative_is_named_by_the_column_that_fits(folder):
    def write(name, index, symbols):
        var = pd.DataFrame({"symbol": symbols}, index=index)
        X = sp.csr_matrix(np.ones((3, len(index)), np.float32))
        ad.AnnData(X, var=var, obsm={"spatial": np.eye(3)[:, :2]}).write_h5ad(folder / name)

    symbols, numbers = [f"Gene{i}" for i in range(30)], [f"n{i}" for i in range(30)]
    write("a.h5ad", symbols, symbols)
    write("b.h5ad", symbols, symbols)
    write("c.h5ad", numbers, symbols)
    row = ["s1", "a.h5ad", "b.h5ad | c.h5ad", "MERFISH"]
    result, samples = check(folder, [COLUMNS, row])
    assert result.returncode == 0, result.stderr
    assert samples[0]["alternatives"][0]["gene_column"] == "symbol" and "so that 30 are shared" in result.stderr
    # The same file that another sample uses is read once, by one column.
    result, samples = check(folder, [COLUMNS, row, ["s2", "a.h5ad", "c.h5ad", "MERFISH"]])
    assert samples[0]["alternatives"] == samples[1]["reference"] and samples[1]["alternatives"] == []
