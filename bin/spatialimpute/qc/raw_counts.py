"""Find the raw counts in a file that may hold several matrices, and refuse what is not raw counts."""

import re

import anndata as ad
import numpy as np
import pandas as pd
import scipy.sparse as sp

from spatialimpute.errors import InputError
from spatialimpute.qc.gene_names import no_genes
from spatialimpute.sources.matrix import to_csr

#: Other names that layers of raw counts go by, in lower case and without what separates words.
COUNT_LAYERS = frozenset(
    "counts count rawcounts rawcount countsraw umi umis umicounts umicount rawumis countsrna rnacounts raw rawdata "
    "xraw rawx originalcounts unnormalized".split()
)
#: Words in the names of layers whose whole numbers are no counts of whole genes.
NO_COUNTS = ("spliced", "ambiguous", "exon", "intron", "mature", "nascent", "bin", "mask", "rank", "detected")
#: Largest integer up to which float32 holds every integer.
MAX_COUNT = 1 << 24
_BLOCK = 1 << 22
#: Totals of cells vary less than so many times what chance alone would have them vary, where they were made equal.
STEADY = 0.5
#: Among counts of which this share is 0 more than this share of the others is 1.
FEWEST_ZEROS, FEWEST_ONES = 0.3, 0.005
FEWEST_CELLS = 20
#: Largest values of small integer types: where so many counts are just that, and more than come near it, they were cut.
LARGEST_OF_TYPES, FEWEST_CUT, NEAR = (127, 255, 32_767, 65_535), 5, 0.9


def find_raw_counts(data: ad.AnnData, source: str) -> tuple[sp.csr_matrix, pd.DataFrame, str]:
    """The first of `X`, `layers['counts']` and `raw` that holds non-negative integers, else the one other layer that
    does: of another usual name, or the only one.

    What features that are neither genes nor controls hold is not looked at and comes as zero: the intensities of
    proteins may be fractions.

    Returns
    -------
    X : csr_matrix, float32, shape (n_cells, n_genes), canonical (sorted, no stored zeros)
    var : its genes; where : "X", "layers['counts']", "raw" or another layer

    Raises
    ------
    InputError
        None does, or several other layers do; the message names the first offending cell and gene of each.
    """
    candidates = [("X", data.X, data.var), ("layers['counts']", data.layers.get("counts"), data.var)]
    candidates.append(("raw", None, None) if data.raw is None else ("raw", data.raw.X, data.raw.var))
    complaints = []
    for where, matrix, var in candidates:
        if matrix is None:
            complaints.append(f"{where}: absent")
            continue
        found = _counts(matrix, data.obs_names, var)
        if not isinstance(found, str):
            _warn_of_fewer_genes(data, where)
            _warn_of_doubt(data, found, where)
            return found, var, where
        complaints.append(f"{where}: {found}")
    others = {}
    for name in [name for name in data.layers if name != "counts"]:
        others[name] = _counts(data.layers[name], data.obs_names, data.var)
    name = _raw_layer({name: found for name, found in others.items() if not isinstance(found, str)})
    if name is not None:
        _warn_of_doubt(data, others[name], f"layers[{name!r}]")
        return others[name], data.var, f"layers[{name!r}]"
    held = {name: found if isinstance(found, str) else "whole numbers" for name, found in others.items()}
    held |= {name: f"holds {value}, no count" for name, value in data.uns.get("other_layers", {}).items()}
    complaints += [f"layers[{name!r}]: {found}" for name, found in held.items()]
    way_out = "give the file as counted by the assay, before any normalization"
    if "whole numbers" in held.values():
        way_out = "copy the layer of raw counts of whole genes, if it is among these, to layers['counts']"
    raise InputError(
        f"{source}: no raw counts found. {'; '.join(complaints)}. Expected non-negative whole numbers in X, "
        f"layers['counts'] or raw; {way_out}"
    )


def _warn_of_doubt(data: ad.AnnData, x: sp.csr_matrix, where: str) -> None:
    """Say what makes it doubtful that these whole numbers are the counts as they were."""
    doubts = [doubt for doubt in (_cut_off(x), _rounded(x)) if doubt is not None]
    if doubts:
        data.uns["read_warnings"] = [*data.uns.get("read_warnings", []), *(f"{where}: {doubt}" for doubt in doubts)]


