"""Matrices whose features are probes, several per gene, as probe-based assays of 10x write them beside those of genes.

https://www.10xgenomics.com/support/software/cell-ranger/latest/analysis/outputs/cr-flex-outputs-overview
"""

import re

import numpy as np
import pandas as pd
import scipy.sparse as sp

#: `Gad1|79d7b91`, or with the gene's identifier in front.
_PROBE = re.compile(r"^.+\|[0-9a-f]{7}$")
_DEPRECATED = "DEPRECATED_"
FILTER, SYMBOLS, IDS = "filtered_probes", "gene_name", "gene_id"


def are_probes(var: pd.DataFrame) -> bool:
    """Whether the file tells which probes pass the filter, or most features are named as probes are."""
    names = var.index.astype(str)
    if {FILTER, SYMBOLS} <= set(var):
        return True
    return len(names) > 0 and sum(_PROBE.match(name) is not None for name in names) > 0.5 * len(names)


def genes_of_probes(x: sp.csr_matrix, var: pd.DataFrame) -> tuple[sp.csr_matrix, pd.DataFrame, np.ndarray]:
    """The probes that pass the assay's filter, named by their gene; counts of one gene are yet to be summed.

    Parameters
    ----------
    x : shape (n_cells, n_probes); var : features of which :func:`are_probes` holds

    Returns
    -------
    x, var : of the probes that pass, `var` with symbols in the index and identifiers in `gene_ids`
    left_out : names of the others
    """
    names = var.index.astype(str).to_numpy()
    fields = [name.split("|") for name in names]
    passed = ~np.array([name.startswith(_DEPRECATED) for name in names])
    if FILTER in var:
        passed &= var[FILTER].astype(str).str.casefold().isin(("true", "1")).to_numpy()
    whole = np.array([_PROBE.match(name) is not None for name in names])
    symbols = np.array([part[-2] if probe else part[0] for part, probe in zip(fields, whole, strict=True)], object)
    if SYMBOLS in var:
        symbols = var[SYMBOLS].astype(str).to_numpy()
    genes = pd.DataFrame(index=pd.Index(symbols))
    for column in var.columns.difference([SYMBOLS, IDS, "gene_ids"]):
        genes[column] = var[column].to_numpy()
    ids = var.get(IDS, var.get("gene_ids"))
    if ids is not None:
        genes["gene_ids"] = [str(value).removeprefix(_DEPRECATED).split("|")[0] for value in ids]
    return x[:, passed], genes[passed], names[~passed]
