"""Cell types carried over in a latent space."""

import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
from hypothesis import given, settings
from hypothesis import strategies as st
from spatialimpute.files.counts import Counts
from spatialimpute.imputation.cell_types import FEWEST_CELLS, UNASSIGNED, transfer_celltypes

CENTERS = {"A": (0, 0), "B": (6, 0), "C": (0, 6)}


def reference(labels) -> Counts:
    obs = pd.DataFrame({"celltype": labels} if labels is not None else {}, index=range(len(labels or [0])))
    n = len(obs)
    return Counts(sp.csr_matrix((n, 1), dtype=np.float32), np.array(["g"]), np.array([f"r{i}" for i in range(n)]), obs)


def clouds(types: list[str], seed: int = 0, spread: float = 1.0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return np.array([CENTERS[name] for name in types]) + rng.normal(0, spread, (len(types), 2))


def test_cells_get_the_type_they_lie_with():
    known = ["A"] * 200 + ["B"] * 40 + ["C"] * 30
    new = ["A"] * 50 + ["B"] * 50 + ["C"] * 50
    found = transfer_celltypes([reference(known)], [clouds(known)], clouds(new, 1), np.ones(150, bool))
    assert (found["transferred_celltype"] == new).mean() > 0.97
    assert found["transferred_celltype_probability"].between(1 / 3, 1).all()


def test_a_rare_type_is_not_drowned_by_a_frequent_one():
    """Between two clouds, the composition of the reference says nothing of the tissue's."""
    known = ["A"] * 2000 + ["B"] * 20
    codes, new = clouds(known, spread=2), clouds(["A"] * 300 + ["B"] * 300, 1, spread=2)
    found = transfer_celltypes([reference(known)], [codes], new, np.ones(600, bool))["transferred_celltype"]
    assert (found[300:] == "B").mean() > 0.8 and (found[:300] == "A").mean() > 0.8


def test_probabilities_are_cautious_where_both_sides_are_alike():
    """As often right as it says or a little more often: on real pairs the sides differ."""
    known = ["A"] * 500 + ["B"] * 500
    new = ["A"] * 2000 + ["B"] * 2000
    found = transfer_celltypes(
        [reference(known)], [clouds(known, spread=3)], clouds(new, 1, spread=3), np.ones(4000, bool)
    )
    right = (found["transferred_celltype"] == new).to_numpy()
    for _, group in pd.Series(right).groupby(pd.cut(found["transferred_celltype_probability"], 4), observed=True):
        stated = found["transferred_celltype_probability"][group.index].mean()
        assert -0.03 < group.mean() - stated < 0.15


def test_unsupported_cells_are_unassigned_whatever_their_codes():
    known, supported = ["A"] * 30 + ["B"] * 30, np.array([True, False, False])
    codes = np.array([[0, 0], [0, 0], [np.nan, np.nan]])
    found = transfer_celltypes([reference(known)], [clouds(known)], codes, supported)
    assert found["transferred_celltype"].tolist() == ["A", UNASSIGNED, UNASSIGNED]
    assert found["transferred_celltype_probability"].isna().tolist() == [False, True, True]


@pytest.mark.parametrize(
    "labels",
    [
        [None],
        [["A"] * 40],
        [["A"] * 40 + ["B"] * (FEWEST_CELLS - 1)],
        [["A"] * 40 + [""] * 20 + [None] * 20],
    ],
    ids=["no labels", "one type", "a second of too few cells", "empty and missing names"],
)
def test_fewer_than_two_types_are_none(labels):
    references = [reference(names) for names in labels]
    codes = [np.zeros((len(one.cells), 2)) for one in references]
    assert transfer_celltypes(references, codes, np.zeros((3, 2)), np.ones(3, bool)) is None


def test_references_are_put_together_and_unlabeled_cells_left_out():
    first, second = ["A"] * 30 + [None] * 10, ["B"] * 30
    codes = [np.concatenate([clouds(["A"] * 30), np.full((10, 2), 99.0)]), clouds(second)]
    references = [reference(first), reference(second), reference(None)]
    new = clouds(["A", "B"], 1, spread=0.1)
    found = transfer_celltypes(references, [*codes, np.zeros((1, 2))], new, np.ones(2, bool))
    assert found["transferred_celltype"].tolist() == ["A", "B"]


@settings(max_examples=20, deadline=None)
@given(shift=st.floats(-50, 50), scale=st.floats(0.01, 100))
def test_the_unit_of_the_latent_space_changes_nothing(shift, scale):
    known, new = ["A"] * 40 + ["B"] * 20, clouds(["A"] * 10 + ["B"] * 10, 1)
    codes, all_supported = clouds(known), np.ones(20, bool)
    plain = transfer_celltypes([reference(known)], [codes], new, all_supported)
    moved = transfer_celltypes([reference(known)], [codes * scale + shift], new * scale + shift, all_supported)
    name = "transferred_celltype_probability"
    np.testing.assert_allclose(plain[name], moved[name], atol=1e-3)
