"""The held-out convention: what a fold holds out and keeps in use, totals, and which cells are scored."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
from hypothesis import given
from hypothesis import strategies as st
from spatialimpute import folds
from spatialimpute.folds import (
    Fold,
    all_folds,
    blocks,
    cell_totals,
    draw_scored_cells,
    fold_columns,
    fold_of,
    held_out_genes,
    scale_cells,
    scored_cells,
)
from tissue import make_panel

GENES = [f"g{i}" for i in range(10)]
GENE_SETS = make_panel(GENES, n_panel=7)  # folds 0: g0 g3 g6, 1: g1 g4, 2: g2 g5


def test_a_fold_keeps_all_other_shared_genes_in_use():
    assert fold_of(GENE_SETS, "1") == Fold("1", ("g1", "g4"), ("g0", "g2", "g3", "g5", "g6"))
    assert fold_of(GENE_SETS, None) == Fold(None, (), tuple(GENES[:7]))
    every = all_folds(GENE_SETS)
    assert [fold.name for fold in every] == ["0", "1", "2"]
    assert all(set(fold.held_out) | set(fold.in_use) == set(GENES[:7]) for fold in every)
    assert all_folds(replace(GENE_SETS, folds={})) == []
    with pytest.raises(KeyError):
        fold_of(GENE_SETS, "3")


def test_columns_of_predictions_are_the_folds_one_after_another():
    genes, fold = held_out_genes(GENE_SETS)
    assert genes.tolist() == ["g0", "g3", "g6", "g1", "g4", "g2", "g5"]
    assert fold.tolist() == list("0001122")
    assert fold_columns(fold) == {"0": slice(0, 3), "1": slice(3, 5), "2": slice(5, 7)}
    for name, columns in fold_columns(fold).items():
        assert tuple(genes[columns]) == fold_of(GENE_SETS, name).held_out
    assert fold_columns(np.array(["7", "7"])) == {"7": slice(0, 2)}
    assert [len(part) for part in held_out_genes(replace(GENE_SETS, folds={}))] == [0, 0]


def test_totals():
    counts = sp.csr_matrix(np.array([[1, 2, 0], [0, 0, 0], [900_000, 1, 0]], dtype=np.float32))
    total = cell_totals(counts)
    assert total.tolist() == [3, 0, 900_001]
    assert total.dtype == np.float64 and total.shape == (3,)


# ---- scored cells ----


def cells(*sizes: int, seed: int = 0) -> pd.DataFrame:
    """Cells of batches of the given sizes, mixed."""
    batch = np.repeat([f"b{i}" for i in range(len(sizes))], sizes)
    return pd.DataFrame({"batch": pd.Categorical(np.random.default_rng(seed).permutation(batch))})


def test_below_the_number_all_cells_are_scored():
    for n in (0, 100, 101):
        assert draw_scored_cells(cells(60, 40), n, 0) is None
    assert scored_cells(GENE_SETS, 100).tolist() == list(range(100))
    drawn = draw_scored_cells(cells(60, 40), 99, 0)
    assert len(drawn) == 99
    assert scored_cells(replace(GENE_SETS, scored_cells=drawn), 100).tolist() == drawn


@given(sizes=st.lists(st.integers(1, 60), min_size=1, max_size=5), n=st.integers(1, 100), seed=st.integers(0, 9))
def test_each_batch_gives_its_share(sizes, n, seed):
    obs = cells(*sizes)
    drawn = draw_scored_cells(obs, n, seed)
    if n >= len(obs):
        assert drawn is None
        return
    assert len(set(drawn)) == n == len(drawn) and drawn == sorted(drawn)
    assert 0 <= drawn[0] and drawn[-1] < len(obs)
    found = obs["batch"].iloc[drawn].value_counts()
    for i, size in enumerate(sizes):
        assert abs(found[f"b{i}"] - n * size / len(obs)) < 1


def test_cells_are_drawn_at_random_from_the_seed():
    obs = cells(700, 300).sort_values("batch")
    drawn = draw_scored_cells(obs, 200, 1)
    assert draw_scored_cells(obs, 200, 1) == drawn != draw_scored_cells(obs, 200, 2)
    alone = draw_scored_cells(obs[[]], 200, 1)
    assert len(alone) == 200
    for n_cells, chosen in ((700, [cell for cell in drawn if cell < 700]), (1000, alone)):
        quarters = np.bincount(np.array(chosen) * 4 // n_cells, minlength=4)
        assert (quarters > len(chosen) / 8).all()  # from all over the section
    # How often a cell is drawn does not depend on where it stands.
    often = np.bincount(np.concatenate([draw_scored_cells(obs, 200, seed) for seed in range(400)]), minlength=1000)
    assert often.sum() == 80_000
    assert abs(often[:700].mean() - 80) < 0.5
    assert 6 < often.std() < 10  # binomial: 8


def test_scale_cells_are_few_of_the_scored_ones_from_all_over(monkeypatch):
    monkeypatch.setattr(folds, "SCALE_CELLS", 50)
    drawn = draw_scored_cells(cells(1000), 400, 0)
    found = scale_cells(replace(GENE_SETS, scored_cells=drawn), 1000)
    assert len(found) == 50 and set(found) <= set(drawn)
    assert found[0] == drawn[0] and found[-1] == drawn[-1]
    assert (np.diff(np.searchsorted(drawn, found)) >= 8).all()
    assert scale_cells(GENE_SETS, 30).tolist() == list(range(30))


@given(n=st.integers(0, 50), size=st.integers(1, 60))
def test_blocks_cover_everything_once(n, size):
    parts = [np.arange(n)[block] for block in blocks(n, size)]
    assert np.concatenate([*parts, []]).tolist() == list(range(n))
    assert all(0 < len(part) <= size for part in parts)
