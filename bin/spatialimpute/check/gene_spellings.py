"""Whatever may name a gene in a file, read without its counts, and which of its columns names them best beside the
other files of a sample: quick enough for the check of inputs.
"""

import csv
from collections.abc import Callable
from itertools import product
from pathlib import Path

from spatialimpute.errors import InputError
from spatialimpute.sources import open_source
from spatialimpute.sources.gene_columns import INDEX, ensembl_id, is_missing, plain_names, usual_column

#: Another column than the usual one has to share so many genes more, as a share of the smaller side's: a few
#: differences are synonyms.
MARGIN = 0.05
#: Columns of a file that are tried, those of most names first.
N_TRIED = 8


def counts_of(sample: dict) -> list[str]:
    """The files of counts of a sample of the sheet, the spatial one, if there is, before its references."""
    return [*sample["spatial"][:1], *(reference["files"][0] for reference in sample["reference"])]


def gene_columns(path: str) -> dict[str, list[str]] | None:
    """Texts of the index and of each column of the genes; None where the file cannot be looked at this way, as one at
    an address cannot."""
    return None if "://" in path else _looked_at(lambda: open_source(path).gene_columns())


class GeneColumns(dict[str, dict[str, list[str]] | None]):
    """Path -> :func:`gene_columns`, each file read once."""

    def __missing__(self, path: str) -> dict[str, list[str]] | None:
        self[path] = gene_columns(path)
        return self[path]


def gene_spellings(path: str | Path) -> dict[str, str] | None:
    """Symbols, Ensembl ids and other texts of the genes, {in lower case: as spelled}.

    A name that is not among them is not in the file. None where the file cannot be looked at this way.
    """
    columns = gene_columns(str(path))
    return None if columns is None else spellings_in(columns)


def spellings_in(columns: dict[str, list[str]]) -> dict[str, str]:
    """The same of texts as :func:`gene_columns` gives them."""
    spellings: dict[str, str] = {}
    for names in columns.values():
        stripped = [name.strip() for name in names]
        for name, plain in zip(stripped, plain_names(stripped), strict=True):
            spellings.setdefault(name.casefold(), name)
            spellings.setdefault(name.casefold().split(".")[0], name)  # ENSG00000000003.15
            for part in filter(None, (plain, ensembl_id(name))):
                spellings.setdefault(part.casefold(), part)
    return spellings


def row_labels(path: str | Path) -> dict[str, list[str]]:
    """Texts of a file's first rows, {column ("": the rows' names): texts in lower case}; none where it cannot be looked
    at this way."""
    labels = _looked_at(lambda: open_source(path).labels()) or {}
    return {column: [value.strip().casefold() for value in values] for column, values in labels.items()}


def _looked_at(look: Callable):
    try:
        return look()
    except (InputError, OSError, ValueError, KeyError, TypeError, RuntimeError, EOFError, MemoryError, csv.Error):
        return None  # QC will say what is wrong with it


def choose_gene_columns(samples: list[dict], aliases: dict[str, str], read: GeneColumns | None = None) -> list[str]:
    """Decide for every file which column names its genes, by what the files of a sample share.

    Sets `spatial_gene_column` of each sample and `gene_column` of each of its references and alternatives: INDEX or a
    column's name, or None where QC is to take the usual one. A reference of several samples has one column, chosen for
    the first of them that the sheet names; for one that is an alternative only where no sample uses it. `read` has what
    was read of the files before.

    Returns
    -------
    A sentence for each file whose genes another column than the index names.
    """
    chosen: dict[str, str] = {}
    read, said = GeneColumns() if read is None else read, []
    for sample in samples:
        sample["spatial_gene_column"] = None
        paths = counts_of(sample)
        columns = [read[path] for path in paths]
        if None not in columns:
            files = [_Names(found, aliases, chosen.get(path)) for path, found in zip(paths, columns, strict=True)]
            picked, n_shared = _best(files)
            said += [
                f"{path}: genes are named by its column {column!r}, so that {n_shared} are shared by all files of "
                f"sample {sample['sample']!r}"
                for path, column in zip(paths, picked, strict=True)
                if column != INDEX and path not in chosen
            ]
            chosen |= dict(zip(paths[1:], picked[1:], strict=True))  # a spatial file is read anew for each sample
            sample["spatial_gene_column"] = None if picked[0] == files[0].usual else picked[0]
    for sample in samples:
        said += _choose_for_alternatives(sample, read, chosen, aliases)
    for sample in samples:
        for reference in [*sample["reference"], *sample.get("alternatives", ())]:
            path = reference["files"][0]
            is_usual = path not in chosen or chosen[path] == usual_column(read[path])
            reference["gene_column"] = None if is_usual else chosen[path]
    return said


def _choose_for_alternatives(
    sample: dict, read: GeneColumns, chosen: dict[str, str], aliases: dict[str, str]
) -> list[str]:
    """The column of each alternative that has none yet: that with which it shares most with the spatial file."""
    said = []
    for path in (reference["files"][0] for reference in sample.get("alternatives", ())):
        spatial = read[sample["spatial"][0]] if sample["spatial"] else None
        if path in chosen or read[path] is None or spatial is None:
            continue
        fixed = sample["spatial_gene_column"] or usual_column(spatial)
        (_, chosen[path]), n = _best([_Names(spatial, aliases, fixed), _Names(read[path], aliases, None)])
        if chosen[path] != INDEX:
            said.append(
                f"{path}: genes are named by its column {chosen[path]!r}, so that {n} are shared with the spatial file "
                f"of sample {sample['sample']!r}"
            )
    return said


class _Names:
    """The names of a file's genes by column, in lower case, aliases replaced.

    Attributes
    ----------
    usual : the column that QC takes by itself; first : the fixed one, else the usual one
    names : of the columns to try, `first` at first
    ids : Ensembl ids in any column
    """

    def __init__(self, columns: dict[str, list[str]], aliases: dict[str, str], fixed: str | None):
        self.usual = usual_column(columns)
        self.first = fixed or self.usual
        plain = {column: plain_names([name.strip() for name in names]) for column, names in columns.items()}
        by_column = {column: {_key(name, aliases) for name in names} - {""} for column, names in plain.items()}
        rest = [column for column in by_column if column != self.first and len(by_column[column]) > 1]
        rest.sort(key=lambda column: -len(by_column[column]))
        tried = [self.first, *([] if fixed else rest[:N_TRIED])]
        self.names = {column: by_column.get(column, set()) for column in tried}
        self.ids = {ensembl_id(name.strip()) for names in columns.values() for name in names} - {""}


def _key(name: str, aliases: dict[str, str]) -> str:
    return "" if is_missing(name) else aliases.get(name, name).casefold()


def _best(files: list[_Names]) -> tuple[list[str], int]:
    """The columns that share most, the first ones where others share hardly more, and how many genes they share."""
    by_id = len(set.intersection(*(file.ids for file in files)))

    def n_shared(columns) -> int:
        names = [file.names[column] for file, column in zip(files, columns, strict=True)]
        return max(by_id, len(set.intersection(*names)))

    def n_changed(columns) -> int:
        return sum(column != file.first for file, column in zip(files, columns, strict=True))

    best = [file.first for file in files]
    most = n_shared(best)
    fewest = most + MARGIN * min(len(file.names[file.first]) for file in files)
    for columns in sorted(product(*(file.names for file in files)), key=n_changed):
        n = n_shared(columns)
        if n > max(most, fewest):
            best, most = list(columns), n
    return best, most
