"""QC: raw counts found or refused, names made canonical, every cell and gene accounted for."""

from pathlib import Path

import anndata as ad
import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
from hypothesis import given, settings
from hypothesis import strategies as st
from spatialimpute.check.gene_aliases import read_aliases
from spatialimpute.errors import InputError
from spatialimpute.files.counts import read_counts, write_counts
from spatialimpute.qc.cells import find_duplicates, find_outliers
from spatialimpute.qc.clean import Thresholds, clean_counts, steps_table
from spatialimpute.qc.gene_names import canonical_names, control_probes, sum_duplicates
from spatialimpute.qc.raw_counts import find_raw_counts
from spatialimpute.sources import open_source

DATA = Path(__file__).resolve().parents[3] / "shared" / "data"
needs_data = pytest.mark.skipif(not DATA.is_dir(), reason=f"no real data at {DATA}")


def dataset(x, genes=None, **obs) -> ad.AnnData:
    x = sp.csr_matrix(np.asarray(x, dtype=np.float64))
    genes = genes or [f"Gene{j}" for j in range(x.shape[1])]
    data = ad.AnnData(
        x, obs=pd.DataFrame(obs, index=[f"c{i}" for i in range(x.shape[0])]), var=pd.DataFrame(index=genes)
    )
    data.obsm["spatial"] = np.arange(2.0 * x.shape[0]).reshape(-1, 2)
    return data


def clean(data, role="spatial", **options):
    return clean_counts(data, id="s", role=role, technology="MERFISH", source="s.h5ad", **options)


def steps(summary) -> dict:
    return {step["step"]: step["n"] for step in summary["steps"]}


# ------------------------------------------------------------------------------------- raw counts


def test_raw_counts_are_taken_from_x_then_the_layer_then_raw():
    data = dataset([[1, 2], [3, 0]])
    assert find_raw_counts(data, "s")[2] == "X"
    counts = data.X.copy()
    data.X = np.log1p(counts)
    data.raw = ad.AnnData(sp.hstack([counts, counts], format="csr"), var=pd.DataFrame(index=list("abcd")))
    x, var, where = find_raw_counts(data, "s")
    assert where == "raw" and list(var.index) == list("abcd") and x.dtype == np.float32
    data.layers["counts"] = counts
    assert find_raw_counts(data, "s")[2] == "layers['counts']"


@pytest.mark.parametrize(
    "value, message",
    [
        (-1, "gene 'Gene1', cell 'c2' holds -1, a negative"),
        (0.5, "gene 'Gene1', cell 'c2' holds 0.5, not a whole number"),
        (np.nan, "gene 'Gene1', cell 'c2' holds nan, not a number"),
        (np.inf, "gene 'Gene1', cell 'c2' holds inf, not a number"),
        (2**31, "gene 'Gene1', cell 'c2' holds 2147483648, more than"),
    ],
)
def test_what_is_not_a_count_is_named_by_gene_and_cell(value, message):
    x = np.ones((4, 3))
    x[2, 1] = value
    with pytest.raises(InputError, match=message):
        clean(dataset(x))


def test_empty_and_all_zero_matrices_are_refused():
    with pytest.raises(InputError, match="all counts are zero.*layers.*absent"):
        clean(dataset(np.zeros((3, 3))))
    with pytest.raises(InputError, match="empty .0 cells x 3 genes"):
        clean(dataset(np.zeros((0, 3))))
    with pytest.raises(InputError, match="belongs to a control probe"):
        clean(dataset([[0, 3], [0, 4]], ["Gad1", "Blank-1"]))
    with pytest.raises(InputError, match="hold controls only"):
        clean(dataset([[1, 3], [1, 4]], ["NegPrb1", "Blank-1"]))


def test_transposed_matrices_are_refused():
    with pytest.raises(InputError, match="transpose the matrix"):
        clean(dataset([[1, 3], [1, 4]], ["ACGTACGTACGTACGT-1", "ACGTACGTACGTACGA-1"]))


def test_smart_seq_reads_are_fine():
    counts, _ = clean(dataset([[215110, 3], [0, 4]]), role="reference")
    assert counts.X.max() == 215110


# ------------------------------------------------------------------------------------------ genes


def test_control_probes_are_told_from_genes():
    probes = """Blank-12 BLANK_0001 blank1 NegControlProbe_00042 NegControlCodeword_0500 NegPrb3 Negative01
        SystemControl12 FalseCode7 UnassignedCodeword_0001 DeprecatedCodeword_1 antisense_GAPDH ERCC-00002
        Intergenic_Region_1 notarget-3 NegControl_1""".split()
    genes = "Negr1 Blnk Sys1 ERCC1 Ercc6 Control1 Nrg1 Gad1 Fid1 Antxr1 Unc5a".split()
    assert control_probes(probes).all()
    assert not control_probes(genes).any()