def _cut_off(x: sp.csr_matrix) -> str | None:
    """What says that counts were written as a type of number that ends below them; None where nothing does."""
    largest = x.data.max()
    n_cut = np.count_nonzero(x.data == largest)
    if largest not in LARGEST_OF_TYPES or n_cut < FEWEST_CUT:
        return None
    if n_cut <= np.count_nonzero(x.data >= NEAR * largest) - n_cut:
        return None
    return (
        f"{n_cut:,} counts are exactly {largest:.0f}, none is larger and fewer come near: they were cut at the largest "
        "number of a small integer type; write the counts again from the file that the assay gave"
    )


def _rounded(x: sp.csr_matrix) -> str | None:
    """What says that whole numbers are normalized ones that were rounded; None where nothing does."""
    if x.shape[0] < FEWEST_CELLS:
        return None
    total = np.asarray(x.sum(axis=1, dtype=np.float64)).ravel()
    asked = "were normalized values rounded? If so, give the file as counted by the assay"
    if total.std() < STEADY * np.sqrt(total.mean()):
        return f"all cells have nearly the same number of counts ({np.median(total):.0f}), as assays never do; {asked}"
    if x.nnz < (1 - FEWEST_ZEROS) * x.shape[0] * x.shape[1] and (x.data == 1).mean() < FEWEST_ONES:
        return f"hardly any value is 1, although many are 0, as among counts never happens; {asked}"
    return None


def _warn_of_fewer_genes(data: ad.AnnData, where: str) -> None:
    """Say where `raw` holds counts of more genes: then the matrix was cut down to some, such as the most variable."""
    if data.raw is None or where == "raw" or data.raw.shape[1] <= data.n_vars:
        return
    if isinstance(_counts(data.raw.X, data.obs_names, data.raw.var), str):
        return
    data.uns["read_warnings"] = [
        *data.uns.get("read_warnings", []),
        f"{where} has {data.n_vars} genes, and raw has counts of {data.raw.shape[1]}; those of {where} are taken: to "
        "use all write them to X (in Python: data.raw.to_adata().write_h5ad('all_genes.h5ad'))",
    ]


def _counts(matrix, cells: pd.Index, var: pd.DataFrame) -> sp.csr_matrix | str:
    """The matrix as counts, or what keeps it from being raw counts."""
    matrix = to_csr(matrix)
    _, other = no_genes(var, var.index.astype(str))
    if other.any():
        matrix = matrix.copy()
        matrix.data[other[matrix.indices]] = 0
    complaint = _complaint(matrix, cells, var.index)
    if complaint is not None:
        return complaint
    matrix = matrix.astype(np.float32)
    matrix.sum_duplicates()
    matrix.eliminate_zeros()
    return matrix


def _raw_layer(whole: dict[str, sp.csr_matrix]) -> str | None:
    """The one of several layers of whole numbers that holds raw counts; None where there is none or a choice."""
    usual = [name for name in whole if re.sub(r"[^a-z]", "", name.casefold()) in COUNT_LAYERS]
    if usual:
        return usual[0] if len(usual) == 1 else None
    if len(whole) != 1:
        return None
    [(name, matrix)] = whole.items()
    only_flags = matrix.data.max() <= 1
    return None if only_flags or any(word in name.casefold() for word in NO_COUNTS) else name


def _complaint(x: sp.csr_matrix, cells: pd.Index, genes: pd.Index) -> str | None:
    """What keeps the matrix from being raw counts, or None."""
    if 0 in x.shape:
        return f"empty ({x.shape[0]} cells x {x.shape[1]} genes)"
    if not x.data.any():
        return "all counts are zero"
    for start in range(0, x.data.size, _BLOCK):
        block = x.data[start : start + _BLOCK]
        with np.errstate(invalid="ignore"):
            good = (block >= 0) & (block <= MAX_COUNT) & (block == np.rint(block))
        if not good.all():
            position = start + int(np.argmin(good))
            cell = cells[np.searchsorted(x.indptr, position, side="right") - 1]
            gene, judgment = genes[x.indices[position]], _judge(x.data[position], x)
            return f"gene {str(gene)!r}, cell {str(cell)!r} holds {judgment}"
    return None


def _judge(value, x: sp.csr_matrix) -> str:
    value = float(value)
    if not np.isfinite(value):
        return f"{value}, not a number (an empty or missing value? where nothing was counted, write 0)"
    if value < 0:
        return f"{value:g}, a negative value (scaled or background-subtracted data?)"
    if value > MAX_COUNT:
        return f"{value:.0f}, more than the {MAX_COUNT:,} a count can be (intensities?)"
    hint = "log-transformed" if x.data.max() < 20 else "normalized"
    return f"{value:g}, not a whole number ({hint} data?)"
