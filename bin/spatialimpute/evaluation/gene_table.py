"""`genes.tsv`: one row per imputed gene: what is known of it, its scores, its verdict."""

import numpy as np
import pandas as pd

from spatialimpute.evaluation.suspects import suspects
from spatialimpute.evaluation.verdicts import verdicts

COLUMNS = [
    "gene", "measured", "fold", "spearman", "spearman_partial", "spearman_fraction", "n_detected",
    "detected_fraction", "reference_detected_fraction", "reference_mean", "moran_i", "score", "score_lower",
    "score_upper", "verdict", "reason", "score_expected", "suspect",
]  # fmt: skip


def gene_table(gene_facts: pd.DataFrame, scores: pd.DataFrame | None, passes: float, warns: float) -> pd.DataFrame:
    """The table, with COLUMNS.

    Parameters
    ----------
    gene_facts : of :mod:`spatialimpute.gene_facts`, indexed by target gene, in the targets' order
    scores : scores of the final prediction, one row per held-out gene; None without cross-validation
    passes, warns : smallest partial scores for `pass` and for `warn`
    """
    table = gene_facts.reindex(columns=COLUMNS[1:]).astype({"fold": object, "verdict": object, "reason": object})
    table["n_detected"] = table["n_detected"].astype("Int64")
    table["verdict"] = "not assessed"
    measured = table["measured"].astype(bool)
    table["reason"] = np.where(measured, "not cross-validated", "not on the panel: no measurement to judge it by")
    if scores is not None:
        scores = scores.set_index("gene")
        for column in ("fold", "spearman", "spearman_partial", "spearman_fraction"):
            table.loc[scores.index, column] = scores[column]
        table.loc[scores.index, "score"] = scores["spearman_partial"]
        judged = verdicts(scores, passes, warns)
        table.loc[judged.index, ["verdict", "reason"]] = judged
    promised = pd.Series(dtype=float) if scores is None else scores["promised"]
    table[["score_expected", "suspect"]] = suspects(table, promised)
    return table.rename_axis("gene").reset_index()[COLUMNS]