def test_controls_go_and_their_rate_is_reported():
    counts, summary = clean(dataset([[8, 1, 1], [9, 1, 0]], ["Gad1", "Sst", "Blank-1"]))
    assert list(counts.genes) == ["Gad1", "Sst"]
    assert summary["control_probe_rate"] == pytest.approx(1 / 20)
    assert steps(summary) == {"control probes": 1}
    assert clean(dataset([[8, 1], [9, 1]]))[1]["control_probe_rate"] is None


def test_features_of_another_type_go():
    data = dataset([[8, 1, 1], [9, 1, 0]], ["Gad1", "Sst", "CD45"])
    data.var["feature_types"] = ["Gene Expression", "Gene Expression", "Antibody Capture"]
    counts, summary = clean(data)
    assert list(counts.genes) == ["Gad1", "Sst"] and steps(summary) == {"other features": 1}


def test_names_are_symbols_where_known_and_ids_are_kept(tmp_path):
    ids = ["ENSMUSG00000070880.11", "ENSMUSG00000004366.3", "ENSMUSG00000019772.4"]
    data = dataset([[1, 2, 3], [3, 2, 1]], ids)
    data.var["gene_name"] = ["Gad1", "Sst", np.nan]
    counts, _ = clean(data)
    assert list(counts.genes) == ["Gad1", "Sst", "ENSMUSG00000019772"]
    assert list(counts.gene_ids) == [i.split(".")[0] for i in ids]
    write_counts(tmp_path / "c.h5ad", counts)
    assert list(read_counts(tmp_path / "c.h5ad").gene_ids) == list(counts.gene_ids)
    assert list(ad.read_h5ad(tmp_path / "c.h5ad").var["gene_id"]) == list(counts.gene_ids)


def test_ids_beside_symbols_and_no_ids_at_all():
    var = pd.DataFrame({"gene_ids": ["ENSG00000000003", "custom"]}, index=["TSPAN6", "GFP"])
    names, ids = canonical_names(var)
    assert list(names) == ["TSPAN6", "GFP"] and list(ids) == ["ENSG00000000003", ""]
    assert canonical_names(pd.DataFrame(index=["Gad1", "Sst.1"]))[1] is None
    assert list(canonical_names(pd.DataFrame(index=["Gad1", "Sst.1"]))[0]) == ["Gad1", "Sst.1"]


def test_aliases_rename_and_duplicates_are_summed(tmp_path):
    (tmp_path / "a.tsv").write_text("alias\tsymbol\n# old names\nTmem2\tCemip2\nGad67\tGad1\n")
    counts, summary = clean(
        dataset([[1, 2, 4], [8, 16, 32]], ["Gad67", "Gad1", "Tmem2"]), aliases=read_aliases(tmp_path / "a.tsv")
    )
    assert list(counts.genes) == ["Gad1", "Cemip2"]
    assert counts.X.toarray().tolist() == [[3, 4], [24, 32]]
    assert steps(summary) == {"gene aliases": 2, "duplicate genes": 1}
    assert "Gad67 -> Gad1" in steps_table(summary).iloc[0]["examples"]


@pytest.mark.parametrize(
    "text, message", [("Gad67 Gad1\n", "line 1"), ("a\tb\na\tc\n", "line 2: alias 'a' stands for")]
)
def test_aliases_that_are_wrong(tmp_path, text, message):
    (tmp_path / "a.tsv").write_text(text)
    with pytest.raises(InputError, match=message):
        read_aliases(tmp_path / "a.tsv")


@settings(max_examples=30, deadline=None)
@given(
    names=st.lists(st.sampled_from("abcd"), min_size=1, max_size=8),
    seed=st.integers(0, 2**16),
)
def test_sum_of_duplicates_against_pandas(names, seed):
    x = np.random.default_rng(seed).poisson(0.7, (5, len(names)))
    summed, first = sum_duplicates(sp.csr_matrix(x, dtype=np.float32), np.array(names))
    expected = pd.DataFrame(x.T, index=names).groupby(level=0, sort=False).sum().T
    assert [names[i] for i in first] == list(expected.columns)
    np.testing.assert_array_equal(summed.toarray(), expected)


# ------------------------------------------------------------------------------------------ cells


