"""Methods in another language or environment: they get a fold as files, and whatever goes wrong is said."""

import shutil
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from samples import package_methods, write_sample
from scipy.io import mmread
from spatialimpute.errors import InputError, MethodError
from spatialimpute.folds import fold_of
from spatialimpute.methods.external import External
from tissue import draw, with_noise

HERE = Path(__file__).parent
PYTHON = f"{sys.executable} {HERE / 'external_knn.py'}"


@pytest.fixture(scope="module")
def tissue():
    """Two references of which each lacks a gene, batches, and cells without counts in some fold."""
    return draw(n_cells=(90, 70, 120), depths=(60, 12), batches=(1, 2))


@pytest.fixture(scope="module")
def inputs(tissue, tmp_path_factory):
    return write_sample(tmp_path_factory.mktemp("sample"), *tissue)


def script(folder: Path, body: str) -> str:
    """The command of a Python script that ends as told: `shape` and `write` are at hand."""
    path = folder / "method.py"
    path.write_text(
        "import sys\n"
        "shape = [len(open(name).readlines()) for name in ('cells.txt', 'targets.txt')]\n"
        "def write(shape, value='0.5'):\n"
        "    head = '%%MatrixMarket matrix array real general\\n{} {}\\n'.format(*shape)\n"
        "    open('mean.mtx', 'w').write(head + (value + '\\n') * (shape[0] * shape[1]))\n" + body
    )
    return f"{sys.executable} {path}"


def rscript() -> str:
    if shutil.which("Rscript") is None:
        pytest.skip("R ABSENT: no Rscript on PATH, the method in R was not run")
    return f"Rscript {HERE / 'external_knn.R'}"


# ---- as one of the package's own ----


@pytest.mark.parametrize("command", [lambda: PYTHON, rscript], ids=["python", "R"])
def test_knn_outside_the_package_is_the_packages_own(command, inputs):
    (theirs,) = External("theirs", command()).predict_folds(inputs, "s")
    (ours,) = package_methods()["knn"]().predict_folds(inputs, "s")
    assert theirs.method == "theirs" and theirs.sd is None
    assert np.isnan(ours.mean).any() and np.isfinite(ours.mean).any()
    np.testing.assert_allclose(theirs.mean, ours.mean, rtol=1e-4)
    np.testing.assert_allclose(theirs.mean_frequency, ours.mean_frequency, rtol=1e-4)
    for name in ("cells", "genes", "fold"):
        np.testing.assert_array_equal(getattr(theirs, name), getattr(ours, name))


def test_scored_cells_alone_are_predicted(inputs, tissue, tmp_path):
    (every,) = External("theirs", PYTHON).predict_folds(inputs, "s")
    references, spatial, gene_sets = tissue
    cells = [5, 17, 118]
    few = write_sample(tmp_path, references, spatial, replace(gene_sets, scored_cells=cells))
    (some,) = External("theirs", PYTHON).predict_folds(few, "s")
    np.testing.assert_allclose(some.mean, every.mean[cells], rtol=1e-6)


@pytest.mark.parametrize("fold", ["0", "2"])
def test_a_held_out_gene_leaves_no_trace(fold, tissue, tmp_path):
    references, spatial, gene_sets = tissue
    before, after = (
        External("theirs", PYTHON).predict_folds(write_sample(tmp_path / name, references, counts, gene_sets), "s")[0]
        for name, counts in (("a", spatial), ("b", with_noise(spatial, gene_sets.folds[fold])))
    )
    columns = before.fold == fold
    assert before.mean[:, columns].tobytes() == after.mean[:, columns].tobytes()
    assert before.mean.tobytes() != after.mean.tobytes()


# ---- what it gets ----


