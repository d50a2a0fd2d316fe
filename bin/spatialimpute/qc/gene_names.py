"""Canonical gene names: symbols where known, unique, without control probes; Ensembl ids kept beside them."""

import re
from collections.abc import Sequence

import numpy as np
import pandas as pd
import scipy.sparse as sp

from spatialimpute.sources.vocabulary import ID_COLUMNS, MISSING_NAMES, SYMBOL_COLUMNS, find_name

ENSEMBL = re.compile(r"^ENS[A-Z]{0,6}G\d{11}(\.\d+)?$")

#: Probes and codewords that stand for no gene, as Xenium, MERSCOPE/MERFISH, CosMx and seqFISH name them;
#: `ERCC-` (with the hyphen, unlike the gene ERCC1) are spiked-in transcripts of sequencing references.
CONTROL_PROBE = re.compile(
    r"^(blank([-_ ]?\d.*|[-_ ].*)?|neg_?control.*|negprb.*|neg_?prb.*|negative([-_ ]?(control|probe).*|\d+)?|"
    r"system_?control.*|false_?code.*|unassigned_?codeword.*|deprecated_?codeword.*|genomic_?control.*|"
    r"intergenic_?region.*|antisense_.*|notarget[-_]?.*|control_probe.*|fiducial.*|ercc-\d+.*)$",
    re.IGNORECASE,
)
_CONTROL_TYPE = re.compile(r"control|codeword|blank", re.IGNORECASE)


def canonical_names(var: pd.DataFrame) -> tuple[np.ndarray, np.ndarray | None]:
    """Symbols and Ensembl ids of a file's genes.

    Names are `var`'s index unless that holds Ensembl ids and a column of symbols exists; a gene without a
    symbol keeps its id. Ids lose their version (ENSG00000000003.15 -> ENSG00000000003).

    Returns
    -------
    names : array of str, shape (n_genes,), possibly repeated; "" where a gene has no name
    ids : array of str, shape (n_genes,), "" where unknown; None when the file has no Ensembl ids
    """
    index = _clean(var.index)
    index_is_id = _is_ensembl(index)
    id_key = find_name(var.columns, ID_COLUMNS)
    ids = index if index_is_id.mean() > 0.5 else None
    if ids is None and id_key is not None and _is_ensembl(_clean(var[id_key])).any():
        ids = _clean(var[id_key])
    names = index
    symbol_key = find_name(var.columns, SYMBOL_COLUMNS)
    if index_is_id.mean() > 0.5 and symbol_key is not None:
        symbols = _clean(var[symbol_key])
        names = np.where(symbols == "", index, symbols)
    if ids is None and not index_is_id.any():
        return names, None
    ids = np.where(index_is_id, index, "") if ids is None else np.where(_is_ensembl(ids), ids, "")
    return _without_version(names), _without_version(ids)


def are_genes(var: pd.DataFrame) -> np.ndarray:
    """Boolean mask of the features that a file itself calls genes: by an Ensembl id or by their type in a 10x file."""
    mask = _is_ensembl(_clean(var.index))
    if (id_key := find_name(var.columns, ID_COLUMNS)) is not None:
        mask |= _is_ensembl(_clean(var[id_key]))
    return mask | (var["feature_types"] == "Gene Expression").to_numpy() if "feature_types" in var else mask


def _clean(values) -> np.ndarray:
    names = pd.Series(np.asarray(values, dtype=object)).astype(str).str.strip()
    return names.mask(names.str.casefold().isin(MISSING_NAMES), "").to_numpy(str)


def _is_ensembl(names: np.ndarray) -> np.ndarray:
    return np.fromiter((ENSEMBL.match(name) is not None for name in names), bool, len(names))


def _without_version(names: np.ndarray) -> np.ndarray:
    return np.array([name.split(".")[0] if ENSEMBL.match(name) else name for name in names], dtype=str)


def control_probes(names: Sequence[str], feature_types: Sequence[str] | None = None) -> np.ndarray:
    """Boolean mask of the features that are control probes, by name or by their type in a 10x file."""
    mask = np.fromiter((CONTROL_PROBE.match(name) is not None for name in names), bool, len(names))
    if feature_types is not None:
        mask |= np.fromiter((_CONTROL_TYPE.search(str(kind)) is not None for kind in feature_types), bool, len(names))
    return mask


def sum_duplicates(x: sp.csr_matrix, names: np.ndarray) -> tuple[sp.csr_matrix, np.ndarray]:
    """Add up the columns of the same name, in order of first appearance.

    Returns
    -------
    x : csr_matrix, shape (n_cells, n_unique); first : position in `names` of each column's first appearance
    """
    codes, unique = pd.factorize(names)
    if len(unique) == len(names):
        return x, np.arange(len(names))
    indicator = sp.csr_matrix(
        (np.ones(len(names), np.float32), (np.arange(len(names)), codes)), shape=(len(names), len(unique))
    )
    first = np.zeros(len(unique), dtype=int)
    first[codes[::-1]] = np.arange(len(names))[::-1]
    summed = sp.csr_matrix(x @ indicator)
    summed.sort_indices()
    return summed, first
