"""The gene table, and what the counts say of each gene."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from spatialimpute.evaluation.gene_table import COLUMNS, gene_table
from spatialimpute.evaluation.metrics import moran_i
from spatialimpute.evaluation.verdicts import verdicts
from spatialimpute.gene_facts import gene_facts
from tissue import draw


@pytest.fixture
def tissue():
    return draw(n_cells=(90, 70, 60))


def facts(spatial, references, gene_sets):
    """As a sample's inputs give them."""
    return gene_facts(spatial, references, gene_sets).set_index("gene")


def scores_of(gene_sets):
    held_out = [gene for fold in gene_sets.folds.values() for gene in fold]
    rng = np.random.default_rng(0)
    return pd.DataFrame(
        {
            "gene": held_out,
            "fold": [fold for fold, genes in gene_sets.folds.items() for _ in genes],
            "spearman": rng.random(15),
            "spearman_partial": np.linspace(0, 0.3, 15),
            "spearman_fraction": rng.random(15),
            "promised": 0.3,
            "detected": 50,
        }
    )


def test_gene_table(tissue):
    references, spatial, gene_sets = tissue
    scores = scores_of(gene_sets)
    table = gene_table(facts(spatial, references, gene_sets), scores, 0.2, 0.1)
    assert list(table.columns) == COLUMNS
    assert table["gene"].tolist() == gene_sets.targets
    table = table.set_index("gene")
    assert table["measured"].tolist() == [True] * 15 + [False] * 9
    assert (table["verdict"][15:] == "not assessed").all()
    assert table["reason"][15:].str.contains("not on the panel").all()
    assert table[["fold", "spearman", "score", "n_detected", "moran_i"]][15:].isna().all().all()
    scores = scores.set_index("gene")
    for column in ("fold", "spearman", "spearman_partial", "spearman_fraction"):
        assert table.loc[scores.index, column].tolist() == scores[column].tolist()
    assert table.loc[scores.index, "score"].tolist() == scores["spearman_partial"].tolist()
    judged = verdicts(scores, 0.2, 0.1)
    assert table.loc[scores.index, "verdict"].tolist() == judged["verdict"].tolist()
    assert table.loc[scores.index, "reason"].tolist() == judged["reason"].tolist()
    assert table["score_lower"].isna().all() and table["score_upper"].isna().all()


def test_gene_table_counts_against_loops(tissue):
    references, spatial, gene_sets = tissue
    table = gene_table(facts(spatial, references, gene_sets), None, 0.2, 0.1).set_index("gene")
    moran = moran_i(np.log1p(spatial.X.toarray()), spatial.coords)
    for j, gene in enumerate(gene_sets.shared):
        counts = spatial.X[:, [j]].toarray()
        assert table.loc[gene, "n_detected"] == (counts > 0).sum()
        assert table.loc[gene, "detected_fraction"] == pytest.approx((counts > 0).mean())
        assert table.loc[gene, "moran_i"] == pytest.approx(moran[j])
    for gene in gene_sets.targets:  # two genes are in one of the references only
        values = [r.select([gene]).toarray().ravel() for r in references if gene in r.genes]
        values = np.concatenate(values)
        assert table.loc[gene, "reference_mean"] == pytest.approx(values.mean(), rel=1e-5)
        assert table.loc[gene, "reference_detected_fraction"] == pytest.approx((values > 0).mean())
    assert len(np.concatenate([r.genes for r in references])) == 46


def test_gene_table_without_cross_validation_or_places(tissue):
    references, spatial, gene_sets = tissue
    table = gene_table(facts(replace(spatial, coords=None), references, gene_sets), None, 0.2, 0.1)
    assert (table["verdict"] == "not assessed").all()
    assert table["reason"].value_counts().to_dict() == {
        "not cross-validated": 15,
        "not on the panel: no measurement to judge it by": 9,
    }
    assert table["moran_i"].isna().all()
    some = replace(gene_sets, targets=["g20", "g3", "g1"])
    table = gene_table(facts(spatial, references, some), None, 0.2, 0.1)
    assert table["gene"].tolist() == ["g20", "g3", "g1"]
    assert table["measured"].tolist() == [False, True, True]


def test_measured_genes_that_no_model_can_use_are_measured(tissue):
    """Beyond max_shared_genes, or of one reference only: the panel has counts of them, and they tell something."""
    references, spatial, gene_sets = tissue
    fewer = replace(gene_sets, shared=gene_sets.shared[:10], folds={"0": ["g0", "g1"]})
    table = facts(spatial, references, fewer)
    assert table["measured"].sum() == 15 and table["n_detected"].notna().sum() == 15
    pd.testing.assert_frame_equal(table, facts(spatial, references, gene_sets))


def test_no_target_is_measured_or_expressed(tissue):
    references, spatial, gene_sets = tissue
    table = facts(spatial, references, replace(gene_sets, targets=["g20"]))
    assert table["measured"].tolist() == [False] and table["n_detected"].isna().all()
    silent = [replace(reference, X=reference.X * 0) for reference in references]
    table = facts(spatial, silent, gene_sets)
    assert (table[["reference_mean", "reference_detected_fraction"]] == 0).all().all()
