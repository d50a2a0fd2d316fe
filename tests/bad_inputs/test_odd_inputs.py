"""What is odd and clear is read as it is meant; what is hostile is harmless in every output."""

import json
import re

import h5py
import numpy as np
import pandas as pd
import pytest
from corpus import GOOD_SHEET, HEADER
from good_files import COUNTS, GENES, data, edit, table
from running import ROOT, check_inputs, qc, run
from spatialimpute.check.gene_spellings import gene_spellings
from spatialimpute.check.named_files import GPU_DEVICES, check_accelerator
from spatialimpute.files.counts import read_counts
from spatialimpute.files.tsv import read_tsv, write_tsv
from spatialimpute.report.content import SectionWriter, escape
from spatialimpute.sources import guard, open_source

HOSTILE = [
    "=cmd|' /C calc'!A0",
    "+1+1",
    "-2",
    "@SUM(A1)",
    "<script>alert(1)</script>",
    "a'; touch owned; '",
    "../../owned",
]


@pytest.mark.parametrize(
    "text",
    [
        "\ufeff" + GOOD_SHEET,
        GOOD_SHEET.replace("\n", "\r\n"),
        GOOD_SHEET.rstrip("\n"),
        GOOD_SHEET + "\n,,,\n\n",
        GOOD_SHEET.replace(",", " , "),
        GOOD_SHEET.replace("spatial.h5ad", '"spatial.h5ad"'),
        GOOD_SHEET.replace("spatial.h5ad", "./sub/../spatial.h5ad"),
    ],
    ids=["BOM", "CRLF", "no last line break", "empty rows", "spaces", "quotes", "path with dots"],
)
def test_sheets_that_are_read_as_meant(folder, text):
    (folder / "sheet.csv").write_bytes(text.encode())
    code, said = run("check_inputs", check_inputs(folder, {}), folder)
    assert code == 0, said
    sample = json.loads((folder / "samples.json").read_text())[0]
    assert sample["sample"] == "s1" and sample["spatial"] == [str(folder / "spatial.h5ad")]


def test_paths_with_spaces_and_other_letters(folder):
    place = folder / "é a (1)"
    place.mkdir()
    data().write_h5ad(place / "my file.h5ad")
    (folder / "sheet.csv").write_text(f"{HEADER}\ns1,é a (1)/my file.h5ad,reference.h5ad,MERFISH\n")
    code, said = run("check_inputs", check_inputs(folder, {}), folder)
    assert code == 0, said
    assert run("qc", qc("s1", "spatial", "--input", place / "my file.h5ad"), folder)[0] == 0


def test_a_name_to_which_nothing_can_be_added(folder):
    name = f"{'x' * 249}.h5ad"
    (folder / "spatial.h5ad").rename(folder / name)
    (folder / "sheet.csv").write_text(f"{HEADER}\ns1,{name},reference.h5ad,MERFISH\n")
    code, said = run("check_inputs", check_inputs(folder, {}), folder)
    assert code == 0, said


def test_repeated_names_are_told_apart_or_summed(folder):
    found = data(genes=["Gene1", *GENES[1:]], cells=["a"] * 12)
    found.write_h5ad(folder / "x.h5ad")
    assert run("qc", qc("s1", "spatial", "--input", "x.h5ad"), folder)[0] == 0
    counts = read_counts(folder / "counts.h5ad")
    assert counts.genes.tolist() == GENES[1:] and len(set(counts.cells)) == 12
    np.testing.assert_array_equal(counts.select(["Gene1"]).toarray()[:, 0], COUNTS[:, 0] + COUNTS[:, 1])


def test_booleans_in_a_table_are_no_gene(folder):
    table().assign(kept=True).to_csv(folder / "x.csv")
    assert run("qc", qc("s1", "spatial", "--input", "x.csv"), folder)[0] == 0
    assert "kept" not in read_counts(folder / "counts.h5ad").genes


def test_hostile_names_stay_text(folder):
    """Gene names, cell ids and cell types that are formulas, HTML, commands and paths."""
    names = HOSTILE + GENES[len(HOSTILE) :]
    cells = [f"{name}{i}" for i, name in enumerate((HOSTILE * 2)[:12])]
    data(genes=[*names[:-1], names[0]], cells=cells, celltype=(HOSTILE * 2)[:12]).write_h5ad(folder / "x.h5ad")
    code, said = run("qc", qc("s1", "spatial", "--input", "x.h5ad", "--min-counts", 40), folder)
    assert code == 0, said
    counts = read_counts(folder / "counts.h5ad")
    assert set(HOSTILE) <= set(counts.genes), "names stay as they are in the file for programs"
    for row in (folder / "qc.tsv").read_text().splitlines():
        assert not any(field.strip('"').startswith(("=", "+", "-", "@")) for field in row.split("\t")), row
    assert not (folder / "owned").exists()


def test_tables_hold_no_formulas_and_read_back_as_they_were(tmp_path):
    found = pd.DataFrame({"gene": [*HOSTILE, "NA", "'quoted", "1e5"], "score": np.linspace(-1, 1, 10)})
    write_tsv(tmp_path / "x.tsv", found)
    for line in (tmp_path / "x.tsv").read_text().splitlines():
        assert not line.strip('"').startswith(("=", "+", "-", "@"))
    again = read_tsv(tmp_path / "x.tsv")
    assert again["gene"].tolist() == found["gene"].tolist()
    np.testing.assert_allclose(again["score"], found["score"], rtol=1e-4)


