"""A sample's inputs as one folder, and counts of which some rows and genes are read."""

from dataclasses import replace

import anndata as ad
import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from samples import write_sample
from spatialimpute.errors import DamagedError, InputError
from spatialimpute.files import counts as counts_file
from spatialimpute.files.counts import read_counts, write_counts
from spatialimpute.files.inputs import DEPTH, SampleInputs, write_inputs
from spatialimpute.files.sealed import digest, seal
from spatialimpute.gene_facts import gene_facts
from tissue import draw


@pytest.fixture(scope="module")
def tissue():
    return draw(n_cells=(90, 70, 60), batches=(1, 2))


@pytest.fixture(scope="module")
def spatial_file(tissue, tmp_path_factory):
    path = tmp_path_factory.mktemp("counts") / "spatial.h5ad"
    spatial = tissue[1]
    write_counts(path, replace(spatial, gene_ids=np.array([f"ENS{i}" for i in range(15)])))
    return path


def same(found, expected):
    assert found.X.dtype == np.float32
    np.testing.assert_array_equal(found.X.toarray(), expected.X.toarray())
    for name in ("genes", "cells", "coords", "gene_ids"):
        np.testing.assert_array_equal(getattr(found, name), getattr(expected, name))
    pd.testing.assert_frame_equal(found.obs, expected.obs)
    assert found.info == expected.info


# ---- counts ----


def test_all_counts_come_back(tissue, spatial_file):
    spatial, found = tissue[1], read_counts(spatial_file)
    np.testing.assert_array_equal(found.X.toarray(), spatial.X.toarray())
    assert found.genes.tolist() == spatial.genes.tolist() and found.cells.tolist() == spatial.cells.tolist()
    np.testing.assert_array_equal(found.coords, spatial.coords)
    assert found.obs["batch"].tolist() == spatial.obs["batch"].tolist()
    assert found.info["id"] == "spatial" and found.gene_ids[3] == "ENS3"


ROWS = {
    "slice": slice(7, 31),
    "to the end": slice(50, None),
    "one": slice(3, 4),
    "none": slice(9, 9),
    "every third": np.arange(0, 60, 3),
    "run of indices": np.arange(20, 40),
    "scattered": np.array([0, 5, 6, 59]),
    "no indices": np.array([], dtype=int),
    "all": None,
}


@pytest.mark.parametrize("rows", ROWS)
@pytest.mark.parametrize("genes", [None, ["g3"], ["g9", "g0", "g14", "g2"], []], ids=["all", "one", "some", "none"])
@pytest.mark.parametrize("block", [65_536, 7])
def test_a_part_is_that_of_the_whole(spatial_file, rows, genes, block, monkeypatch):
    monkeypatch.setattr(counts_file, "BLOCK_ROWS", block)
    rows, expected = ROWS[rows], read_counts(spatial_file)
    if genes is not None:
        expected = expected.keep(genes)
    if rows is not None:
        expected = expected.take(rows)
    same(read_counts(spatial_file, rows, genes), expected)


@given(
    rows=st.lists(st.integers(0, 59), unique=True).map(sorted),
    genes=st.lists(st.integers(0, 14), unique=True),
)
@settings(max_examples=20, deadline=None)
def test_any_part_is_that_of_the_whole(spatial_file, rows, genes):
    names = [f"g{i}" for i in genes]
    whole = read_counts(spatial_file)
    found = read_counts(spatial_file, np.array(rows, dtype=int), names)
    same(found, whole.keep(names).take(np.array(rows, dtype=int)))


def test_a_gene_that_is_not_there_is_named(spatial_file):
    with pytest.raises(InputError, match="gene 'nowhere' is not in the counts"):
        read_counts(spatial_file, slice(0, 5), ["g0", "nowhere"])
    with pytest.raises(InputError, match="gene 'nowhere' is not in the counts"):
        read_counts(spatial_file).select(["nowhere"])