@settings(max_examples=50, deadline=None)
@given(seed=st.integers(0, 2**16), n=st.integers(1, 30))
def test_duplicates_against_pandas(seed, n):
    rng = np.random.default_rng(seed)
    x, place = rng.poisson(0.4, (n, 3)), rng.integers(0, 3, (n, 2)).astype(float)
    duplicate, _ = find_duplicates(sp.csr_matrix(x, dtype=np.float32), place)
    np.testing.assert_array_equal(duplicate, pd.DataFrame(np.hstack([x, place])).duplicated())


def test_duplicates_without_coordinates_must_be_distinctive():
    rich, poor = [20, 10, 10, 10, 10], [1, 0, 0, 0, 0]
    x = sp.csr_matrix(np.array([rich, poor, poor, rich], dtype=np.float32))
    assert find_duplicates(x, None)[0].tolist() == [False, False, False, True]
    places = np.arange(8.0).reshape(4, 2)
    duplicate, elsewhere = find_duplicates(x, places)
    assert not duplicate.any() and elsewhere.tolist() == [False, False, False, True]


def test_same_place_in_two_batches_is_not_the_same_cell():
    x, places = sp.csr_matrix(np.ones((2, 3), np.float32)), np.zeros((2, 2))
    assert find_duplicates(x, places)[0].sum() == 1
    assert find_duplicates(x, places, pd.Series(["a", "b"]))[0].sum() == 0


def test_every_cell_is_accounted_for():
    rng = np.random.default_rng(0)
    x = rng.poisson(5, (60, 10))
    x[3] = 0
    x[4] = [1] + [0] * 9
    x[5] = [30] + [0] * 9
    x[7] = x[6]
    data = dataset(x, batch=["a", "b"] * 30, celltype=["NA", "neuron", "glia"] * 20)
    data.obsm["spatial"][7] = data.obsm["spatial"][6]
    counts, summary = clean(data, batch_key=None, thresholds=Thresholds(min_counts=5, min_genes=3))
    assert steps(summary) == {
        "cell columns renamed": 1, "empty cells": 1, "duplicate cells": 1, "few counts": 1, "few genes": 1,
    }  # fmt: skip
    assert summary["n_cells_in"] == 60 and summary["n_cells"] == 56 == len(counts.cells)
    assert not set(counts.cells) & {"c3", "c4", "c5", "c7"}
    assert list(counts.obs) == ["n_counts", "n_genes", "dataset", "celltype", "outlier", "batch_original"]
    assert counts.obs["celltype"].isna().sum() > 0 and set(counts.obs["celltype"].cat.categories) == {"neuron", "glia"}
    np.testing.assert_array_equal(counts.obs["n_counts"], counts.X.toarray().sum(1))
    np.testing.assert_array_equal(
        counts.coords, data.obsm["spatial"][[c not in ("c3", "c4", "c5", "c7") for c in data.obs_names]]
    )
    assert list(steps_table(summary).columns) == ["id", "role", "step", "axis", "n", "reason", "examples"]


def test_outliers_are_flagged_and_dropped_only_when_asked():
    rng = np.random.default_rng(1)
    x = rng.poisson(10, (100, 20))
    x[0] *= 50
    counts, summary = clean(dataset(x))
    assert summary["n_outliers"] == counts.obs["outlier"].sum() == 1 and len(counts.cells) == 100
    counts, summary = clean(dataset(x), thresholds=Thresholds(drop_outliers=True))
    assert len(counts.cells) == 99 and steps(summary) == {"outliers": 1} and summary["n_outliers"] == 0
    assert not find_outliers(counts.obs, 0).any()


def test_batches_and_names(tmp_path):
    data = dataset([[1, 2], [3, 1], [1, 1]], slice=[1.0, 1.0, 2.0])
    data.obs_names = ["a", "a", "b"]
    counts, summary = clean(data, batch_key="slice")
    assert list(counts.obs["batch"]) == ["1", "1", "2"] and len(set(counts.cells)) == 3
    assert steps(summary)["cell names"] == 1
    with pytest.raises(InputError, match="no column 'slise' for the batch; columns are slice"):
        clean(data, batch_key="slise")
    write_counts(tmp_path / "c.h5ad", counts)
    back = read_counts(tmp_path / "c.h5ad")
    assert back.info["counts_from"] == "X" and back.info["dropped"] == {"cell names": 1}
    assert list(back.obs["batch"]) == ["1", "1", "2"]


