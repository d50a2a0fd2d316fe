"""Bad inputs through the pipeline itself: it ends soon, says once what to fix, and publishes nothing."""

import json
import resource
import time

import anndata as ad
import h5py
import numpy as np
import pytest

HEADER = "sample,spatial,reference,technology"
#: A run starts Nextflow and one small task; what it waits for a busy machine is not counted.
CPU_SECONDS, SECONDS = 20, 120


@pytest.fixture(scope="module")
def workplace(launcher, tissue):
    made = launcher("refusals")
    for name in ("spatial.h5ad", "reference.h5ad"):
        (made.cwd / name).symlink_to(tissue / name)
    return made


@pytest.fixture
def refused(workplace, request):
    """`refused(sheet, *options)` runs the pipeline and looks at how it ends; what it said."""

    def run(sheet: str | bytes, *options: str) -> str:
        (workplace.cwd / "sheet.csv").write_bytes(sheet if isinstance(sheet, bytes) else sheet.encode())
        outdir = workplace.cwd / request.node.name.replace("[", "_").replace("]", "")
        start, busy = time.monotonic(), children_seconds()
        ended = workplace.run("--input", "sheet.csv", *options, outdir=str(outdir))
        assert ended.code != 0
        assert children_seconds() - busy < CPU_SECONDS and time.monotonic() - start < SECONDS
        assert "Traceback" not in ended.text and "Exception" not in ended.text
        assert ended.text.count("ERROR") == ended.text.count("FAILED")
        assert [path.name for path in outdir.iterdir()] == ["pipeline_info"]
        assert not list(workplace.cwd.rglob("owned"))
        return ended.text[ended.text.index("FAILED") :]

    return run


def children_seconds() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def row(spatial: str = "spatial.h5ad", sample: str = "s1", technology: str = "MERFISH") -> str:
    return f"{sample},{spatial},reference.h5ad,{technology}\n"


def test_every_problem_of_sheet_and_parameters_at_once(refused):
    sheet = f"{HEADER}\n{row(technology='MERFISHH')}{row('gone.h5ad', 's2')}"
    said = refused(sheet, "--cv_folds", "1", "--n_latnt", "3")
    assert len(said.strip().splitlines()) == 5, said
    assert "4 problems" in said and "did you mean 'n_latent'?" in said and "did you mean 'MERFISH'?" in said


@pytest.mark.parametrize(
    ("sheet", "says"),
    [
        (f"{HEADER}\n{row()}".replace(",", ";"), "separated by semicolons, expected commas"),
        (f"{HEADER}\n{row()}\0,\0".encode(), "not a text file"),
        ("", "empty; expected a header"),
    ],
    ids=["semicolons", "NUL", "empty"],
)
def test_sheets_that_are_none(refused, sheet, says):
    assert says in refused(sheet)


def test_names_that_could_do_harm(refused):
    names = ["../owned", "$(touch owned)", "a'; touch owned; '", "=1+1"]
    paths = ["$(touch owned).h5ad", "`touch owned`", "../../../../../../etc/passwd"]
    rows = [row(sample=name) for name in names] + [row(path, f"s{i}") for i, path in enumerate(paths)]
    said = refused(f"{HEADER}\n{''.join(rows)}", "--genes", "Gad1'; touch owned; '")
    assert said.count("column 'sample'") == 4 and said.count("column 'spatial'") == 3


def test_files_that_lead_out_of_themselves_or_claim_too_much(refused, workplace, tissue):
    for name in ("link", "claim"):
        (workplace.cwd / f"{name}.h5ad").write_bytes((tissue / "spatial.h5ad").read_bytes())
        with h5py.File(workplace.cwd / f"{name}.h5ad", "r+") as file:
            del file["X"]
            if name == "link":
                file["X"] = h5py.ExternalLink(str(tissue / "reference.h5ad"), "/X")
            else:
                file.create_dataset("X", (10**12, 40), "f4", chunks=(1000, 40))
    said = refused(f"{HEADER}\n{row('link.h5ad')}{row('claim.h5ad', 's2')}")
    assert "'X' is a link to another file, which is not followed" in said
    assert "'X' claims 1,000,000,000,000 x 40 values" in said


def test_genes_that_nobody_has(refused, workplace, tissue):
    found = ad.read_h5ad(tissue / "spatial.h5ad")
    found.var_names = [f"ENSMUSG{i:011d}" for i in range(found.n_vars)]
    found.write_h5ad(workplace.cwd / "ids.h5ad")
    said = refused(f"{HEADER}\n{row('ids.h5ad')}", "--genes", "NoSuchGene")
    assert "0 genes are shared by the spatial file and the reference, 10 needed" in said
    assert "1 of 1 genes are not in reference.h5ad: 'NoSuchGene'" in said


def test_parameters_of_the_wrong_type_in_a_file(refused, workplace):
    (workplace.cwd / "p.json").write_text(json.dumps({"n_samples": [1], "drop_outliers": "yes", "max_mad": "five"}))
    said = refused(f"{HEADER}\n{row()}", "-params-file", "p.json")
    assert "3 problems" in said and "'n_samples': found [1]" in said and "'max_mad': found 'five'" in said


def test_counts_that_are_none_are_named_where_the_user_has_them(refused, workplace, tissue):
    """Found by QC: one message per sample; the references' counts, which are good, are published whole."""
    found = ad.read_h5ad(tissue / "spatial.h5ad")
    logged, nowhere = found.copy(), found.copy()
    logged.X = np.log1p(found.X)
    nowhere.obsm["spatial"] = np.full((found.n_obs, 2), np.nan)
    for name, spoiled in (("logged", logged), ("nowhere", nowhere)):
        spoiled.write_h5ad(workplace.cwd / f"{name}.h5ad")
    (workplace.cwd / "sheet.csv").write_text(f"{HEADER}\n{row('logged.h5ad')}{row('nowhere.h5ad', 's2')}")
    ended = workplace.run("--input", "sheet.csv", outdir=str(workplace.cwd / "counts"))
    assert ended.code != 0 and "Traceback" not in ended.text
    for sample, name, says in (
        ("s1", "logged", "log-transformed data?"),
        ("s2", "nowhere", "has coordinates [nan, nan]"),
    ):
        assert ended.text.count(f"FAILED QC ({sample}): ERROR: {workplace.cwd}/{name}.h5ad: ") == 1
        assert ended.text.count(says) == 1
    assert {path.name for path in (workplace.cwd / "counts").iterdir()} == {"pipeline_info", "references"}
    assert len(list((workplace.cwd / "counts/references").rglob("*.h5ad"))) == 1
