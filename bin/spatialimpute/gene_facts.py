"""`gene_facts.tsv`: what the counts say of each target gene, for report and gene table; nothing chooses by it."""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from spatialimpute.evaluation.metrics import moran_i
from spatialimpute.files.counts import Counts
from spatialimpute.files.gene_sets import GeneSets


def gene_facts(spatial: Counts, references: Sequence[Counts], gene_sets: GeneSets) -> pd.DataFrame:
    """One row per target.

    Parameters
    ----------
    spatial, references : counts of all their genes

    Returns
    -------
    DataFrame: gene; measured (by the panel); n_detected, detected_fraction (spatial cells with a count), moran_i (of
    log1p of the measured counts), all three missing where not measured; reference_detected_fraction and
    reference_mean (raw count per cell) over the references that have the gene
    """
    table = pd.DataFrame(index=pd.Index(gene_sets.targets, name="gene"))
    table["measured"] = table.index.isin(spatial.genes)
    for column in ("n_detected", "detected_fraction", "moran_i"):
        table[column] = np.nan
    _add_measured(table, spatial)
    _add_reference(table, references)
    table["n_detected"] = table["n_detected"].astype("Int64")
    return table.reset_index()


def _add_measured(table: pd.DataFrame, spatial: Counts) -> None:
    measured = table.index[table["measured"]]
    counts = spatial.select(measured)
    detected = (counts > 0).getnnz(axis=0)
    table.loc[measured, "n_detected"] = detected
    table.loc[measured, "detected_fraction"] = detected / counts.shape[0]
    if spatial.coords is not None:
        logs = counts.copy()
        logs.data = np.log1p(logs.data)
        table.loc[measured, "moran_i"] = moran_i(logs, spatial.coords)


def _add_reference(table: pd.DataFrame, references: Sequence[Counts]) -> None:
    """Mean count and detection over the cells of the references that hold each gene."""
    n_cells, total, detected = (np.zeros(len(table)) for _ in range(3))
    for reference in references:
        genes = table.index[table.index.isin(reference.genes)]
        where, counts = table.index.get_indexer(genes), reference.select(genes)
        n_cells[where] += counts.shape[0]
        total[where] += np.asarray(counts.sum(0)).ravel()
        detected[where] += (counts > 0).getnnz(axis=0)
    table["reference_detected_fraction"] = detected / np.maximum(n_cells, 1)
    table["reference_mean"] = total / np.maximum(n_cells, 1)
