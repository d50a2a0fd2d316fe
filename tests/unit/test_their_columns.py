"""Columns of cells and genes on their way from people's files to canonical counts and to the gene table."""

import anndata as ad
import h5py
import loompy
import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
import vendor_bundles as bundles
from spatialimpute.files.counts import read_counts, write_counts
from spatialimpute.files.gene_sets import GeneSets
from spatialimpute.files.inputs import SampleInputs, write_inputs
from spatialimpute.files.tsv import read_tsv, write_tsv
from spatialimpute.gene_facts import gene_facts
from spatialimpute.qc.clean import clean_counts, steps_table
from spatialimpute.sources import open_source
from spatialimpute.sources.coordinates import find_sidecar

N = 8
GENES = ["Gad1", "Sst", "Vip"]
X = np.arange(1, 1 + 3 * N).reshape(N, 3)
XY = np.arange(2.0 * N).reshape(N, 2)


def cells(**columns) -> pd.DataFrame:
    return pd.DataFrame(columns, index=[f"c{i}" for i in range(N)])


def anndata(obs: pd.DataFrame, genes=None) -> ad.AnnData:
    var = pd.DataFrame(index=GENES) if genes is None else genes
    return ad.AnnData(sp.csr_matrix(X.astype(np.float32)), obs=obs, var=var, obsm={"spatial": XY})


def cleaned(path, role="spatial", **options):
    """Counts as a later step reads them with every column, and QC's account."""
    keys = [key for key in options.values() if key]
    raw = open_source(path).read(keys, find_sidecar(path) if role == "spatial" else None)
    counts, summary = clean_counts(raw, id="s", role=role, technology="MERFISH", source=path.name, **options)
    write_counts(path.parent / "counts.h5ad", counts)
    return read_counts(path.parent / "counts.h5ad", every_column=True), summary


def examples(summary) -> dict:
    return {step["step"]: step["examples"] for step in summary["steps"] if step["axis"] == "columns"}


def test_of_h5ad_and_only_the_results_read_them(tmp_path):
    obs = cells(region=pd.Categorical(["L1", None] * 4), n_counts=7.5, section=[1, 2] * 4, edge=[True, False] * 4)
    anndata(obs).write_h5ad(tmp_path / "x.h5ad")
    counts, summary = cleaned(tmp_path / "x.h5ad")
    assert list(counts.obs) == [
        "n_counts", "n_genes", "dataset", "outlier", "region", "n_counts_original", "section", "edge",
    ]  # fmt: skip
    assert counts.obs["region"].isna().sum() == 4 and counts.obs["edge"].dtype == bool
    assert counts.obs["n_counts"].tolist() == X.sum(1).tolist() and (counts.obs["n_counts_original"] == 7.5).all()
    assert examples(summary) == {"cell columns renamed": ["n_counts -> n_counts_original"]}
    assert list(read_counts(tmp_path / "counts.h5ad").obs) == ["n_counts", "n_genes", "dataset", "outlier"]


def test_a_column_of_several_values_does_not_stop_the_others(tmp_path):
    anndata(cells(region="L1", odd="a")).write_h5ad(tmp_path / "x.h5ad")
    with h5py.File(tmp_path / "x.h5ad", "r+") as file:
        for name in ("odd", "table"):
            file.pop(f"obs/{name}", None)
        file["obs/odd"] = np.zeros((N, 2))
        file["obs/odd"].attrs.update({"encoding-type": "array", "encoding-version": "0.2.0"})
        ad.io.write_elem(file["obs"], "table", {"a": np.zeros(3)})
        file["obs"].attrs["column-order"] = np.array(["region", "odd", "table"], dtype=object)
    counts, summary = cleaned(tmp_path / "x.h5ad")
    assert "region" in counts.obs and "odd" not in counts.obs
    assert examples(summary) == {"nested columns of obs": ["odd", "table"]}


