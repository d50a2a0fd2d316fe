"""Verdicts of genes and samples: thresholds, the bootstrap, the headline's rules, the gene table."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import scipy.stats
from spatialimpute.evaluation.metrics import moran_i
from spatialimpute.evaluation.reliability import (
    GENE_COLUMNS,
    bootstrap_interval,
    gene_table,
    headline,
    verdicts,
)
from tissue import draw


def test_verdict_thresholds():
    partial = [0.2, 0.1999, 0.1, 0.0999, -0.3, 0.5]
    scores = pd.DataFrame(
        {"spearman_partial": partial, "spearman": 0.9, "detected": [500, 500, 20, 19, 500, 3]}, index=list("abcdef")
    )
    table = verdicts(scores, 0.2, 0.1)
    assert table["verdict"].tolist() == ["pass", "warn", "warn", "fail", "fail", "pass"]
    assert table.index.tolist() == list("abcdef")
    assert table.loc["a", "reason"] == "cross-validated partial Spearman 0.20, at least 0.2"
    assert table.loc["c", "reason"].endswith("between 0.1 and 0.2")
    assert table.loc["d", "reason"].endswith("below 0.1; detected in only 19 cells")
    assert table.loc["f", "reason"].endswith("at least 0.2; detected in only 3 cells")
    assert verdicts(scores, 0.6, 0.5)["verdict"].tolist() == ["fail"] * 5 + ["warn"]


@pytest.mark.parametrize("n, level", [(33, 0.95), (200, 0.95), (60, 0.8)])
def test_bootstrap_is_scipys_percentile_interval(n, level):
    values = np.random.default_rng(n).gamma(2, 0.1, n)
    ours = bootstrap_interval(values, level)
    theirs = scipy.stats.bootstrap(
        (values,), np.mean, confidence_level=level, n_resamples=20_000, method="percentile", rng=1
    ).confidence_interval
    np.testing.assert_allclose(ours, theirs, atol=0.15 * values.std() / np.sqrt(n))
    assert bootstrap_interval(values, level) == ours
    assert bootstrap_interval(values, level, seed=1) != ours


def series(values):
    return pd.Series(values, index=[f"g{i}" for i in range(len(values))], dtype=float)


def judge(partial, celltype=None, passing=0.6, given_detected=None):
    partial = series(partial)
    verdict = pd.Series(np.where(np.arange(len(partial)) < passing * len(partial), "pass", "fail"), partial.index)
    return headline(partial, partial.mean() if given_detected is None else given_detected, celltype, verdict)


SPREAD = np.linspace(-0.1, 0.1, 40)


def test_good_and_limited():
    good = judge(0.3 + SPREAD, series(0.2 + SPREAD), passing=0.5)
    assert good.verdict == "good"
    assert good.reason.startswith("mean partial Spearman 0.30 (95% interval 0.28 to 0.32); 50% of 40 held-out genes")
    assert good.interval == bootstrap_interval(0.3 + SPREAD)
    assert judge(0.3 + SPREAD, series(0.2 + SPREAD), passing=0.45).verdict == "limited"
    assert judge(0.3 + SPREAD, None).verdict == "good"  # the cell-type mean was not run


def test_do_not_use_where_depth_explains_the_score():
    little = judge(0.3 + SPREAD, given_detected=0.04)
    assert little.verdict == "do not use"
    assert "only 0.040 among cells with as many genes detected, below 0.05" in little.reason
    assert judge(0.3 + SPREAD, given_detected=0.06).verdict == "good"


def test_do_not_use_where_the_interval_does_not_clear():
    low = judge(0.06 + SPREAD, None)
    assert low.interval[0] < 0.05 < low.interval[1]
    assert low.verdict == "do not use" and "does not clear 0.05" in low.reason
    # A fine mean of a few genes, far apart from each other, is no better.
    wide = judge([0.9, 0.0, 0.0, 0.0], None)
    assert wide.verdict == "do not use"
    assert judge(0.08 + SPREAD, None).verdict == "good"
    # The bound itself is not cleared.
    assert judge([0.05] * 5, None).verdict == "do not use"


def test_do_not_use_where_the_cell_type_mean_does_no_worse():
    ours = 0.3 + SPREAD
    beaten = judge(ours, series(0.31 + SPREAD))
    assert beaten.verdict == "do not use"
    assert "cell-type mean does no worse (difference -0.010)" in beaten.reason
    assert judge(ours, series(ours)).verdict == "do not use"
    # Compared gene by gene, whatever the order of rows.
    assert judge(ours, series(0.29 + SPREAD[::-1])[::-1]).verdict == "good"


# ---- the gene table ----


@pytest.fixture
def tissue():
    return draw(n_cells=(90, 70, 60))


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
            "detected": 50,
        }
    )


def test_gene_table(tissue):
    references, spatial, gene_sets = tissue
    scores = scores_of(gene_sets)
    table = gene_table(spatial, references, gene_sets, scores, 0.2, 0.1)
    assert list(table.columns) == GENE_COLUMNS
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
    table = gene_table(spatial, references, gene_sets, None, 0.2, 0.1).set_index("gene")
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
    table = gene_table(replace(spatial, coords=None), references, gene_sets, None, 0.2, 0.1)
    assert (table["verdict"] == "not assessed").all()
    assert table["reason"].value_counts().to_dict() == {
        "not cross-validated": 15,
        "not on the panel: no measurement to judge it by": 9,
    }
    assert table["moran_i"].isna().all()
    some = replace(gene_sets, targets=["g20", "g3", "g1"])
    table = gene_table(spatial, references, some, None, 0.2, 0.1)
    assert table["gene"].tolist() == ["g20", "g3", "g1"]
    assert table["measured"].tolist() == [False, True, True]
