"""How far a reference fits: told on simulated tissue, and on real pairs, right ones and wrong ones."""

import warnings
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
from spatialimpute.agreement import SpatialSide, agreement_table, compare
from spatialimpute.files.counts import Counts
from spatialimpute.qc.clean import clean_counts
from spatialimpute.simulation.tissue import TYPES, Tissue
from spatialimpute.sources import open_source

DATA = Path(__file__).resolve().parents[3] / "shared" / "data"
INTERNEURONS = ("Pvalb", "Sst", "Vip", "Lamp5")
GLIA = ("Oligodendrocyte", "Astrocyte", "Microglia", "Endothelial")
ABSENT = ("Oligodendrocyte", "Astrocyte", "Sst")


def counts(X, genes, name, labels=None) -> Counts:
    obs = pd.DataFrame(index=range(len(X))) if labels is None else pd.DataFrame({"celltype": pd.Categorical(labels)})
    cells = np.array([f"{name}{i}" for i in range(len(X))])
    return Counts(sp.csr_matrix(X, dtype=np.float32), np.asarray(genes, dtype=str), cells, obs, info={"id": name})


def spatial(tissue, share=None, n=1500) -> Counts:
    rng = np.random.default_rng(0)
    cells = tissue.cells(n, rng, tissue.share if share is None else share, n)
    X = tissue.spatial_counts(cells, rng)[:, : len(tissue.panel)]
    return counts(X, tissue.genes[tissue.panel], "sample")


def reference(tissue, share=None, n=1200, labels=True) -> Counts:
    rng = np.random.default_rng(1)
    cells = tissue.cells(n, rng, tissue.reference_share if share is None else share, n)
    return counts(tissue.reference_counts(cells, rng), tissue.genes, "atlas", cells.celltype if labels else None)


def of_types(share, names, there=True):
    share = share * (np.isin(list(TYPES), names) == there)
    return share / share.sum()


@pytest.fixture(scope="module", params=[0, 1, 2])
def tissue(request):
    return Tissue(300, 100, seed=request.param)


@pytest.fixture(scope="module")
def side(tissue):
    return SpatialSide(spatial(tissue))


def types_of(named: list[str]) -> set[str]:
    return {text.split(" (high")[0] for text in named}


@pytest.mark.parametrize("labels", [True, False])
def test_the_tissues_own_reference_agrees(tissue, side, labels):
    found = compare(side, reference(tissue, labels=labels))
    assert found.verdict == "agrees" and found.lower > 0.5 and not found.warnings and not found.lacking
    assert found.lower < found.correlation < found.upper and found.correlation < found.attainable < 1
    assert (found.n_panel, found.n_shared, found.n_by_case) == (100, 100, 0) and found.beyond_share < 0.12
    assert "100 of 100 panel genes" in found.in_words() and "agrees" in found.in_words()


def test_another_tissue_is_poor(tissue, side):
    found = compare(side, reference(Tissue(300, 100, seed=tissue.seed + 10)))
    assert found.verdict == "poor" and abs(found.correlation) < 0.1 and found.beyond_share > 0.6
    assert "another tissue or species" in found.warnings[0] and "do not rely on" in found.warnings[0]
    assert "resemble none of its types" in found.warnings[1]


def test_a_sorted_population_is_poor_and_lacks_the_rest(tissue, side):
    found = compare(side, reference(tissue, of_types(tissue.reference_share, INTERNEURONS)))
    assert found.verdict == "poor" and found.beyond_share > 0.4
    assert "sorted" in found.warnings[0] and "sorted population" in found.warnings[1]


def test_types_that_one_side_lacks_are_named(tissue, side):
    found = compare(SpatialSide(spatial(tissue, of_types(tissue.share, ABSENT, there=False))), reference(tissue))
    assert found.verdict == "agrees" and types_of(found.lacking) <= set(ABSENT) and "Sst" in types_of(found.lacking)
    assert all("(high: Gene" in text for text in found.lacking)
    missing = compare(side, reference(tissue, of_types(tissue.reference_share, GLIA, there=False)))
    assert 0.15 < missing.beyond_share < 0.45, "of about a third of the tissue"
    assert all("% of the cells" in text for text in missing.beyond)


def test_the_same_cells_give_the_same_numbers_in_any_order_of_genes(tissue, side):
    one, again = compare(side, reference(tissue)), compare(side, reference(tissue))
    assert agreement_table([one], [True]).equals(agreement_table([again], [True]))
    own = reference(tissue)
    other = replace(own, X=own.X[:, ::-1].tocsr(), genes=own.genes[::-1])
    assert compare(side, other).correlation == pytest.approx(one.correlation)


def test_shuffled_counts_say_nothing(tissue, side):
    own = reference(tissue)
    X = np.random.default_rng(0).permuted(own.X.toarray(), axis=0)
    found = compare(side, replace(own, X=sp.csr_matrix(X)))
    assert found.verdict != "agrees" and abs(found.correlation) < 0.2 and found.warnings


