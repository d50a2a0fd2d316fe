"""Canonical gene names: symbols where known, unique, without control probes; Ensembl ids kept beside them."""

import re
from collections.abc import Sequence

import numpy as np
import pandas as pd
import scipy.sparse as sp

from spatialimpute.sources.gene_columns import INDEX, ensembl_id, plain_names, usual_column
from spatialimpute.sources.vocabulary import FEATURE_TYPE_COLUMNS, ID_COLUMNS, MISSING_NAMES, find_name

#: Probes and codewords that stand for no gene, as Xenium, MERSCOPE/MERFISH, CosMx and seqFISH name them;
#: `ERCC-` (with the hyphen, unlike the gene ERCC1) are spiked-in transcripts of sequencing references.
CONTROL_PROBE = re.compile(
    r"^(blank([-_ ]?\d.*|[-_ ].*)?|neg_?control.*|negprb.*|neg_?prb.*|negative([-_ ]?(control|probe).*|\d+)?|"
    r"system_?control.*|false_?code.*|unassigned_?codeword.*|deprecated_?codeword.*|genomic_?control.*|"
    r"intergenic_?region.*|antisense_.*|notarget[-_]?.*|control_probe.*|fiducial.*|ercc-\d+.*)$",
    re.IGNORECASE,
)
_CONTROL_TYPE = re.compile(r"control|codeword|blank", re.IGNORECASE)
_GENE_TYPE = "gene expression"
#: Types of 10x that count no transcripts; their isotype controls say nothing of the transcripts' rate.
_OTHER_TYPE = re.compile(r"protein|antibod|antigen|guide|crispr|multiplex|peak|custom", re.IGNORECASE)


def naming_column(var: pd.DataFrame, wanted: str | None = None) -> str:
    """The column that names a file's genes: the wanted one where `var` has it, else the usual one."""
    if wanted == INDEX or (wanted is not None and wanted in var):
        return wanted
    texts = var.select_dtypes(["object", "category", "string"])
    columns = {str(name): _clean(texts[name]).tolist() for name in texts.columns}
    return usual_column({**columns, INDEX: _clean(var.index).tolist()})


def canonical_names(var: pd.DataFrame, column: str | None = None) -> tuple[np.ndarray, np.ndarray | None]:
    """Names and Ensembl ids of a file's genes.

    A gene without a name in the column keeps its index. Of names that hold more than a symbol (an Ensembl id, a
    genome) the symbol is taken. Ids, in the index or in any column, lose their version (ENSG00000000003.15 ->
    ENSG00000000003).

    Parameters
    ----------
    column : INDEX, or the column of `var` that names the genes; the usual one where None

    Returns
    -------
    names : array of str, shape (n_genes,), possibly repeated; "" where a gene has no name
    ids : array of str, shape (n_genes,), "" where unknown; None when the file has no Ensembl ids
    """
    index = _clean(var.index)
    column = column or naming_column(var)
    names = index
    if column != INDEX:
        symbols = _clean(var[column])
        names = np.where(symbols == "", index, symbols)
    return np.array(plain_names(names.tolist()), dtype=str), _ensembl_ids(var, index)


def _ensembl_ids(var: pd.DataFrame, index: np.ndarray) -> np.ndarray | None:
    """Ids of the index if most of it is, else of a column, "" where there is none; None without any."""
    of_index = _ids_in(index)
    in_index = of_index != ""
    id_key = find_name(var.columns, ID_COLUMNS)
    others = [name for name in var.select_dtypes(["object", "category", "string"]) if name != id_key]
    if in_index.mean() <= 0.5:
        for name in ([] if id_key is None else [id_key]) + others:
            found = _clean(var[name])
            ids = _ids_in(found)
            if (ids != "").mean() > (0 if name == id_key else 0.5):
                return np.where(in_index, of_index, ids)
    return of_index if in_index.any() else None


def are_genes(var: pd.DataFrame) -> np.ndarray:
    """Boolean mask of the features that a file itself calls genes: by an Ensembl id or by their type in a 10x file."""
    mask = _ids_in(_clean(var.index)) != ""
    if (id_key := find_name(var.columns, ID_COLUMNS)) is not None:
        mask |= _ids_in(_clean(var[id_key])) != ""
    types = feature_types(var)
    return mask if types is None else mask | _of_genes(types)


def _clean(values) -> np.ndarray:
    names = pd.Series(np.asarray(values, dtype=object)).astype(str).str.strip()
    return names.mask(names.str.casefold().isin(MISSING_NAMES), "").to_numpy(str)


def _ids_in(names: np.ndarray) -> np.ndarray:
    return np.array([ensembl_id(name) for name in names], dtype=str)


def control_probes(names: Sequence[str], feature_types: Sequence[str] | None = None) -> np.ndarray:
    """Boolean mask of the features that are control probes, by name or by their type in a 10x file.

    A feature whose type says that it is neither gene nor control (a protein, a guide) is none, whatever its name.
    """
    mask = np.fromiter((CONTROL_PROBE.match(name) is not None for name in names), bool, len(names))
    if feature_types is None:
        return mask
    mask |= _has(_CONTROL_TYPE, feature_types)
    return mask & ~_has(_OTHER_TYPE, feature_types)


def other_features(feature_types: Sequence[str], controls: np.ndarray) -> np.ndarray:
    """Boolean mask of the features that are neither genes nor controls; all False where no type says gene."""
    genes = _of_genes(feature_types)
    return ~(genes | controls) & genes.any()


def no_genes(var: pd.DataFrame, names: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
    """Boolean masks of the control probes, told by their types, `names` or index, and of the other features."""
    types = feature_types(var)
    controls = control_probes(names, types) | control_probes(var.index.astype(str), types)
    return controls, np.zeros(len(controls), bool) if types is None else other_features(types, controls)


def feature_types(var: pd.DataFrame) -> np.ndarray | None:
    """The kinds of features that a file tells, as text; None where it tells none."""
    key = find_name(var.columns, FEATURE_TYPE_COLUMNS)
    return None if key is None else var[key].astype(str).to_numpy(str)


def _of_genes(feature_types: Sequence[str]) -> np.ndarray:
    return np.array([str(kind).strip().casefold() == _GENE_TYPE for kind in feature_types], bool)


def _has(pattern: re.Pattern, texts: Sequence[str]) -> np.ndarray:
    return np.fromiter((pattern.search(str(text)) is not None for text in texts), bool, len(texts))


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
