"""Verdicts of genes and samples: thresholds, the bootstrap, the headline's rules."""

import numpy as np
import pandas as pd
import pytest
import scipy.stats
from spatialimpute.evaluation.verdicts import bootstrap_interval, headline, verdicts


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
