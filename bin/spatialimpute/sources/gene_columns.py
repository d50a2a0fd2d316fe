"""How a file spells its genes: the index of its features, or one of the columns beside it.

Told by names and texts alone, so that the check of inputs, which sees all files of a sample, and QC, which sees one,
decide by the same rules.
"""

import re
from collections.abc import Iterable, Mapping

from spatialimpute.sources.vocabulary import MISSING_NAMES, SYMBOL_COLUMNS, find_name

#: Stands for the index among the names of columns.
INDEX = "index"
ENSEMBL = re.compile(r"^ENS[A-Z]{0,6}G\d{11}(\.\d+)?$")
#: Identifiers that nobody reads as a gene's symbol: Ensembl, RefSeq, FlyBase, WormBase, ZFIN, TAIR, those of the
#: nomenclature committees, and numbers (NCBI's, or none at all).
IDENTIFIER = re.compile(
    r"^(ENS[A-Z]{0,6}[GT]\d{11}(\.\d+)?|[NX][MRC]_\d+(\.\d+)?|FBgn\d{7}|WBGene\d{8}|ZDB-GENE-.+|AT[1-5MC]G\d{5}|"
    r"(MGI|HGNC|RGD|GeneID|ENTREZID?):\s?\d+|\d+(\.0)?)$",
    re.IGNORECASE,
)


def is_missing(name: str) -> bool:
    """Whether a text stands for no name."""
    return name.strip().casefold() in MISSING_NAMES


def are_identifiers(names: Iterable[str]) -> bool:
    """Whether most of the names are identifiers rather than symbols."""
    names = [name for name in names if not is_missing(name)]
    return sum(IDENTIFIER.match(name.strip()) is not None for name in names) > 0.5 * len(names)


def usual_column(columns: Mapping[str, Iterable[str]]) -> str:
    """Where symbols are most likely, for lack of a file to compare with.

    Parameters
    ----------
    columns : texts of the index (under :data:`INDEX`) and of each column beside it

    Returns
    -------
    INDEX, or the first column of a usual name where the index holds identifiers and the column does not.
    """
    if not are_identifiers(columns[INDEX]):
        return INDEX
    left = [name for name in columns if name != INDEX]
    while (found := find_name(left, SYMBOL_COLUMNS)) is not None:
        if any(not is_missing(name) for name in columns[found]) and not are_identifiers(columns[found]):
            return found
        left.remove(found)
    return INDEX