def test_cell_types_without_the_named_column_warn():
    _, summary = clean(dataset([[1, 2], [3, 1]], cell_type=["a", "b"]), celltype_key="type")
    assert "no column 'type'" in summary["warnings"][0]


@pytest.mark.parametrize(
    "spatial, message",
    [
        (None, "no coordinates found"),
        ([[0, 1], [np.inf, 2]], "cell 'c1' has coordinates .inf, 2.0."),
        ([[np.nan, 1], [np.nan, 2]], "none of 2 cells has a place .cell 'c0' has coordinates .nan, 1.0."),
        ([[1, 1], [1, 1]], "all cells are at"),
    ],
)
def test_coordinates_are_needed_and_finite(spatial, message):
    data = dataset([[1, 2], [3, 1]])
    del data.obsm["spatial"]
    if spatial is not None:
        data.obsm["spatial"] = np.array(spatial, dtype=float)
    with pytest.raises(InputError, match=message):
        clean(data)
    assert clean(data, role="reference")[0].coords is None


def test_cells_together_at_the_origin_have_no_place():
    data = dataset([[1, 2], [3, 1], [2, 5], [4, 4], [6, 1]])
    data.obsm["spatial"] = np.array([[0, 0], [5, 1], [0.0, 0], [0, 7], [np.nan, 3]])
    counts, summary = clean(data)
    assert list(counts.cells) == ["c1", "c3"] and steps(summary) == {"cells without a place": 3}
    assert "together at the origin" in summary["steps"][0]["reason"]
    data.obsm["spatial"] = np.array([[0, 0], [5, 1], [1.0, 0], [0, 7], [2, 3]])  # one cell may well lie there
    assert len(clean(data)[0].cells) == 5


def test_many_cells_at_one_place_are_a_warning():
    rng = np.random.default_rng(0)
    data = dataset(1 + rng.poisson(3, (60, 4)))
    data.obsm["spatial"] = rng.uniform(size=(60, 2))
    assert not clean(data)[1]["warnings"]
    data.obsm["spatial"][7:20] = [3.5, -1]
    (warning,) = clean(data)[1]["warnings"]
    assert warning == "13 cells are all at [3.5, -1.0]: is that their place? If not, leave it empty"


@pytest.mark.parametrize("layer", [None, "counts", "umis"])
@pytest.mark.parametrize("largest", [127, 255])
def test_counts_cut_at_the_largest_of_a_small_type_are_a_warning(largest, layer):
    values = np.random.default_rng(0).negative_binomial(0.5, 0.005, (80, 12)) + 1
    assert (values > largest).sum() > 20
    for matrix, warned in ((np.minimum(values, largest), True), (values, False), (np.minimum(values, 200), False)):
        data = dataset(matrix)
        if layer:
            data.layers[layer], data.X = data.X, data.X * 0.5
        warnings = [text for text in clean(data, role="reference")[1]["warnings"] if f"exactly {largest}" in text]
        assert bool(warnings) is warned
        if warned:
            where = f"layers['{layer}']" if layer else "X"
            assert warnings[0].startswith(f"{where}: {(values >= largest).sum()} counts are exactly {largest}")


def test_a_single_cell_or_gene_is_refused():
    with pytest.raises(InputError, match="1 cells and 2 genes are left"):
        clean(dataset([[1, 2], [0, 0]]))


@pytest.mark.realdata
@needs_data
def test_osmfish_hides_454_duplicates():
    raw = open_source(DATA / "osmfish_sscortex_spatial.h5ad").read()
    counts, summary = clean(raw)
    assert steps(summary) == {"duplicate cells": 454}
    assert set(raw.obs_names[raw.obs["is_duplicate"].to_numpy(bool)]) == set(raw.obs_names) - set(counts.cells)


@pytest.mark.realdata
@needs_data
@pytest.mark.parametrize(
    "name, role, expected",
    [
        ("hypothalamus_scrna_reference", "reference", {"empty cells": 4}),
        ("allen_ssp_smartseq_33g_reference", "reference", {}),
        ("zeisel2015_3005c_200g", "reference", {}),
        ("mop_10x_reference", "reference", {}),
        ("starmap_mpfc_gimvi_spatial", "spatial", {"cell columns renamed": 1}),
        ("merfish_mop_spatial", "spatial", {}),
        ("hypothalamus_merfish_spatial", "spatial", {}),
    ],
)
def test_nothing_else_is_dropped_from_real_data(name, role, expected):
    _, summary = clean(open_source(DATA / f"{name}.h5ad").read(), role=role)
    assert steps(summary) == expected
