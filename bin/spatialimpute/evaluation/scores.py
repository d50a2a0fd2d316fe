"""`scores.tsv`: every method's scores of every held-out gene."""

from collections.abc import Sequence

import pandas as pd

from spatialimpute.evaluation.metrics import score_genes
from spatialimpute.evaluation.truth import FoldTruth
from spatialimpute.files.predictions import Predictions

COLUMNS = [
    "sample", "method", "kappa", "place", "fold", "gene", "n_cells", "detected", "spearman", "spearman_fraction",
    "spearman_partial", "pearson", "rmse_z", "ssim", "jsd", "promised",
]  # fmt: skip


def score_fold(prediction: Predictions, truth: FoldTruth) -> pd.DataFrame:
    """One row per gene of the fold, with COLUMNS.

    All methods are scored on the same cells of a fold, those with counts on the panel genes in use, and get the
    same panel total.

    Parameters
    ----------
    prediction : of the fold's genes alone, in the truth's order
    """
    about = {"sample": prediction.sample, "method": prediction.method, "kappa": prediction.kappa}
    about |= {"place": prediction.place, "fold": prediction.fold[0], "gene": truth.genes}
    scored = score_genes(truth.counts, prediction.mean[truth.known], truth.total)
    return scored.assign(**about).astype({"kappa": float, "place": "Int64"})[COLUMNS]


def in_order(tables: Sequence[pd.DataFrame]) -> pd.DataFrame:
    """All rows as one table, method by method, the final prediction first, each in the order of the folds."""
    table = pd.concat(tables, ignore_index=True)
    order = dict.fromkeys(["spatialimpute", "gimvi", *sorted(set(table["method"]))])
    rank = {method: i for i, method in enumerate(order)}
    key = pd.DataFrame({"method": table["method"].map(rank), "kappa": table["kappa"], "place": table["place"]})
    return table.loc[key.sort_values(["method", "kappa", "place"], kind="stable").index].reset_index(drop=True)


def summarize(table: pd.DataFrame) -> dict[str, dict[str, float]]:
    """Median and mean scores over genes per method; gimVI members are averaged per gene first."""
    summary = {}
    for method, part in table.groupby("method"):
        genes = part.groupby("gene")[["spearman", "spearman_partial", "spearman_fraction"]].mean()
        summary[method] = {
            "spearman_median": float(genes["spearman"].median()),
            "spearman_mean": float(genes["spearman"].mean()),
            "spearman_partial_median": float(genes["spearman_partial"].median()),
            "spearman_partial_mean": float(genes["spearman_partial"].mean()),
            "spearman_fraction_median": float(genes["spearman_fraction"].median()),
            "n_genes": len(genes),
        }
    return summary