def test_other_files_and_damage_are_refused(spatial_file, tmp_path):
    path = tmp_path / "spatial.h5ad"
    content = bytearray(spatial_file.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    with pytest.raises(DamagedError, match="spatial.h5ad: damaged"):
        read_counts(path, slice(0, 1), ["g0"])
    data = ad.read_h5ad(spatial_file)
    del data.uns["spatialimpute"]
    data.write_h5ad(path)
    seal(path)
    with pytest.raises(InputError, match="expected counts written by the QC step .*found schema version none"):
        read_counts(path)


# ---- the folder ----


def test_inputs_hold_what_later_steps_need_and_no_more(tissue, tmp_path):
    references, spatial, gene_sets = tissue
    fewer = replace(gene_sets, genes=gene_sets.genes[:20], targets=gene_sets.genes[5:20])
    references = [replace(reference, info={"id": f"r{i}"}) for i, reference in enumerate(references)]
    inputs = write_sample(tmp_path / "inputs", references, spatial, fewer)
    names = ["gene_facts.tsv", "gene_sets.json", "reference1.h5ad", "reference2.h5ad", "spatial.h5ad"]
    assert sorted(path.name for path in inputs.folder.iterdir()) == names
    assert inputs.gene_sets == fewer and inputs.n_cells == 60
    same(inputs.spatial(), read_back(spatial.keep(fewer.shared), tmp_path))
    same(inputs.spatial(slice(5, 9), ["g2", "g1"]), inputs.spatial().keep(["g2", "g1"]).take(np.arange(5, 9)))
    found = inputs.references()
    assert [reference.info["id"] for reference in found] == ["r0", "r1"]
    for ours, given_one in zip(found, references, strict=True):
        assert ours.genes.tolist() == [gene for gene in fewer.genes if gene in given_one.genes]
        np.testing.assert_array_equal(ours.X.toarray(), given_one.select(ours.genes).toarray())
        assert ours.obs["celltype"].tolist() == given_one.obs["celltype"].tolist()


def test_panel_genes_that_a_reference_lacks_stand_by_themselves(tissue, tmp_path):
    references, spatial, gene_sets = tissue
    assert write_sample(tmp_path / "none", references, spatial, gene_sets).panel_only() is None
    sets = replace(gene_sets, shared=gene_sets.shared[:12], measured_only=gene_sets.shared[:11:-1])
    inputs = write_sample(tmp_path / "some", references, spatial, sets)
    found = read_counts(inputs.panel_only_path)
    assert found.genes.tolist() == sets.measured_only == ["g14", "g13", "g12"]
    assert found.cells.tolist() == inputs.spatial().cells.tolist()
    np.testing.assert_array_equal(inputs.panel_only().toarray(), spatial.select(sets.measured_only).toarray())
    assert found.coords is None and found.obs.shape == (60, 0)  # which spatial.h5ad has
    assert inputs.spatial().genes.tolist() == sets.shared
    # Models are trained without them.
    assert digest(inputs.panel_only_path) not in inputs.digests()


def test_whether_the_references_have_cell_types(tissue, tmp_path):
    references, spatial, gene_sets = tissue
    unknown = [replace(one, obs=one.obs.assign(celltype=np.nan)) for one in references]
    without = [replace(one, obs=one.obs.drop(columns="celltype")) for one in references]
    for i, (some, expected) in enumerate(
        ((references, True), (unknown, False), (without, False), ([references[0], without[1]], False))
    ):
        assert write_sample(tmp_path / str(i), some, spatial, gene_sets).has_celltypes is expected


def read_back(counts, folder):
    write_counts(folder / "back.h5ad", counts)
    return read_counts(folder / "back.h5ad")


def test_depth_is_over_the_genes_that_all_references_have(tissue, tmp_path):
    """Modeled or not: a cell's depth must not depend on how many genes are imputed."""
    references, spatial, gene_sets = tissue
    few = replace(gene_sets, genes=gene_sets.shared, targets=gene_sets.shared)
    common = [gene for gene in references[0].genes if gene in references[1].genes]
    assert len(common) == 22 and len(few.genes) == 15
    for i, sets in enumerate((gene_sets, few)):
        found = write_sample(tmp_path / str(i), references, spatial, sets).references()
        for ours, given_one in zip(found, references, strict=True):
            np.testing.assert_array_equal(ours.obs[DEPTH], given_one.select(common).toarray().sum(axis=1))


def test_gene_facts_come_back_in_the_targets_order(tissue, tmp_path):
    references, spatial, gene_sets = tissue
    some = replace(gene_sets, targets=["g20", "g3", "g1"])
    inputs = write_sample(tmp_path / "inputs", references, spatial, some)
    facts = gene_facts(spatial, references, some).set_index("gene").astype({"n_detected": float})
    pd.testing.assert_frame_equal(inputs.gene_facts, facts, check_dtype=False, rtol=1e-4)
    assert inputs.gene_facts.index.tolist() == ["g20", "g3", "g1"]


def test_references_are_in_the_order_of_the_sheet_however_many(tissue, tmp_path):
    _, spatial, gene_sets = tissue
    reference = draw()[0][0]
    many = [replace(reference, info={"id": f"r{i}"}).take(np.arange(5 + i)) for i in range(11)]
    inputs = write_sample(tmp_path / "inputs", many, spatial, gene_sets)
    assert [found.info["id"] for found in inputs.references()] == [f"r{i}" for i in range(11)]
    assert inputs.digests() == [
        digest(inputs.folder / name)
        for name in ("spatial.h5ad", *(f"reference{i}.h5ad" for i in range(1, 12)), "gene_sets.json")
    ]


def test_the_technology_is_that_of_the_sheet(tissue, tmp_path):
    references, spatial, gene_sets = tissue
    assert write_sample(tmp_path / "a", references, spatial, gene_sets).technology is None
    known = replace(spatial, info={"technology": "osmFISH"})
    assert write_sample(tmp_path / "b", references, known, gene_sets).technology == "osmFISH"


def test_the_same_inputs_are_the_same_bytes(tissue, tmp_path):
    references, spatial, gene_sets = tissue
    facts = gene_facts(spatial, references, gene_sets)
    for name in ("a", "b"):
        write_inputs(tmp_path / name, spatial, references, gene_sets, facts)
    for path in (tmp_path / "a").iterdir():
        assert path.read_bytes() == (tmp_path / "b" / path.name).read_bytes()


def test_a_folder_of_something_else_is_refused(tmp_path):
    with pytest.raises(InputError, match="expected a folder that select_genes.py wrote; it holds no gene_sets.json"):
        SampleInputs(tmp_path)