def test_of_a_table_and_of_the_file_with_its_coordinates(tmp_path):
    table = pd.DataFrame(X, columns=GENES)
    table.insert(0, "cell_id", [f"c{i}" for i in range(N)])
    table["kind"], table["note"] = ["a", None] * 4, "x"
    table.to_csv(tmp_path / "x.csv", index=False)
    places = cells(x=XY[:, 0], y=XY[:, 1], region=["L1", "L2"] * 4, note="y", slice=[1, 2] * 4).iloc[::-1]
    places.to_csv(tmp_path / "x.coords.csv", index_label="cell_id")
    counts, summary = cleaned(tmp_path / "x.csv", batch_key="slice")
    assert counts.obs["region"].tolist() == ["L1", "L2"] * 4 and counts.obs["kind"].isna().sum() == 4
    assert counts.obs["batch"].tolist() == ["1", "2"] * 4 and counts.obs["slice"].tolist() == [1, 2] * 4
    assert counts.obs["note"].tolist() == ["x"] * N and examples(summary) == {"columns of one name": ["note"]}


def test_of_loom(tmp_path):
    attributes = {
        "CellID": np.array([f"c{i}" for i in range(N)]), "Region": np.array(["L1", "L2"] * 4), "spatial": XY,
        "PCA": np.zeros((N, 3)),
    }  # fmt: skip
    loompy.create(
        str(tmp_path / "x.loom"), X.T, {"Gene": np.array(GENES), "Chromosome": np.array(["1"] * 3)}, attributes
    )
    counts, summary = cleaned(tmp_path / "x.loom")
    assert counts.obs["Region"].tolist() == ["L1", "L2"] * 4 and counts.var["Chromosome"].tolist() == ["1"] * 3
    assert examples(summary)["nested columns"] == ["PCA"]


def test_of_instruments(tmp_path):
    folder = bundles.xenium(tmp_path / "xenium")
    table = pd.read_parquet(folder / "cells.parquet")
    table["polygon"] = [[1.0, 2.0]] * len(table)
    table.to_parquet(folder / "cells.parquet")
    counts, summary = cleaned(folder)
    assert (counts.obs["segmentation_method"] == "Segmented by boundary stain").all()
    assert (counts.obs["cell_area"] == 60.5).all() and "polygon" not in counts.obs
    assert examples(summary)["nested columns"] == ["polygon"]
    counts, _ = cleaned(bundles.starmap_plus(tmp_path / "starmap"))
    assert counts.obs["Z"].tolist() == [0.5] * len(counts.cells) and set(counts.obs["Main_molecular_cell_type"]) == {
        "GABA"
    }


def test_the_key_is_not_carried_twice_and_ours_never_stands_for_theirs(tmp_path):
    anndata(cells(batch=["a", "b"] * 4, CellType=["T", "B"] * 4, supported=1)).write_h5ad(tmp_path / "x.h5ad")
    counts, summary = cleaned(tmp_path / "x.h5ad", batch_key="batch", celltype_key="CellType")
    assert counts.obs["batch"].tolist() == ["a", "b"] * 4 and counts.obs["celltype"].tolist() == ["T", "B"] * 4
    assert counts.obs.columns[-1] == "supported_original" and len(counts.obs.columns) == 7
    assert examples(summary)["cell columns renamed"] == ["supported -> supported_original", "CellType -> celltype"]
    counts, _ = cleaned(tmp_path / "x.h5ad")
    assert "batch" not in counts.obs and counts.obs["batch_original"].tolist() == ["a", "b"] * 4


def test_hostile_names_and_values_stay_text(tmp_path):
    obs = cells(**{"=cmd|' _C calc'!A0": "=1+1", "<img src=x>": "<script>", "n_counts": 1})
    var = pd.DataFrame({"=HYPERLINK()": ["@x", "-1", "ok"], "<b>": 1.5}, index=GENES)
    anndata(obs, var).write_h5ad(tmp_path / "x.h5ad")
    counts, summary = cleaned(tmp_path / "x.h5ad")
    assert (counts.obs["=cmd|' _C calc'!A0"] == "=1+1").all()
    write_tsv(tmp_path / "qc.tsv", steps_table(summary))
    write_tsv(tmp_path / "genes.tsv", counts.var.assign(gene=GENES), exact=counts.var.columns)
    for path in ("qc.tsv", "genes.tsv"):
        for line in (tmp_path / path).read_text().splitlines():
            assert not any(field.strip('"').startswith(("=", "+", "@", "-")) for field in line.split("\t")), line
    again = read_tsv(tmp_path / "genes.tsv")
    assert list(again) == ["=HYPERLINK()", "<b>", "gene"] and again["=HYPERLINK()"].tolist() == ["@x", "-1", "ok"]


