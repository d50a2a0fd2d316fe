"""Verdicts: which gene's estimate, and which sample's, deserves trust."""

from dataclasses import dataclass

import numpy as np
import pandas as pd

#: A sample's mean partial score has to lie above this, with its interval.
CLEAR_OF_ZERO = 0.05
N_BOOTSTRAP = 2000


def verdicts(scores: pd.DataFrame, passes: float, warns: float) -> pd.DataFrame:
    """Verdict and reason per held-out gene.

    Parameters
    ----------
    scores : indexed by gene; `spearman_partial`, `spearman`, `detected`, of the chosen prediction
    passes, warns : smallest partial scores for `pass` and for `warn`

    Returns
    -------
    DataFrame indexed by gene: verdict (`pass`, `warn`, `fail`), reason
    """
    partial = scores["spearman_partial"]
    verdict = np.select([partial >= passes, partial >= warns], ["pass", "warn"], "fail")
    bound = {"pass": f"at least {passes:g}", "warn": f"between {warns:g} and {passes:g}", "fail": f"below {warns:g}"}
    reasons = [
        f"cross-validated partial Spearman {value:.2f}, {bound[kind]}"
        + (f"; detected in only {int(detected)} cells" if detected < 20 else "")
        for value, kind, detected in zip(partial, verdict, scores["detected"], strict=True)
    ]
    return pd.DataFrame({"verdict": verdict, "reason": reasons}, index=scores.index)


def bootstrap_interval(values: np.ndarray, level: float = 0.95, seed: int = 0) -> tuple[float, float]:
    """Percentile bootstrap interval of the mean over genes (Efron 1979, doi:10.1214/aos/1176344552)."""
    values = np.asarray(values)
    draws = np.random.default_rng(seed).integers(0, len(values), (N_BOOTSTRAP, len(values)))
    lower, upper = np.quantile(values[draws].mean(1), [(1 - level) / 2, (1 + level) / 2])
    return float(lower), float(upper)


@dataclass
class Headline:
    """A sample's verdict: `good`, `limited` or `do not use`, why, and the interval of the mean partial score."""

    verdict: str
    reason: str
    interval: tuple[float, float]


def headline(partial: pd.Series, given_detected: float, celltype: pd.Series | None, verdict: pd.Series) -> Headline:
    """The sample's headline.

    `do not use` when the bootstrap interval over genes of the mean partial score does not clear 0.05, when less than
    that remains given the number of detected genes as well, or when the cell-type mean predicts the same genes as
    well on average; `good` when at least half of the held-out genes pass; `limited` otherwise.

    Parameters
    ----------
    partial, celltype : partial scores per gene of the chosen prediction and of the cell-type mean (None: not run)
    given_detected : mean over genes of :meth:`FoldTruth.partial` of the chosen prediction, given detected genes as well
    verdict : verdict per gene
    """
    interval = bootstrap_interval(partial.to_numpy())
    text = f"mean partial Spearman {partial.mean():.2f} (95% interval {interval[0]:.2f} to {interval[1]:.2f})"
    if interval[0] <= CLEAR_OF_ZERO:
        return Headline("do not use", f"{text} does not clear {CLEAR_OF_ZERO:g}", interval)
    if given_detected < CLEAR_OF_ZERO:
        left = f"{given_detected:.3f} among cells with as many genes detected, below {CLEAR_OF_ZERO:g}"
        return Headline("do not use", f"{text}, but only {left}: it may be depth alone", interval)
    if celltype is not None:
        gain = (partial - celltype.reindex(partial.index)).mean()
        if gain <= 0:
            return Headline(
                "do not use", f"{text}, but the cell-type mean does no worse (difference {gain:+.3f})", interval
            )
    share = (verdict == "pass").mean()
    kind = "good" if share >= 0.5 else "limited"
    return Headline(kind, f"{text}; {share:.0%} of {len(verdict)} held-out genes pass", interval)