def test_names_are_text_in_the_report(tmp_path):
    for name in HOSTILE:
        shown = escape(name)
        assert "<" not in shown and "'" not in shown and not shown.startswith(("=", "+", "-", "@"))
    path = SectionWriter("s1", tmp_path).write("x", "table", {escape(HOSTILE[4]): {"v": 1}}, name=HOSTILE[4])
    assert "<script" not in path.read_text()


def test_more_than_the_memory_is_refused_before_it_is_allocated(folder, monkeypatch):
    monkeypatch.setattr(guard, "available_memory", lambda: 1000)
    code, said = run("qc", qc("s1", "spatial", "--input", "spatial.h5ad"), folder)
    assert code == 137
    assert "the content of spatial.h5ad takes 0.0 GB" in said and "Give this step more memory" in said
    assert not (folder / "counts.h5ad").exists()


def test_the_old_reader_of_h5ad_needs_memory_for_everything(folder, monkeypatch):
    """It reads dense matrices and `uns` whole; the new one takes the former by blocks and leaves out the latter."""
    data(np.zeros((12, 11), np.float32)).write_h5ad(folder / "x.h5ad")
    edit(folder / "x.h5ad", lambda file: file.create_dataset("uns/big", data=np.zeros(2_000_000)))
    monkeypatch.setattr(guard, "available_memory", lambda: 10_000_000)
    assert open_source(folder / "x.h5ad").read().n_obs == 12
    edit(folder / "x.h5ad", lambda file: file.attrs.__delitem__("encoding-type"))
    with pytest.raises(MemoryError, match="the content of .*x.h5ad takes 0.0 GB"):
        open_source(folder / "x.h5ad").read()


def test_what_a_soft_link_leads_to_needs_memory(folder, monkeypatch):
    data().write_h5ad(folder / "x.h5ad")

    def link(file):
        file["uns/big"] = np.zeros(2_000_000)
        file["obsm/coords"] = h5py.SoftLink("/uns/big")

    edit(folder / "x.h5ad", link)
    monkeypatch.setattr(guard, "available_memory", lambda: 10_000_000)
    with pytest.raises(MemoryError):
        open_source(folder / "x.h5ad").read()


def test_a_unit_of_coordinates_is_one_text(folder):
    data().write_h5ad(folder / "x.h5ad")
    edit(folder / "x.h5ad", lambda file: file.create_dataset("uns/coordinate_unit", data=["um"] * 1000))
    assert open_source(folder / "x.h5ad").read().uns["coordinate_unit"] == "unknown"


def test_spellings_of_genes_are_read_within_the_memory(folder, monkeypatch):
    path = folder / "spatial.h5ad"
    assert "gene3" in gene_spellings(path)
    monkeypatch.setattr(guard, "available_memory", lambda: 1000)
    assert gene_spellings(path) is None


def test_control_groups_limit_the_memory(monkeypatch, tmp_path):
    (tmp_path / "self").write_text("0::/job/step\n")
    (tmp_path / "job/step").mkdir(parents=True)
    (tmp_path / "job/memory.max").write_text("12345\n")
    (tmp_path / "job/step/memory.max").write_text("max\n")
    monkeypatch.setattr(guard, "GROUPS", tmp_path / "self")
    monkeypatch.setattr(guard, "GROUP_ROOT", tmp_path)
    assert guard.available_memory() == 12345


def test_honest_files_pass_the_bounds(tmp_path):
    """An embedding with a soft link, and a chunked matrix of mostly zeros that packs well."""
    data().write_h5ad(tmp_path / "x.h5ad", compression="gzip")
    with h5py.File(tmp_path / "x.h5ad", "r+") as file:
        file["uns/again"] = h5py.SoftLink("/X")
    np.testing.assert_array_equal(open_source(tmp_path / "x.h5ad").read().X.toarray(), COUNTS)


def test_a_gpu_that_is_not_there_is_said_at_once(monkeypatch, tmp_path):
    monkeypatch.setattr("spatialimpute.check.named_files.DEVICES", tmp_path)
    wanted = {"accelerator": "gpu", "gpu_cluster_options": None}
    assert "'accelerator': found 'gpu'" in check_accelerator(wanted)[0]
    assert check_accelerator(wanted | {"gpu_cluster_options": "--gres=gpu:1"}) == []
    assert check_accelerator({"accelerator": "auto"}) == []
    (tmp_path / GPU_DEVICES[0]).touch()
    assert check_accelerator(wanted) == []


def test_nothing_of_the_package_runs_what_a_file_holds():
    """No pickle, whether by its name or behind a reader that may take one, and no code from text."""
    risky = re.compile(
        r"^\s*(import|from) (pickle|dill|joblib|shelve|marshal)\b|allow_pickle=True|weights_only=False|torch\.load\("
        r"|np\.load\(|read_pickle|(?<![\w.])(eval|exec)\(|yaml\.load\(|shell=True|os\.system",
        re.MULTILINE,
    )
    sources = sorted((ROOT / "bin").rglob("*.py"))
    assert len(sources) > 40
    assert [path.name for path in sources if risky.search(path.read_text())] == []
