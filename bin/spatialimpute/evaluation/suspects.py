"""Panel genes that may not measure what they say: off-target and dead probes, for whoever designs the panel.

A prediction that varies much between cells promises a high score, and the other genes tell how far such promises hold
for genes that are detected as often. One whose score falls far short of that has counts of something else, or the
reference has others. And detection follows the reference's but for the probes' efficiency: a dead probe is far below.
"""

import numpy as np
import pandas as pd

#: Genes with a score from which on others tell what to expect of one.
FEWEST_GENES = 20
#: Robust standard deviations below what is expected from which on a gene is named, and the least of these deviations.
FAR, LEAST_SPREAD = 3.5, 0.03
#: What has to be expected of a score before a worse one says anything, and the share of it that is no surprise.
FEWEST_EXPECTED, SHARE = 0.15, 0.5
#: A share of cells below which there is nothing to take a logarithm of.
SMALLEST = 1e-4


def suspects(genes: pd.DataFrame, promised: pd.Series) -> pd.DataFrame:
    """What is expected of each measured gene, and what speaks against it.

    Parameters
    ----------
    genes : a row per gene: `measured`; `score`, cross-validated; `detected_fraction` and `reference_detected_fraction`,
        shares of cells with a count
    promised : of the scored genes, the score that the prediction promises of itself (`scores.tsv`)

    Returns
    -------
    DataFrame of the same index: `score_expected`, by a robust regression (Huber) of the scores on what is promised and
    the logarithms of both shares; `suspect`, a sentence, empty where nothing speaks against the gene
    """
    found = pd.DataFrame({"score_expected": np.nan, "suspect": ""}, index=genes.index)
    shares = genes[["detected_fraction", "reference_detected_fraction"]].astype(float)
    known = genes["measured"].astype(bool) & shares.notna().all(axis=1)
    if known.sum() >= FEWEST_GENES:
        found.loc[known, "suspect"] = _dead(shares[known])
    scored = known & genes["score"].notna()
    if scored.sum() >= FEWEST_GENES:
        score = genes.loc[scored, "score"].astype(float)
        logs = np.log(shares[scored].clip(lower=SMALLEST))
        expected = _expected(score, logs.assign(promised=promised.reindex(score.index).fillna(0)))
        found.loc[scored, "score_expected"] = expected
        texts = _unlike(score, expected, shares[scored])
        found.loc[texts.index, "suspect"] = texts
    return found


def _expected(score: pd.Series, by: pd.DataFrame) -> pd.Series:
    from sklearn.linear_model import HuberRegressor  # slow to load, and most that read a gene table need none

    spread = by.std()
    scaled = (by - by.mean()) / spread.where(spread > 1e-9, 1.0)
    fit = HuberRegressor(max_iter=1000).fit(scaled.to_numpy(), score.to_numpy())
    return pd.Series(fit.predict(scaled.to_numpy()), index=score.index)


def _unlike(score: pd.Series, expected: pd.Series, shares: pd.DataFrame) -> pd.Series:
    """Genes whose prediction disagrees with what is measured."""
    short = _robust(score - expected)
    flagged = (short < -FAR) & (expected >= FEWEST_EXPECTED) & (score < SHARE * expected)
    often = _robust(_log_ratio(shares)) > FAR
    return pd.Series(
        {
            gene: f"not what is predicted (score {score[gene]:.2f}, expected {expected[gene]:.2f}); "
            + _detection(shares.loc[gene])
            + (": an off-target probe or background" if often[gene] else ": an off-target probe")
            + ", or cells that the reference lacks"
            for gene in score.index[flagged]
        },
        dtype=object,
    )


def _dead(shares: pd.DataFrame) -> pd.Series:
    """Sentences of genes that are detected far less often than the reference promises; empty for the others."""
    flagged = _robust(_log_ratio(shares)) < -FAR
    return pd.Series(
        [
            f"hardly measured; {_detection(row)}: a dead probe, or cells that the sample lacks" if dead else ""
            for dead, (_, row) in zip(flagged, shares.iterrows(), strict=True)
        ],
        index=shares.index,
        dtype=object,
    )


def _detection(shares: pd.Series) -> str:
    return (
        f"detected in {shares['detected_fraction']:.2%} of the cells, in the reference in "
        f"{shares['reference_detected_fraction']:.2%}"
    )


def _log_ratio(shares: pd.DataFrame) -> pd.Series:
    """Logarithm of the ratio of both sides' counts per cell, as detection tells them of rare counts."""
    rate = -np.log1p(-shares.clip(SMALLEST, 1 - SMALLEST))
    return np.log(rate["detected_fraction"] / rate["reference_detected_fraction"])


def _robust(values: pd.Series) -> pd.Series:
    """In robust standard deviations (MAD) from the median."""
    centered = values - values.median()
    return centered / max(1.4826 * centered.abs().median(), LEAST_SPREAD)
