"""Tables that stand the other way round, or whose rows are molecules, told by their names; and what to do with them."""

from collections.abc import Sequence
from pathlib import Path

from spatialimpute.errors import InputError
from spatialimpute.sources.text import table_separator
from spatialimpute.sources.vocabulary import CELL_ID_COLUMNS, GENE_COLUMNS, coordinate_columns, find_name

#: Columns that name the gene of a molecule.
MOLECULE_GENES = frozenset(
    "feature_name gene genes gene_name genename gene_names target target_name target_gene geneid gene_id gene_symbol "
    "symbol codeword".split()
)
#: Further coordinates of molecules, as CosMx and Xenium write them.
MOLECULE_AXES = (("x_global_px", "y_global_px"), ("x_local_px", "y_local_px"), ("x_location", "y_location"))
#: Columns that say how many molecules a row stands for.
NUMBERS = (
    "midcount",
    "midcounts",
    "umicount",
    "umi_count",
    "umicounts",
    "umi",
    "umis",
    "count",
    "counts",
    "n",
    "value",
    "reads",
)
#: A table of molecules has few columns.
MOST_COLUMNS = 40


def transpose(path: Path) -> str:
    """How to transpose a table or an h5ad file."""
    if path.suffix == ".h5ad":
        return f"transpose it (in Python: anndata.read_h5ad({path.name!r}).T.write_h5ad('cells_in_rows.h5ad'))"
    separator = ", sep='\\t'" if ".csv" not in path.name.lower() else ""
    return (
        f"transpose the table (in Python: pandas.read_csv({path.name!r}, index_col=0{separator})"
        ".T.to_csv('cells_in_rows.csv', index_label='cell_id'))"
    )


def count_molecules(path: Path, gene: str, columns: Sequence[str]) -> str:
    """What to do with a table whose rows are of a molecule, or of a gene of a cell; `gene` names its column."""
    cell, number = find_name(columns, CELL_ID_COLUMNS), find_name(columns, NUMBERS)
    separator = ", sep='\\t'" if table_separator(path) == "\t" else ""
    fov, join = find_name(columns, ("fov",)), ""
    once = "" if cell else ", once a column says in which cell or bin each is,"
    cell = cell or "cell_id"
    if fov is not None:  # some instruments number the cells of each field of view anew
        join = f"table[{cell!r}] = table[{fov!r}].astype(str) + '_' + table[{cell!r}].astype(str); "
    counted = f"pandas.crosstab(table[{cell!r}], table[{gene!r}])"
    if number is not None:
        counted = f"table.pivot_table({number!r}, {cell!r}, {gene!r}, aggfunc='sum', fill_value=0)"
    return (
        "expected a row per cell and a column of counts per gene: name the instrument's folder, which holds the "
        f"cells' counts, or count the molecules of {path.name} by cell and gene{once} (in Python: table = "
        f"pandas.read_csv({path.name!r}{separator}); {join}{counted}.to_csv('counts.csv')) and give the cells' places "
        "beside them"
    )


def refuse_genes_in_rows(path: Path, columns: Sequence[str]) -> None:
    """Raise InputError where a header says that its first column names genes."""
    if columns[0].casefold() in GENE_COLUMNS:
        raise InputError(
            f"{path}: the first column is {columns[0]!r}, so genes seem to be in rows; expected cells in rows and "
            f"genes in columns: {transpose(path)}"
        )


def refuse_molecules(path: Path, columns: Sequence[str]) -> None:
    """Raise InputError where a header is that of a table of molecules: a gene and a place in each row."""
    names = {name.casefold() for name in columns}
    placed = coordinate_columns(columns) is not None or any(set(axes) <= names for axes in MOLECULE_AXES)
    gene = next((name for name in columns if name.casefold() in MOLECULE_GENES), None)
    if gene is not None and placed and len(columns) <= MOST_COLUMNS:
        raise InputError(
            f"{path}: its rows are molecules, not cells (column {gene!r} names a gene beside coordinates); "
            f"{count_molecules(path, gene, columns)}"
        )
