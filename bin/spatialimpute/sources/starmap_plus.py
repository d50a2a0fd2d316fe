"""STARmap PLUS as published: `*raw_expression_pd.csv[.gz]` with genes in rows and `*spatial.csv[.gz]`.

The layout is the Single Cell Portal's (its table of cells has a second header line of types), as of
https://zenodo.org/records/8327576. Coordinates are the registered ones, whose unit the files do not say.
"""

from collections.abc import Iterable
from pathlib import Path

from spatialimpute.sources.base import Header
from spatialimpute.sources.cell_table import column_names, join, place, read_cells, to_floats, to_numbers
from spatialimpute.sources.folder import Folder
from spatialimpute.sources.gene_columns import INDEX
from spatialimpute.sources.text import SAFE_NUMBERS, open_rows, open_text, table_header, table_separator

CENTERS = ("X", "Y")
BLOCK_VALUES = 8 << 20


class StarmapPlus(Folder):
    """Cells are named in the matrix's header and in the column NAME of the table."""

    kind = "STARmap PLUS folder"
    technologies = ("STARmap",)
    signs = ("*raw_expression_pd.csv*",)

    def files(self) -> list[Path]:
        matrix = self._find("*raw_expression_pd.csv", "*raw_expression_pd.csv.gz")
        prefix = matrix.name.partition("raw_expression_pd")[0]
        return [matrix, self._find("*spatial.csv", "*spatial.csv.gz", beside=prefix)]

    def header(self) -> Header:
        matrix, cells = self.files()
        self._check_columns(matrix, ())
        return Header(self._check_columns(cells, ("NAME", *CENTERS)), True)

    def gene_columns(self) -> dict[str, list[str]]:
        with open_text(self.files()[0]) as text:
            return {INDEX: [line.partition(",")[0].strip().strip('"') for line in text][1:]}

    def _read(self, keys: Iterable[str]):
        matrix, path = self.files()
        columns = column_names(path)
        cells = read_cells(path, ids=("NAME",)).set_index("NAME")
        n_types = int(cells.index[0] == "TYPE")
        kinds, cells = cells.iloc[:n_types], cells.iloc[n_types:].copy()
        for name in kinds.columns[(kinds == "numeric").all()] if n_types else ():
            numbers = to_floats(cells[name])
            if (numbers.notna() == cells[name].notna()).all():
                cells[name] = numbers
        axes = tuple(name for name in (*CENTERS, "Z") if name in columns)
        to_numbers(path, cells, axes, first_row=2 + n_types)
        data = join(_read_genes_in_rows(matrix), matrix, cells, path)
        return place(data, axes, "unknown")


def _read_genes_in_rows(path: Path):
    import anndata as ad
    import pandas as pd
    import scipy.sparse as sp

    header = table_header(path)
    cells = header[1:]
    blocks, genes = [], []
    options = {"header": None, "names": range(len(header)), "index_col": 0, "dtype": {0: str}}
    options |= {"chunksize": max(1, BLOCK_VALUES // len(header)), "sep": table_separator(path), **SAFE_NUMBERS}
    with open_rows(path, header) as rows, pd.read_csv(rows, **options) as reader:
        for block in reader:
            blocks.append(sp.csr_matrix(block.to_numpy(dtype="float64")))
            genes += block.index.astype(str).tolist()
    x = sp.vstack(blocks, format="csr").T.tocsr()
    return ad.AnnData(X=x, obs=pd.DataFrame(index=pd.Index(cells)), var=pd.DataFrame(index=pd.Index(genes)))
