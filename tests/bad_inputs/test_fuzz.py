"""Damaged files of every format: whatever a reader meets, it says InputError or reads.

Each example runs in a process of its own, so that a crash of a C library, an endless loop and a hunger for memory are
found too. FUZZ_EXAMPLES sets the number of examples of each format; without it they are always the same few.
"""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import h5py
import numpy as np
import pytest
import scipy.sparse as sp
import vendor_bundles
from corpus import GOOD_SHEET
from good_files import COUNTS, data, table, write_10x_h5, write_good, write_gz, write_h5mu, write_loom, write_mtx
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from mutations import BYTE_EDITS, OBJECT_EDITS, edit_bytes, edit_objects
from reading import counted, gene_lists, sheet
from spatialimpute.sources import open_source

ROOT = Path(__file__).resolve().parents[2]
EXAMPLES = os.environ.get("FUZZ_EXAMPLES")
FUZZ = settings(
    max_examples=int(EXAMPLES or 40),
    derandomize=EXAMPLES is None,
    database=None,
    deadline=None,
    suppress_health_check=list(HealthCheck),
)


def write_old_h5ad(path: Path) -> None:
    """As anndata wrote before 0.7: tables as compound datasets."""
    with h5py.File(path, "w") as file:
        x = sp.csr_matrix(COUNTS)
        for name in ("data", "indices", "indptr"):
            file[f"X/{name}"] = getattr(x, name)
        file["X"].attrs.update({"h5sparse_format": "csr", "h5sparse_shape": x.shape})
        file["obs"] = np.array([(f"c{i}".encode(), i) for i in range(12)], [("index", "S4"), ("n", "i4")])
        file["var"] = np.array([(f"Gene{i}".encode(),) for i in range(11)], [("index", "S8")])
        file["obsm"] = np.array([([i, i * i],) for i in range(12)], [("X_spatial", "f8", (2,))])


@pytest.fixture(scope="module")
def attempt():
    """`attempt(counted, path)` reads in a process of its own; what that ended of, "" if it read or said InputError."""
    command = [sys.executable, Path(__file__).with_name("reading.py")]
    environment = os.environ | {"PYTHONPATH": str(ROOT / "bin")}
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment) as server:

        def ask(read, path: Path) -> str:
            print(read.__name__, path, sep="\t", file=server.stdin, flush=True)
            return json.loads(server.stdout.readline())

        yield ask
        server.stdin.close()


HDF5 = {
    "dense.h5ad": lambda path: data(kind=["a", "b"] * 6).write_h5ad(path, compression="gzip"),
    "sparse.h5ad": lambda path: data(sp.csr_matrix(COUNTS), kind=["a", None] * 6).write_h5ad(path),
    "columns.h5ad": lambda path: data(sp.csc_matrix(COUNTS)).write_h5ad(path),
    "old.h5ad": write_old_h5ad,
    "x.loom": write_loom,
    "x.h5": write_10x_h5,
    "x.h5mu": write_h5mu,
}
TEXTS = {
    "x.csv": (lambda path: table().to_csv(path), counted),
    "x.csv.gz": (lambda path: write_gz(path, table().to_csv().encode()), counted),
    "x.coords.csv": (lambda path: table()[["x", "y"]].to_csv(path), counted),
    "sheet.csv": (lambda path: path.write_text(GOOD_SHEET), sheet),
    "folds.json": (lambda path: path.write_text('{"s1": [["Gene1", "Gene2"], ["Gene3"]]}'), gene_lists),
    "aliases.tsv": (lambda path: path.write_text("alias\tsymbol\nA\tGene1\n# no\nB\tGene2\n"), gene_lists),
}
FOLDERS = {
    "xenium": vendor_bundles.xenium,
    "merscope": vendor_bundles.merscope,
    "cosmx": lambda path: vendor_bundles.cosmx(path, gz=False),
    "visium": vendor_bundles.visium,
    "visium hd": lambda path: vendor_bundles.visium(path, "tissue_positions.parquet", mtx=True),
    "visium cells": vendor_bundles.visium_cells,
    "starmap plus": vendor_bundles.starmap_plus,
    "zarr 2": lambda path: vendor_bundles.spatialdata(path, version=2),
    "zarr 3": lambda path: vendor_bundles.spatialdata(path, circles=True),
    "outlines": lambda path: vendor_bundles.spatialdata(path, outlines=True),
    "anndata zarr": vendor_bundles.anndata_zarr,
}
PARTS = ("matrix.mtx", "features.tsv", "barcodes.tsv")