def test_of_genes_with_counts_in_raw(tmp_path):
    var = pd.DataFrame({"highly_variable": [True, False]}, index=GENES[:2])
    data = ad.AnnData(np.log1p(X[:, :2]).astype(np.float32), obs=cells(a=1), var=var, obsm={"spatial": XY})
    raw = pd.DataFrame({"biotype": ["p", "q", "r"]}, index=GENES)
    data.raw = ad.AnnData(sp.csr_matrix(X.astype(np.float32)), var=raw)
    data.write_h5ad(tmp_path / "x.h5ad")
    counts, _ = cleaned(tmp_path / "x.h5ad")
    assert counts.var["biotype"].tolist() == ["p", "q", "r"]
    assert counts.var["highly_variable"].tolist()[:2] == [True, False] and counts.var["highly_variable"].isna()[2]


def test_of_genes_whose_ids_are_the_index(tmp_path):
    ids = ["ENSMUSG00000000001.4", "ENSMUSG00000000002.1", "ENSMUSG00000000003.1"]
    var = pd.DataFrame({"gene_symbols": GENES, "gene_id": ["7", "8", "9"], "verdict": "theirs"}, index=ids)
    anndata(cells(a=1), var).write_h5ad(tmp_path / "x.h5ad")
    counts, summary = cleaned(tmp_path / "x.h5ad", role="reference")
    assert counts.genes.tolist() == GENES and counts.gene_ids[0] == "ENSMUSG00000000001"
    assert list(counts.var) == ["name_in_file", "gene_symbols", "gene_id_original", "verdict_original"]
    assert counts.var["name_in_file"].tolist() == ids
    assert examples(summary)["gene columns renamed"] == ["gene_id -> gene_id_original", "verdict -> verdict_original"]


@pytest.fixture
def references(tmp_path):
    """Two references; the second has a gene more and says other things of it."""
    found = []
    for name, genes, columns in (
        ("a", GENES, {"biotype": ["p", None, "p"], "length": [1.5, 2.0, np.nan], "only_a": [True, False, True]}),
        ("b", [*GENES[:2], "Pvalb"], {"biotype": ["x", "q", "r"], "length": [9.0, 9.0, 3.0]}),
    ):
        (tmp_path / name).mkdir()
        anndata(cells(a=1), pd.DataFrame(columns, index=genes)).write_h5ad(tmp_path / name / "x.h5ad")
        found.append(cleaned(tmp_path / name / "x.h5ad", role="reference")[0])
    return found


def test_of_several_references_the_first_that_has_the_gene_says(tmp_path, references):
    (tmp_path / "s").mkdir()
    anndata(cells(region="L1")).write_h5ad(tmp_path / "s" / "x.h5ad")
    spatial, _ = cleaned(tmp_path / "s" / "x.h5ad")
    genes = [*GENES, "Pvalb"]
    gene_sets = GeneSets(genes, GENES[:2], GENES[2:], genes, {})
    facts = gene_facts(spatial, references, gene_sets)
    write_inputs(tmp_path / "inputs", spatial, references, gene_sets, facts)
    inputs = SampleInputs(tmp_path / "inputs")
    columns = inputs.gene_columns
    assert columns.index.tolist() == genes
    assert columns["biotype"].astype(object).where(columns["biotype"].notna(), None).tolist() == ["p", None, "p", "r"]
    assert columns["length"].tolist()[:2] == [1.5, 2.0] and columns["length"].iloc[3] == 3.0
    assert columns["only_a"].tolist()[:3] == [True, False, True] and columns["only_a"].isna().tolist()[3]
    assert "region" not in inputs.spatial().obs and "region" in inputs.spatial(genes=[], every_column=True).obs