def test_the_folder_is_as_documented(inputs, tissue, tmp_path):
    references, spatial, gene_sets = tissue
    kept = tmp_path / "kept"
    body = (
        f"import shutil\nwrite(shape)\nshutil.copytree('.', {str(kept)!r} + str(len(sys.argv)), dirs_exist_ok=True)\n"
    )
    body += f"open({str(tmp_path / 'called')!r}, 'a').write(' '.join(sys.argv[1:]) + '\\n')\n"
    External("theirs", script(tmp_path, body), threads=3, seed=7).predict_folds(inputs, "s")
    calls = [line.split() for line in (tmp_path / "called").read_text().splitlines()]
    assert [call[1:] for call in calls] == [["3", "7"]] * 3  # once a fold
    assert len({call[0] for call in calls}) == 3 and not any(Path(call[0]).exists() for call in calls)
    folder, fold = Path(f"{kept}4"), fold_of(gene_sets, "2")  # the last one
    names = {
        f"{side}{end}"
        for side in ("spatial", "reference1", "reference2")
        for end in (".mtx", "_genes.txt", "_cells.tsv")
    }
    assert {path.name for path in folder.iterdir()} == names | {"targets.txt", "cells.txt", "mean.mtx"}

    def lines(name):
        return (folder / name).read_text().splitlines()

    assert tuple(lines("spatial_genes.txt")) == fold.in_use and tuple(lines("targets.txt")) == fold.held_out
    known = np.flatnonzero(spatial.select(fold.in_use).sum(axis=1))
    assert 0 < len(known) < len(spatial.cells)
    np.testing.assert_array_equal(
        mmread(folder / "spatial.mtx").toarray(), spatial.select(fold.in_use).toarray()[known]
    )
    assert lines("cells.txt") == [str(i) for i in range(1, len(known) + 1)]
    table = pd.read_csv(folder / "spatial_cells.tsv", sep="\t")
    assert list(table.columns) == ["batch", "x", "y"]
    assert table["batch"].tolist() == spatial.obs["batch"].iloc[known].tolist()
    np.testing.assert_allclose(table[["x", "y"]], spatial.coords[known])
    for i, reference in enumerate(inputs.references(), start=1):
        assert lines(f"reference{i}_genes.txt") == reference.genes.tolist()
        np.testing.assert_array_equal(mmread(folder / f"reference{i}.mtx").toarray(), reference.X.toarray())
        table = pd.read_csv(folder / f"reference{i}_cells.tsv", sep="\t")
        assert list(table.columns) == ["depth", "batch", "celltype"]
        np.testing.assert_array_equal(table["depth"], reference.obs["depth"])
        assert table["batch"].isna().all()
        assert table["celltype"].astype(str).tolist() == reference.obs["celltype"].tolist()


# ---- what can go wrong ----


@pytest.mark.parametrize(
    ("command", "message"),
    [
        ("nowhere knn.R", "theirs: there is no 'nowhere' here; set up the method's environment"),
        (f"{sys.executable} nowhere.py", r"theirs: .*bin/methods/nowhere.py: no such script"),
    ],
)
def test_absent(command, message):
    with pytest.raises(MethodError, match=message):
        External("theirs", command)


@pytest.mark.parametrize("command", ["python", "", "Rscript --vanilla knn.R", "python 'knn.py"])
def test_a_command_is_an_interpreter_and_a_script(command):
    with pytest.raises(InputError, match="theirs: expected an interpreter and a script, found the command"):
        External("theirs", command)


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("print('loading', file=sys.stderr)\nsys.exit('no such model')", "ended with 1: loading\nno such model"),
        ("print('on stdout')\nsys.exit(3)", "ended with 3: on stdout"),
        ("sys.exit(4)", "ended with 4: no message"),
        ("for i in range(9): print('line', i)\nsys.exit(5)", "ended with 5: line 4\nline 5\nline 6\nline 7\nline 8$"),
        ("", "left no mean.mtx"),
        ("open('mean.mtx', 'w').write('hello')", "mean.mtx of method.py is not a Matrix Market array"),
        ("write(shape)\nopen('mean.mtx', 'r+').truncate(80)", "mean.mtx of method.py is not a Matrix Market array"),
        (
            "open('mean.mtx', 'w').write('%%MatrixMarket matrix coordinate real general\\n1 1 1\\n1 1 1\\n')",
            "mean.mtx of method.py is not a Matrix Market array",
        ),
        ("write(shape[::-1])", r"predicts \(5, \d+\), expected \(cells, genes\) \(\d+, 5\)"),
        ("write(shape, '-0.1')", "predicts values that are negative or not finite"),
        ("write(shape, 'nan')", "predicts values that are negative or not finite"),
        ("write(shape, 'inf')", "predicts values that are negative or not finite"),
    ],
)
def test_failures(body, message, inputs, tmp_path):
    with pytest.raises(MethodError, match=f"theirs: .*{message}"):
        External("theirs", script(tmp_path, body)).predict_folds(inputs, "s")


def test_a_method_that_is_killed_is_out_of_memory(inputs, tmp_path):
    """And is tried again with more, as a step of our own is."""
    body = "import os, signal\nos.kill(os.getpid(), signal.SIGKILL)\n"
    for command in (script(tmp_path, body), f"sh {shell_around(tmp_path)}"):
        with pytest.raises(MemoryError, match="theirs: method.* was killed"):
            External("theirs", command).predict_folds(inputs, "s")


def shell_around(folder: Path) -> Path:
    """A shell script that hands on how the Python script ended."""
    path = folder / "method.sh"
    path.write_text(f"{sys.executable} {folder / 'method.py'}\nexit $?\n")
    return path
