"""Files that read well and hold what cannot be imputed: matrices, coordinates, genes."""

import anndata as ad
import numpy as np
import pandas as pd
import scipy.sparse as sp
from corpus import case, spatial
from good_files import COUNTS, N_GENES, PLACES, data, edit


def matrix(name: str, x, *says: str, **how) -> None:
    """A case of a matrix of counts."""

    @spatial(f"matrix: {name}", "x.h5ad", *says)
    def write(folder):
        data(x, **how).write_h5ad(folder / "x.h5ad")
        return "x.h5ad"


def one(value: float) -> np.ndarray:
    """The counts with one of another value."""
    x = COUNTS.astype(np.float64)
    x[3, 4] = value
    return x


NO_COUNTS = "no raw counts found"
matrix(
    "negative", one(-2), NO_COUNTS, "gene 'Gene4', cell 'cell3' holds -2, a negative value", "before any normalization"
)
matrix("fractional", one(0.5), NO_COUNTS, "gene 'Gene4', cell 'cell3' holds 0.5, not a whole number")
matrix("NaN", one(np.nan), NO_COUNTS, "gene 'Gene4', cell 'cell3' holds nan, not a number")
matrix("infinite", one(np.inf), NO_COUNTS, "gene 'Gene4', cell 'cell3' holds inf, not a number")
matrix("beyond 2^31", one(2.0**31), NO_COUNTS, "holds 2147483648, more than the 16,777,216 a count can be")
matrix("log-normalized", np.log1p(COUNTS / COUNTS.sum(1, keepdims=True) * 1e4), NO_COUNTS, "log-transformed data?")
matrix("normalized", sp.csr_matrix(COUNTS * 1000.5), NO_COUNTS, "normalized data?", "before any normalization")
matrix("scaled", (COUNTS - COUNTS.mean(0)) / COUNTS.std(0), NO_COUNTS, "a negative value (scaled")
matrix("all zero", COUNTS * 0, NO_COUNTS, "all counts are zero")
matrix("one cell", COUNTS[:1], "1 cells and 11 genes are left", "expected at least 2 of each", places=PLACES[:1])
matrix("one gene", COUNTS[:, :1] + 1, "12 cells and 1 genes are left", "expected at least 2 of each")
matrix("no genes", COUNTS[:, :0], NO_COUNTS, "empty (12 cells x 0 genes)")
matrix("no cells", COUNTS[:0], NO_COUNTS, "empty (0 cells x 11 genes)", places=PLACES[:0])
matrix("control probes alone", COUNTS, "hold controls only", genes=[f"Blank-{i}" for i in range(N_GENES)])
matrix("nameless genes", COUNTS, "no gene is left of 11 features", genes=["nan"] * N_GENES)


@spatial("matrix: transposed", "the columns are named like cells ('AAACCTGAAACCTG-1')", "transpose the matrix")
def transposed(folder):
    barcodes = [f"AAACCTGAAACCT{base}-{i}" for i in range(1, 4) for base in "GACT"]
    frame = ad.AnnData(COUNTS.T.copy(), obs=pd.DataFrame(index=[f"Gene{i}" for i in range(N_GENES)]))
    frame.var_names = barcodes
    frame.obsm["spatial"] = PLACES[:N_GENES]
    frame.write_h5ad(folder / "x.h5ad")
    return "x.h5ad"


# ------------------------------------------------------------------------------------ coordinates


def places(name: str, coordinates, *says: str) -> None:
    """A case of coordinates."""

    @spatial(f"coordinates: {name}", "x.h5ad", *says)
    def write(folder):
        data().write_h5ad(folder / "x.h5ad")

        def replace(file):
            del file["obsm/spatial"]
            found = file.create_dataset("obsm/spatial", data=coordinates)
            kind = "string-array" if found.dtype.kind == "O" else "array"
            found.attrs.update({"encoding-type": kind, "encoding-version": "0.2.0"})

        edit(folder / "x.h5ad", replace)
        return "x.h5ad"


def at(value: float) -> np.ndarray:
    """The coordinates with one of another value."""
    found = PLACES.copy()
    found[5, 1] = value
    return found


places(
    "NaN", PLACES * np.nan, "none of 12 cells has a place", "cell 'cell0' has coordinates [nan, nan]", "place the cells"
)
places("infinite", at(np.inf), "cell 'cell5' has coordinates", "place these cells or remove them")
places("all equal", PLACES * 0 + 7, "all cells are at [7.0, 7.0]; expected the place of each cell")
places("one column", PLACES[:, :1], "has shape (12, 1), expected (cells, 2) or (cells, 3)")
places("one dimension", PLACES[:, 0], "has shape (12, 1), expected (cells, 2) or (cells, 3)")
places("four columns", np.hstack([PLACES, PLACES]), "has shape (12, 4), expected (cells, 2) or (cells, 3)")
places("of fewer cells", PLACES[:5], "5", "export or copy the file again")
places("text", np.array([["left", "up"]] * 12, dtype=object), "not numbers; write x and y as numbers")


@spatial("coordinates: text in columns", "columns x, y are not numbers; write x and y as numbers")
def text(folder):
    found = data(places=None)
    found.obs = found.obs.assign(x="left", y="up")
    found.write_h5ad(folder / "x.h5ad")
    return "x.h5ad"


@spatial("coordinates: missing", "holds no coordinates", "x.coords.csv beside it", command="check_inputs")
def missing(folder):
    data(places=None).write_h5ad(folder / "x.h5ad")
    return "x.h5ad"


@case("batch: cells without one", "x.h5ad: cell 'cell1' has no 'slice'; give every cell its batch", command="qc")
def without_batch(folder):
    data(slice=[1.0, None] * 6).write_h5ad(folder / "x.h5ad")
    return ["--input", "x.h5ad", "--batch-key", "slice"]


# ------------------------------------------------------------------------------------------ genes


def genes(name: str, names: list[str], *says: str) -> None:
    """A case of spatial genes that the reference does not have."""

    @case(f"genes: {name}", "s1: ", *says, command="select_genes")
    def spoil(folder):
        data(genes=names).write_h5ad(folder / "x.h5ad")
        return ["--spatial", "x.h5ad"]


@spatial("genes: none shared, found at once", "0 genes are shared by", "x.h5ad has Other0", command="check_inputs")
def none_shared(folder):
    data(genes=[f"Other{i}" for i in range(N_GENES)]).write_h5ad(folder / "x.h5ad")
    return "x.h5ad"


FEW = "0 genes are shared by the spatial panel and the reference, 10 needed"
genes("none shared", [f"Other{i}" for i in range(N_GENES)], FEW, "Other0", "give a table by gene_aliases")
genes("Ensembl identifiers", [f"ENSMUSG{i:011d}" for i in range(N_GENES)], FEW, "ENSMUSG00000000000", "gene_aliases")
genes("another species", [f"FBgn{i:07d}" for i in range(N_GENES)], FEW, "two species", "gene_aliases")
genes("too few shared", ["Gene0", "Gene1", *[f"Other{i}" for i in range(9)]], "2 genes are shared", "10 needed")
