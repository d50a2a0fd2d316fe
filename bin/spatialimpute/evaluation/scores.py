"""`scores.tsv`: every method's scores of every held-out gene."""

import numpy as np
import pandas as pd

from spatialimpute.evaluation.metrics import score_genes
from spatialimpute.evaluation.selection import Truth
from spatialimpute.files.predictions import Predictions

COLUMNS = [
    "sample", "method", "kappa", "place", "fold", "gene", "n_cells", "detected", "spearman", "spearman_fraction",
    "spearman_partial", "pearson", "rmse_z", "ssim", "jsd",
]  # fmt: skip


def score_table(predictions: list[Predictions], truth: Truth) -> pd.DataFrame:
    """One row per prediction and held-out gene, with COLUMNS.

    All methods are scored on the same cells of a fold, those with counts on the panel genes in use, and get the
    same panel total.
    """
    tables = []
    for prediction in predictions:
        for fold in dict.fromkeys(truth.fold):
            columns = np.flatnonzero(truth.fold == fold)
            total = truth.total[fold]
            cells = total > 0
            where = np.ix_(cells, columns)
            order = pd.Index(prediction.genes).get_indexer(truth.genes[columns])
            scored = score_genes(truth.counts[where], prediction.mean[np.ix_(cells, order)], total[cells])
            about = {"sample": prediction.sample, "method": prediction.method}
            about |= {"kappa": prediction.kappa, "place": prediction.place, "fold": fold}
            tables.append(scored.assign(**about, gene=truth.genes[columns]))
    table = pd.concat([part.astype({"kappa": float, "place": "Int64"}) for part in tables], ignore_index=True)
    return table[COLUMNS]


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
