"""Imputes a range of rows."""

import numpy as np

from spatialimpute.files.imputed import ImputedRows
from spatialimpute.imputation.blocks import Posterior
from spatialimpute.imputation.held_out import WithoutOwnCount
from spatialimpute.imputation.precision import round_summary
from spatialimpute.imputation.reducers import Summarize
from spatialimpute.methods.gimvi.support import Support


def impute_rows(
    posterior: Posterior, support: Support, rows: slice, interval: float, held_out: WithoutOwnCount | None = None
) -> ImputedRows:
    """Impute rows whose first is a multiple of BLOCK_CELLS; `interval` is the probability inside [lower, upper]."""
    summarize = Summarize(rows, posterior.n_genes, interval)
    for block in posterior.blocks(rows):
        summarize.update(block)
    summary = round_summary(summarize.result(), posterior.n_draws)
    latent, totals = posterior.latent(rows), posterior.totals[rows]
    known, supported = totals > 0, np.zeros(len(totals), dtype=bool)
    if known.any():
        supported[known] = support.contains(latent[known])
    values = summary._asdict() | ({} if held_out is None else {"without_own_count": held_out.of(rows)})
    return ImputedRows(rows, values, latent, totals, supported)
