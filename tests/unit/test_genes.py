"""Gene matching, targets and folds."""

import json
from pathlib import Path

import anndata as ad
import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
from hypothesis import given
from hypothesis import strategies as st
from spatialimpute.check.gene_lists import parse_gene_list
from spatialimpute.errors import InputError
from spatialimpute.files.counts import Counts
from spatialimpute.genes import draw_folds, match_names, select_genes

DATA = Path(__file__).resolve().parents[3] / "shared" / "data"
GENES = [f"Gene{i}" for i in range(200)]
#: Genes that are off in one half of the reference cells; the others vary by chance alone.
VARIABLE = ["Gene50", "Gene90", "Gene130", "Gene170"]


def make_reference(genes=GENES, n=200, seed=0, name="reference", **obs):
    rng = np.random.default_rng(seed)
    rate = np.tile(np.linspace(0.5, 6, len(genes)), (n, 1))
    variable = np.isin(genes, VARIABLE)
    rate[: n // 2, variable] = 0
    rate[n // 2 :, variable] *= 2
    X = rng.poisson(rate)
    cells = np.array([f"c{i}" for i in range(n)])
    return Counts(
        sp.csr_matrix(X, dtype=np.float32),
        np.array(genes),
        cells,
        pd.DataFrame(obs, index=cells),
        info={"id": name},
    )


def test_match_exact_then_by_unambiguous_case():
    known = ["Gad1", "SST", "sst", "Pvalb", "Vip"]
    names = ["Gad1", "GAD1", "Sst", "PVALB", "vip", "Lamp5"]
    assert match_names(names, known) == {"Gad1": "Gad1", "PVALB": "Pvalb", "vip": "Vip"}
    assert match_names(["SST", "sst"], known) == {"SST": "SST", "sst": "sst"}
    assert match_names(["vip", "VIP"], known) == {}


def test_match_by_ensembl_id():
    known, known_ids = ["Gad1", "Sst", "Vip", "Lamp5"], ["ENS1", "ENS2", "ENS3", ""]
    names, ids = ["ENS1", "Sst", "OldVip", "lamp5", "Twin"], ["ENS1", "ENS9", "ENS3", "", "ENS2"]
    # Twin has Sst's id, but Sst itself is there.
    expected = {"ENS1": "Gad1", "Sst": "Sst", "OldVip": "Vip", "lamp5": "Lamp5"}
    assert match_names(names, known, ids, known_ids) == expected
    assert match_names(["a", "b"], known, ["ENS1", "ENS1"], known_ids) == {}
    assert match_names(["ENS1"], known, ["ENS1"], None) == {}


@given(st.lists(st.text("abAB", max_size=3), unique=True), st.lists(st.text("abAB", max_size=3), unique=True))
def test_matches_are_one_to_one_and_equal_but_for_case(names, known):
    matched = match_names(names, known)
    assert len(set(matched.values())) == len(matched)
    assert all(name.casefold() == gene.casefold() and gene in known for name, gene in matched.items())
    assert all(matched[name] == name for name in names if name in known)


def test_panel_of_a_small_reference_takes_all_expressed_genes():
    reference = make_reference()
    X = reference.X.toarray()
    X[:, 3] = 0
    reference.X = sp.csr_matrix(X)
    spatial = ["Gene30", "Other", *GENES[5:20]]
    gene_sets, renamed = select_genes("s", spatial, [reference])
    assert renamed == {}
    assert gene_sets.shared == ["Gene30", *GENES[5:20]]
    assert gene_sets.measured_only == ["Other"]
    assert gene_sets.genes == gene_sets.shared + [g for g in GENES if g not in gene_sets.shared and g != "Gene3"]
    assert gene_sets.targets == gene_sets.genes
    assert sorted(gene for fold in gene_sets.folds.values() for gene in fold) == sorted(gene_sets.shared)
    assert set(gene_sets.how) == {"shared", "targets", "folds", "measured_only"}


def test_names_that_differ_by_case_are_renamed_to_the_reference():
    gene_sets, renamed = select_genes("s", [gene.upper() for gene in GENES[:15]], [make_reference()])
    assert gene_sets.shared == GENES[:15]
    assert renamed == {gene.upper(): gene for gene in GENES[:15]}
    assert "GENE0 as Gene0" in gene_sets.how["shared"]


def test_spatial_ensembl_ids_are_renamed_to_the_reference_symbols():
    reference = make_reference()
    reference.gene_ids = np.array([f"ENSG{i:011d}" for i in range(len(GENES))])
    ids = reference.gene_ids[20:5:-1]
    gene_sets, renamed = select_genes("s", ids.tolist(), [reference], spatial_ids=ids)
    assert gene_sets.shared == GENES[20:5:-1]
    assert renamed[ids[0]] == "Gene20"


def test_variable_genes_and_requested_ones_are_targets():
    gene_sets, _ = select_genes("s", GENES[:12], [make_reference()], requested=["gene20"], n_top_genes=4)
    assert gene_sets.genes == GENES[:12] + ["Gene20"] + VARIABLE
    assert gene_sets.how["targets"].startswith("the 4 most variable genes")


@pytest.mark.parametrize("batches", [["a", "b"], [f"tiny{i}" for i in range(100)]])
def test_variable_genes_with_batches_of_any_size(batches):
    reference = make_reference(batch=np.resize(batches, 200))
    gene_sets, _ = select_genes("s", GENES[:12], [reference], n_top_genes=4)
    assert gene_sets.genes == GENES[:12] + VARIABLE


def test_max_shared_genes_keeps_the_most_variable_of_the_reference():
    spatial = GENES[:10] + VARIABLE
    gene_sets, _ = select_genes("s", spatial, [make_reference()], max_shared_genes=4, min_shared_genes=4, cv_folds=2)
    assert gene_sets.shared == VARIABLE
    assert set(GENES[:10]) <= set(gene_sets.targets)
    with pytest.raises(InputError, match="below min_shared_genes"):
        select_genes("s", spatial, [make_reference()], max_shared_genes=4)


def test_several_references_share_the_common_genes():
    first = make_reference(GENES[:30], name="a")
    second = make_reference(GENES[10:40], seed=1, name="b")
    gene_sets, _ = select_genes("s", GENES[5:25], [first, second], requested=["Gene2", "Gene39"])
    assert gene_sets.shared == GENES[10:25]
    assert gene_sets.measured_only == GENES[5:10]
    assert gene_sets.genes == GENES[10:25] + ["Gene2"] + GENES[25:30] + ["Gene39"]


def test_too_few_shared_genes_shows_both_name_styles():
    spatial = [f"ENSMUSG0000000{i}" for i in range(20)]
    with pytest.raises(InputError) as error:
        select_genes("brain", spatial, [make_reference()])
    lines = str(error.value).splitlines()
    assert lines[0].startswith("brain: 0 genes are shared")
    assert lines[1].split() == ["spatial", "reference"]
    assert lines[2].split() == ["ENSMUSG00000000", "Gene0"]
    assert "gene_aliases" in lines[-1] and "min_shared_genes" in lines[-1]


def test_unknown_requested_genes_are_listed_with_the_nearest_names():
    with pytest.raises(InputError) as error:
        select_genes("s", ["Lost", *GENES[:12]], [make_reference()], requested=["Gene3", "Gen11", "Lost"])
    assert "2 of 3 requested genes" in str(error.value)
    assert "'Gen11' (nearest names: Gene11" in str(error.value)
    assert "'Lost' (measured by the spatial panel, but absent from the reference)" in str(error.value)


def test_drawn_folds_are_balanced_and_seeded():
    reference = make_reference()
    folds = draw_folds(GENES[:40], [reference], 5, seed=1)
    assert folds == draw_folds(GENES[:40], [reference], 5, seed=1)
    assert folds != draw_folds(GENES[:40], [reference], 5, seed=2)
    assert [len(fold) for fold in folds.values()] == [8] * 5
    expression = pd.Series(np.asarray(reference.X.mean(axis=0)).ravel(), index=GENES)
    means = [expression[fold].mean() for fold in folds.values()]
    assert max(means) / min(means) < 1.1


@given(n=st.integers(2, 40), n_folds=st.integers(2, 7), seed=st.integers(0, 99))
def test_drawn_folds_partition_the_genes(n, n_folds, seed):
    folds = draw_folds(GENES[:n], [make_reference(n=4)], n_folds, seed)
    assert sorted(gene for fold in folds.values() for gene in fold) == sorted(GENES[:n])
    sizes = [len(fold) for fold in folds.values()]
    assert max(sizes) - min(sizes) <= 1


def test_given_folds():
    def select(folds, **options):
        return select_genes("s", GENES[:12], [make_reference()], gene_folds=folds, **options)[0].folds

    assert select([["gene1", "Gene2"], ["Gene5"]]) == {"0": ["Gene1", "Gene2"], "1": ["Gene5"]}
    assert select([["Gene1"]], cv_folds=0) == {}
    for folds, message in [
        ([["Gene1"], ["Gene1"]], "'Gene1' more than once"),
        ([["Gene30"]], "'Gene30'"),
        ([["Gene1"], []], "fold 1 of gene_folds holds out 0 of 12"),
        ([GENES[:12]], "fold 0 of gene_folds holds out 12 of 12"),
    ]:
        with pytest.raises(InputError, match=message):
            select(folds)


@pytest.mark.parametrize("cv_folds", [1, 13])
def test_impossible_number_of_folds(cv_folds):
    with pytest.raises(InputError, match="12 shared genes cannot be drawn"):
        select_genes("s", GENES[:12], [make_reference()], cv_folds=cv_folds)


def test_gene_lists(tmp_path):
    assert parse_gene_list("Gad1, Sst,Gad1;Vip") == ["Gad1", "Sst", "Vip"]
    (tmp_path / "genes.txt").write_text("# wanted\nGad1\n\nSst\n")
    assert parse_gene_list(str(tmp_path / "genes.txt")) == ["Gad1", "Sst"]
    with pytest.raises(InputError, match="missing.txt: no such file"):
        parse_gene_list("missing.txt")


@pytest.mark.realdata
@pytest.mark.parametrize(("pair", "n_shared"), [("osmfish", 33), ("merfish_mop", 87), ("starmap_mpfc", 48)])
def test_real_pairs_have_the_published_overlap(pair, n_shared):
    if not DATA.exists():
        pytest.skip(f"REAL DATA ABSENT: {DATA} not found, gene overlaps were not checked")
    spec = json.loads((DATA / "gene_folds.json").read_text())[pair]
    spatial, reference = (ad.read_h5ad(DATA / f"{spec[side]}.h5ad") for side in ("spatial", "reference"))
    reference = Counts(reference.X, reference.var_names.to_numpy(str), reference.obs_names.to_numpy(str), reference.obs)
    gene_sets, renamed = select_genes(pair, spatial.var_names.tolist(), [reference], gene_folds=spec["folds"])
    assert len(gene_sets.shared) == n_shared
    assert gene_sets.folds == {str(i): fold for i, fold in enumerate(spec["folds"])}
    assert renamed == {}


def test_ensembl_ids_of_two_species_are_a_warning():
    mouse = [f"ENSMUSG{i:011d}" for i in range(len(GENES))]
    reference = make_reference([gene.upper() for gene in GENES], name="human")
    reference.gene_ids = np.array([f"ENSG{i:011d}" for i in range(len(GENES))])
    sets, renamed = select_genes("s", GENES[:12], [reference], mouse[:12])
    assert renamed[GENES[0]] == GENES[0].upper()
    assert sets.how["warning"] == "; ".join(sets.warnings)
    assert "of the spatial side are of mouse, those of human of human" in sets.warnings[0]
    assert "12 of 12 shared genes match in another letter case only (Gene0 as GENE0)" in sets.warnings[1]
    assert select_genes("s", GENES[:12], [reference])[0].warnings == sets.warnings[1:]
    same = make_reference(name="mouse")
    same.gene_ids = np.array(mouse)
    assert select_genes("s", GENES[:12], [same], mouse[:12])[0].warnings == []
    assert select_genes("s", GENES[:12], [same])[0].warnings == []
