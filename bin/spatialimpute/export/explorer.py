"""`cell_feature_matrix.zarr.zip`: the genes that passed cross-validation, as Xenium Explorer shows them.

https://www.10xgenomics.com/support/software/xenium-onboard-analysis/latest/advanced/xoa-output-zarr. Arrays and
attributes are those of sopa's `write_gene_counts` (2.2.11) but for its last row, where it writes totals of genes.
"""

import logging
import re
from collections.abc import Sequence
from pathlib import Path

import anndata as ad
import numpy as np
import pandas as pd
import scipy.sparse as sp
import zarr
from zarr.storage import ZipStore

from spatialimpute.errors import InputError
from spatialimpute.files.chunks import Grid
from spatialimpute.files.imputed import open_imputed
from spatialimpute.files.sealed import whole
from spatialimpute.folds import blocks
from spatialimpute.sources import open_source
from spatialimpute.sources.xenium import Xenium

#: Of a gene's name, so that nobody takes it for the measured one.
PREFIX = "imputed_"
#: Ids as Xenium writes them since version 1.3: eight hexadecimal digits as letters, and the data set's number.
CELL_ID = re.compile(r"([a-p]{8})-([0-9]+)")
DIGITS = str.maketrans("abcdefghijklmnop", "0123456789abcdef")
TOTAL = "Total transcripts"

log = logging.getLogger(__name__)


def write_explorer(path: str | Path, imputed: str | Path, folder: str | Path) -> None:
    """Write the expected counts of the genes that passed, rounded to the nearest whole number.

    Rows are all cells of the instrument's folder in its order, since the viewer knows them by their place too: those
    that QC left out, and those of which nothing is known, have zeros.

    Parameters
    ----------
    imputed : an imputed file or zarr folder
    folder : the Xenium folder that the sample was read from

    Raises
    ------
    InputError
        It is another kind of sample, its ids are others than Xenium's, no gene passed, or all values round to 0.
    """
    ids = _cell_ids(folder)
    with open_imputed(imputed) as group:
        cells, var = ad.io.read_elem(group["obs"]).index, ad.io.read_elem(group["var"])
        passed = np.flatnonzero(var["verdict"] == "pass")
        if not passed.size:
            raise InputError(f"{imputed}: no gene has the verdict 'pass', so there is none for Xenium Explorer to show")
        counts = _rounded(group["X"], passed)
    rows = pd.Index(ids).get_indexer(cells)
    if (rows < 0).any():
        raise InputError(
            f"{folder}: cell {cells[rows < 0][0]!r} is not in it; expected the Xenium folder that was imputed"
        )
    shown = int((counts.getnnz(axis=0) > 0).sum())
    if not shown:
        raise InputError(
            f"{imputed}: the expected counts of all {passed.size} genes that passed are below 0.5 in every cell, so "
            "they round to 0, and Xenium Explorer shows whole numbers alone"
        )
    if shown < passed.size:
        log.warning("%d of %d genes that passed round to 0 in every cell", passed.size - shown, passed.size)
    place = sp.csr_matrix((np.ones(len(rows), np.uint32), (rows, np.arange(len(rows)))), (len(ids), len(rows)))
    names = [f"{PREFIX}{gene}" for gene in var.index[passed]]
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    with whole(path) as partial:
        _write(partial, place @ counts, ids, names)


def _write(path: Path, counts: sp.csr_matrix, ids: Sequence[str], genes: Sequence[str]) -> None:
    """Genes in rows, compressed by rows, and below them the totals of cells."""
    matrix = sp.vstack([counts.T, counts.sum(axis=1).T], format="csr")
    names = [*genes, TOTAL]
    about = {
        "major_version": 3,
        "minor_version": 0,
        "number_cells": len(ids),
        "number_features": len(names),
        "feature_keys": names,
        "feature_ids": names,
        "feature_types": ["gene"] * len(genes) + ["aggregate_gene"],
    }
    found = [CELL_ID.fullmatch(cell).groups() for cell in ids]
    cell_id = np.array([(int(letters.translate(DIGITS), 16), int(number)) for letters, number in found])
    arrays = {"cell_id": cell_id, "data": matrix.data, "indices": matrix.indices, "indptr": matrix.indptr}
    with ZipStore(path, mode="w") as store:
        group = zarr.group(store=store, zarr_format=2).create_group("cell_features", attributes=about)
        for name, values in arrays.items():
            group.create_array(name, data=values.astype(np.uint32), chunks=values.shape)


def _cell_ids(folder: str | Path) -> list[str]:
    source = open_source(folder)
    if not isinstance(source, Xenium):
        raise InputError(
            f"{folder}: a {source.kind}; Xenium Explorer shows the cells of a Xenium folder, and of no other sample"
        )
    ids = source.cell_ids()
    other = next((cell for cell in ids if not CELL_ID.fullmatch(cell)), None)
    if other is not None:
        raise InputError(
            f"{folder}: cell {other!r}: expected ids like 'aaaachba-1', by which Xenium Explorer knows cells; they are "
            "in what Xenium has written since version 1.3, and folders of older ones cannot be exported"
        )
    return ids


def _rounded(matrix, columns: Sequence[int]) -> sp.csr_matrix:
    """Columns of an array on disk as whole numbers, shape (n_cells, n_columns); 0 where it has NaN."""
    parts = []
    for rows in blocks(matrix.shape[0], Grid.of(*matrix.shape).rows):
        parts.append(sp.csr_matrix(np.rint(np.nan_to_num(matrix[rows][:, columns])).astype(np.uint32)))
    return sp.vstack(parts, format="csr")
