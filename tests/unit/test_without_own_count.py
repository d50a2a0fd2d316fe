"""The layer of measured genes that no model saw: cross-validated frequencies times the totals that they are of."""

from dataclasses import replace

import numpy as np
import pytest
from spatialimpute.errors import DamagedError
from spatialimpute.files.predictions import Predictions, write_predictions
from spatialimpute.folds import held_out_genes
from spatialimpute.imputation.held_out import WithoutOwnCount
from tissue import draw


@pytest.fixture
def made(tmp_path):
    """A prediction of 40 scored cells of 120, and gene sets whose targets lack one measured gene."""
    _, spatial, gene_sets = draw()
    scored = np.arange(0, 120, 3)
    targets = [gene for gene in reversed(gene_sets.genes) if gene != "g4"]
    gene_sets = replace(gene_sets, scored_cells=scored.tolist(), targets=targets)
    genes, folds = held_out_genes(gene_sets)
    mean = np.random.default_rng(0).gamma(2, 0.05, (40, len(genes))).astype(np.float32)
    mean[5] = np.nan  # a cell of which nothing is known
    prediction = Predictions(mean, None, spatial.cells[scored], genes, folds, "spatialimpute", "s")
    write_predictions(tmp_path / "spatialimpute.h5ad", prediction)
    return tmp_path / "spatialimpute.h5ad", prediction, spatial, gene_sets, scored


@pytest.mark.parametrize("first, rows", [(0, slice(0, 120)), (0, slice(10, 70)), (50, slice(0, 70)), (50, slice(3, 4))])
def test_against_loops(made, first, rows):
    path, prediction, spatial, gene_sets, scored = made
    part = spatial.take(np.arange(first, 120))
    found = WithoutOwnCount(path, part, first, 120, gene_sets).of(rows)
    assert found.shape == (rows.stop - rows.start, 23) and found.dtype == np.float32
    expected = np.full(found.shape, np.nan)
    for i, cell in enumerate(range(rows.start + first, rows.stop + first)):
        if cell not in scored:
            continue
        for j, (gene, fold) in enumerate(zip(prediction.genes, prediction.fold, strict=True)):
            if gene not in gene_sets.targets:
                continue
            in_use = [other for other in gene_sets.shared if other not in gene_sets.folds[fold]]
            total = spatial.select(in_use)[cell].sum()
            value = prediction.mean[np.flatnonzero(scored == cell)[0], j]
            expected[i, gene_sets.targets.index(gene)] = value * total
    np.testing.assert_allclose(found, expected, rtol=1e-3)
    assert np.isnan(found).any()
    if len(found) > 50:
        assert np.isfinite(found[:, gene_sets.targets.index("g0")]).sum() > 15


def test_damage_is_seen(made):
    path, _, spatial, gene_sets, _ = made
    path.write_bytes(path.read_bytes()[:-100] + b"x" * 100)
    with pytest.raises(DamagedError, match=r"spatialimpute\.h5ad"):
        WithoutOwnCount(path, spatial, 0, 120, gene_sets)