def test_names_of_another_species(tissue, side):
    own = reference(tissue)
    found = compare(side, replace(own, genes=np.char.upper(own.genes)))
    assert found.n_by_case == 100 and found.verdict == "agrees"
    assert found.of_names[0].startswith("100 of 100 shared genes match by letter case alone") and not found.of_fit


def test_too_few_genes_or_cells_are_not_judged(tissue, side):
    own = reference(tissue)
    few = compare(side, own.keep(tissue.genes[tissue.panel][:10]))
    assert few.verdict == "not judged" and np.isnan(few.correlation) and "10 of 100 panel genes" in few.warnings[0]
    assert "too few" in few.in_words()
    assert compare(side, own.take(np.arange(5))).verdict == "not judged"
    none = compare(side, counts(np.ones((40, 3)), ["x", "y", "z"], "other"))
    assert none.n_shared == 0 and none.verdict == "not judged"
    thirty = compare(side, own.keep(tissue.genes[tissue.panel][:40]))
    assert thirty.n_compared == 40 and np.isnan(thirty.beyond_share) and not thirty.lacking


def test_cells_without_a_type_are_no_type(tissue, side):
    own = reference(tissue)
    labels = own.obs["celltype"].astype(object).where(np.arange(len(own.cells)) % 3 > 0, None)
    found = compare(side, replace(own, obs=pd.DataFrame({"celltype": labels})))
    assert found.verdict == "agrees" and not any(text.startswith(("None", "nan")) for text in found.lacking)


# -------------------------------------------------------------------------------------- real pairs


@pytest.fixture(scope="module")
def real():
    """`real("merfish_mop_spatial", "spatial")` is a data set's counts."""
    if not DATA.is_dir():
        warnings.warn(f"REAL DATA ABSENT: no {DATA}; the fit of real references was not checked", stacklevel=1)
        pytest.skip(f"REAL DATA ABSENT: no {DATA}")

    def read(name: str, role: str) -> Counts:
        raw = open_source(DATA / f"{name}.h5ad").read()
        return clean_counts(raw, id=name, role=role, technology="MERFISH", source=name)[0]

    return read


RIGHT = [
    ("osmfish_sscortex_spatial", "allen_ssp_smartseq_33g_reference"),
    ("merfish_mop_spatial", "mop_10x_reference"),
    ("starmap_mpfc_spatial", "mop_10x_reference"),
    ("hypothalamus_merfish_spatial", "hypothalamus_scrna_reference"),
    ("xenium_breast_spatial", "wu_breast_reference"),
    ("xenium_idc_spatial", "wu_breast_reference"),
]
WRONG = [
    (name, "wu_breast_reference")
    for name in ("merfish_mop_spatial", "starmap_mpfc_spatial", "hypothalamus_merfish_spatial")
]


@pytest.mark.realdata
@pytest.mark.parametrize("spatial, reference", RIGHT)
def test_right_pairs_agree(real, spatial, reference):
    found = compare(SpatialSide(real(spatial, "spatial")), real(reference, "reference"))
    assert found.verdict == "agrees" and found.correlation > 0.4 * found.attainable and not found.of_fit
    assert not found.beyond_share > 0.1


@pytest.mark.realdata
@pytest.mark.parametrize("spatial, reference", WRONG)
def test_wrong_pairs_are_poor(real, spatial, reference):
    found = compare(SpatialSide(real(spatial, "spatial")), real(reference, "reference"))
    assert found.verdict == "poor" and abs(found.correlation) < 0.15 * found.attainable
    assert found.n_by_case == found.n_shared and len(found.warnings) >= 2


@pytest.mark.realdata
@pytest.mark.parametrize("spatial, reference", RIGHT[1:])
def test_no_crossed_pair_agrees_where_genes_suffice(real, spatial, reference):
    """Every other reference is wrong in organ or species, or has too few of the panel's genes to be praised."""
    own = real(spatial, "spatial")
    for other in {name for _, name in RIGHT} - {reference}:
        found = compare(SpatialSide(own), real(other, "reference"))
        assert found.verdict != "agrees" or found.of_names, (other, found)


@pytest.mark.realdata
def test_sorted_and_shuffled_real_references(real):
    side, whole = SpatialSide(real("merfish_mop_spatial", "spatial")), real("mop_10x_reference", "reference")
    kept = whole.obs["celltype"].astype(str).str.match("Pvalb|Sst|Vip|Lamp5").to_numpy()
    found = compare(side, whole.take(np.flatnonzero(kept)))
    assert found.verdict == "poor" and found.beyond_share > 0.5
    X = np.random.default_rng(0).permuted(whole.X.toarray(), axis=0)
    found = compare(side, replace(whole, X=sp.csr_matrix(X)))
    assert found.verdict != "agrees" and found.of_fit
    assert compare(side, whole.take(np.flatnonzero(~kept))).beyond_share > 0.05