@pytest.fixture(scope="module")
def originals(tmp_path_factory):
    """The undamaged files."""
    folder = tmp_path_factory.mktemp("originals")
    for name, write in HDF5.items():
        write(folder / name)
    for name, (write, _read) in TEXTS.items():
        write(folder / name)
    write_mtx(folder / "run")
    (folder / "folders").mkdir()
    for name, write in FOLDERS.items():
        write(folder / "folders" / name)
    return folder


@pytest.fixture
def workplace(tmp_path):
    write_good(tmp_path)
    return tmp_path


@pytest.mark.parametrize("name", HDF5)
@FUZZ
@given(edits=OBJECT_EDITS)
def test_hdf5_with_odd_objects(attempt, originals, workplace, name, edits):
    path = workplace / name
    shutil.copyfile(originals / name, path)
    edit_objects(path, edits)
    assert attempt(counted, path) == ""


@pytest.mark.parametrize("name", HDF5)
@FUZZ
@given(edits=BYTE_EDITS)
def test_hdf5_with_odd_bytes(attempt, originals, workplace, name, edits):
    path = workplace / name
    shutil.copyfile(originals / name, path)
    edit_bytes(path, edits)
    assert attempt(counted, path) == ""


@pytest.mark.parametrize("name", TEXTS)
@FUZZ
@given(edits=BYTE_EDITS)
def test_texts_with_odd_bytes(attempt, originals, workplace, name, edits):
    path = workplace / name
    shutil.copyfile(originals / name, path)
    edit_bytes(path, edits)
    if name == "x.coords.csv":  # read with the counts that it lies beside
        path = workplace / "x.csv"
        shutil.copyfile(originals / "x.csv", path)
    assert attempt(TEXTS[name][1], path) == ""


@pytest.mark.parametrize("part", PARTS)
@FUZZ
@given(edits=BYTE_EDITS)
def test_10x_folders_with_odd_bytes(attempt, originals, workplace, part, edits):
    folder = workplace / "run"
    shutil.copytree(originals / "run", folder, dirs_exist_ok=True)
    shutil.copyfile(originals / "x.coords.csv", workplace / "run.coords.csv")
    edit_bytes(folder / part, edits)
    assert attempt(counted, folder) == ""


@pytest.mark.parametrize("name", FOLDERS)
@settings(FUZZ, max_examples=int(EXAMPLES or 25))
@given(which=st.floats(0, 1, exclude_max=True), edits=BYTE_EDITS)
def test_instruments_folders_with_odd_bytes(attempt, originals, workplace, name, which, edits):
    folder = workplace / "run"
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(originals / "folders" / name, folder)
    files = open_source(folder).files()
    edit_bytes(files[int(which * len(files))], edits)
    assert attempt(counted, folder) == ""


@pytest.mark.parametrize("name", FOLDERS)
def test_undamaged_folders_are_read(originals, name):
    counted(originals / "folders" / name)


@pytest.mark.parametrize("name", [*HDF5, *TEXTS, "run"])
def test_undamaged_files_are_read(originals, workplace, name):
    """What the examples start from is read in full, so that damage alone is what they tell of."""
    for path in originals.iterdir():
        if path.is_file():
            shutil.copyfile(path, workplace / path.name)
    shutil.copyfile(originals / "x.coords.csv", workplace / "run.coords.csv")
    if name == "run":
        counted(shutil.copytree(originals / "run", workplace / "run"))
    else:
        (TEXTS[name][1] if name in TEXTS else counted)(workplace / ("x.csv" if name == "x.coords.csv" else name))
