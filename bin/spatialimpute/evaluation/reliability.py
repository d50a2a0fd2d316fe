"""Verdicts: which gene's estimate, and which sample's, deserves trust."""

from dataclasses import dataclass

import numpy as np
import pandas as pd

from spatialimpute.evaluation.metrics import moran_i
from spatialimpute.files.counts import Counts
from spatialimpute.files.gene_sets import GeneSets

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
    given_detected : mean over genes of :meth:`Truth.partial` of the chosen prediction, given detected genes as well
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


GENE_COLUMNS = [
    "gene", "measured", "fold", "spearman", "spearman_partial", "spearman_fraction", "n_detected",
    "detected_fraction", "reference_detected_fraction", "reference_mean", "moran_i", "score", "score_lower",
    "score_upper", "verdict", "reason",
]  # fmt: skip


def gene_table(
    spatial: Counts,
    references: list[Counts],
    gene_sets: GeneSets,
    scores: pd.DataFrame | None,
    passes: float,
    warns: float,
) -> pd.DataFrame:
    """`genes.tsv`: one row per imputed gene, with the columns of GENE_COLUMNS.

    Parameters
    ----------
    scores : scores of the chosen prediction, one row per held-out gene; None without cross-validation
    """
    table = pd.DataFrame(index=pd.Index(gene_sets.targets, name="gene"), columns=GENE_COLUMNS[1:], dtype=object)
    table["measured"] = table.index.isin(spatial.genes)
    table["verdict"] = "not assessed"
    table["reason"] = np.where(
        table["measured"], "not cross-validated", "not on the panel: no measurement to judge it by"
    )
    _add_measured(table, spatial)
    _add_reference(table, references)
    if scores is not None:
        scores = scores.set_index("gene")
        for column in ("fold", "spearman", "spearman_partial", "spearman_fraction"):
            table.loc[scores.index, column] = scores[column]
        table.loc[scores.index, "score"] = scores["spearman_partial"]
        judged = verdicts(scores, passes, warns)
        table.loc[judged.index, ["verdict", "reason"]] = judged
    return table.reset_index()[GENE_COLUMNS]


def _add_measured(table: pd.DataFrame, spatial: Counts) -> None:
    measured = table.index[table["measured"]]
    counts = spatial.select(measured)
    detected = np.asarray((counts > 0).sum(0)).ravel()
    table.loc[measured, "n_detected"] = detected
    table.loc[measured, "detected_fraction"] = detected / counts.shape[0]
    if spatial.coords is not None:
        logs = counts.copy()
        logs.data = np.log1p(logs.data)
        table.loc[measured, "moran_i"] = moran_i(logs, spatial.coords)


def _add_reference(table: pd.DataFrame, references: list[Counts]) -> None:
    """Mean count and detection over the cells of the references that hold each gene."""
    n_cells, total, detected = (np.zeros(len(table)) for _ in range(3))
    for reference in references:
        genes = table.index[table.index.isin(reference.genes)]
        where, counts = table.index.get_indexer(genes), reference.select(genes)
        n_cells[where] += counts.shape[0]
        total[where] += np.asarray(counts.sum(0)).ravel()
        detected[where] += np.asarray((counts > 0).sum(0)).ravel()
    table["reference_detected_fraction"] = detected / np.maximum(n_cells, 1)
    table["reference_mean"] = total / np.maximum(n_cells, 1)
