"""The user's own columns: what our files can hold of them, and under which names."""

import decimal

import anndata as ad
import h5py
import numpy as np
import pandas as pd
import pytest
import zarr
from spatialimpute.files.columns import MAX_COLUMNS, carry_columns
from spatialimpute.files.counts import OWN_CELL_COLUMNS, OWN_GENE_COLUMNS

KEPT = {
    "text": ["a", None, "=1+1", "a"],
    "nul": ["\0a", "\ud800", "b", None],
    "pandas_text": pd.array(["a", None, "b", "c"], dtype="string"),
    "bytes": [b"a", b"b", None, b"c"],
    "category": pd.Categorical(["lo", "hi", "lo", None], categories=["lo", "hi"], ordered=True),
    "category_of_numbers": pd.Categorical([1, 2, 1, None]),
    "category_of_both": pd.Categorical([1, "1", 2, None]),
    "bins": pd.cut([1, 2, 3, 4], 2),
    "flag": [True, False, True, True],
    "flag_missing": [True, None, False, True],
    "count": [1, 2, 3, 4],
    "count_missing": [1, None, 3, 4],
    "entrez": pd.array([100_287_102, None, 3, 4], dtype="Int64"),
    "unsigned": np.array([1, 2, 3, 2**63], dtype=np.uint64),
    "half": np.array([1, 2, 3, 4], dtype=np.float16),
    "long": np.array([1, 2, 3, 4], dtype=np.longdouble),
    "decimal": [decimal.Decimal("1.5")] * 4,
    "huge": [2**70, 1, 2, 3],
    "both": [1, "a", 2.5, None],
    "date": pd.to_datetime(["2020-01-01"] * 3 + [None]),
    "period": pd.period_range("2020", periods=4),
    "none": [None] * 4,
    "sparse": pd.arrays.SparseArray([0, 0, 1, 2]),
}
NESTED = {"lists": [[1], [2], [3], None], "dicts": [{"a": 1}] * 4, "pairs": [(1, 2)] * 4, "complex": [1 + 2j] * 4}


def written(table: pd.DataFrame, folder, format: str) -> pd.DataFrame:
    if format == "h5ad":
        with h5py.File(folder / "x.h5", "w") as file:
            ad.io.write_elem(file, "obs", table)
            return ad.io.read_elem(file["obs"])
    group = zarr.open_group(str(folder / "x.zarr"), mode="w", zarr_format=2)
    ad.io.write_elem(group, "obs", table)
    zarr.consolidate_metadata(str(folder / "x.zarr"))
    return ad.io.read_elem(zarr.open_group(str(folder / "x.zarr"), mode="r")["obs"])


@pytest.mark.parametrize("format", ["h5ad", "zarr"])
def test_every_kind_is_written_and_read_again_or_said(tmp_path, format):
    table = pd.DataFrame(KEPT | NESTED, index=list("abcd"))
    columns, renamed, left_out = carry_columns(table, [])
    assert list(columns) == list(KEPT) and left_out == list(NESTED) and not renamed
    pd.testing.assert_frame_equal(written(columns, tmp_path, format), columns, check_names=False)


def test_values_stay_what_they_were():
    columns, _, _ = carry_columns(pd.DataFrame(KEPT), [])
    for name in ("text", "category", "category_of_numbers", "flag", "count", "sparse"):
        expected = pd.Series(KEPT[name]).astype(object)
        assert (
            columns[name].astype(object).where(columns[name].notna(), None).tolist()
            == expected.where(expected.notna(), None).tolist()
        ), name
    assert columns["nul"].tolist()[:3] == ["a", "?", "b"] and columns["bytes"].tolist()[0] == "a"
    assert columns["flag_missing"].dtype == "boolean" and columns["flag_missing"].isna().tolist() == [0, 1, 0, 0]
    assert columns["entrez"].tolist()[0] == 100_287_102 and columns["entrez"].isna().sum() == 1
    assert columns["category"].cat.ordered and columns["category_of_both"].tolist()[:3] == ["1", "1", "2"]
    assert columns["date"].tolist()[0].startswith("2020-01-01") and columns["none"].isna().all()


@pytest.mark.parametrize("format", ["h5ad", "zarr"])
def test_names_that_clash_or_that_no_file_can_hold(tmp_path, format):
    names = [
        "cluster",
        "batch",
        "Batch",
        "a/b",
        "a\\b",
        "_index",
        "",
        ".zattrs",
        "..",
        "x\0y",
        "=1+1",
        "<b>",
        "w" * 400,
    ]
    table = pd.DataFrame([np.arange(len(names) + 1)] * 2, columns=[*names, "cluster"])
    columns, renamed, left_out = carry_columns(table, ["batch"])
    found = dict(change.rsplit(" -> ", 1) for change in renamed)
    assert found["batch"] == "batch_original" and found["Batch"] == "Batch_original_2"
    assert found["cluster"] == "cluster_original" and list(columns)[0] == "cluster" and not left_out
    assert found["a/b"] == "a_b" and found["a\\b"] == "a_b_original" and found["_index"] == "_index_original"
    assert {"=1+1", "<b>"} <= set(columns) and columns.columns.is_unique
    assert columns.iloc[0].tolist() == list(range(len(names) + 1))
    pd.testing.assert_frame_equal(
        written(columns, tmp_path, format), columns, check_names=False, check_index_type=False
    )


def test_more_columns_than_a_file_can_hold(tmp_path):
    table = pd.DataFrame(np.zeros((1, MAX_COLUMNS + 2)), columns=[f"column {i}" for i in range(MAX_COLUMNS + 2)])
    columns, _, left_out = carry_columns(table, OWN_CELL_COLUMNS)
    assert columns.shape == (1, MAX_COLUMNS) and left_out == [f"column {MAX_COLUMNS}", f"column {MAX_COLUMNS + 1}"]
    more = columns.assign(**dict.fromkeys([*OWN_CELL_COLUMNS, *OWN_GENE_COLUMNS], 0.0))
    assert written(more.set_axis(["a"]), tmp_path, "h5ad").shape == more.shape
