"""How a file spells its genes: the index of its features, or one of the columns beside it.

Told by names and texts alone, so that the check of inputs, which sees all files of a sample, and QC, which sees one,
decide by the same rules.
"""

import re
from collections.abc import Iterable, Mapping, Sequence

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


#: `Gad1_ENSMUSG00000070880`, `ENSMUSG00000070880.9|Gad1`: a symbol and an identifier in one name.
_JOINT = re.compile(
    r"^(?:(?P<before>.+?)[_|:;, -]+)?(?P<id>ENS[A-Z]{0,6}G\d{11}(?:\.\d+)?)(?:[_|:;, -]+(?P<behind>.+))?$"
)
#: A genome that is named in front of a gene, as Cell Ranger writes it where a matrix may be of several.
_GENOME = re.compile(r"^(GRC[hmzr]\w*?\d\d|hg\d\d|mm\d\d?|rn\d|mRatBN7[.]2|dm\d|BDGP\d|danRer\d+)(_+|-+)(?=.)")
#: Names that spreadsheets make dates of: March1, Sept2, Dec1.
_DATE = re.compile(
    r"^(\d{1,2}-(mar|sep|dec|oct)|(mar|sep|dec|oct)-\d{1,2}|\d{4}-(03|09|10|12)-\d\d( .*)?)$", re.IGNORECASE
)


def plain_names(names: Sequence[str]) -> list[str]:
    """Names without what is written beside a symbol: its Ensembl id, an id's version, the genome where all that is
    named is one.

    >>> plain_names(["mm10_Gad1", "Sst_ENSMUSG00000004366.3", "ENSMUSG00000070880.9"])
    ['Gad1', 'Sst', 'ENSMUSG00000070880']
    """
    genomes = {match[1] for name in names if (match := _GENOME.match(name))}
    if len(genomes) == 1:
        names = [_GENOME.sub("", name) for name in names]
    return [_without_id(name) for name in names]


def _without_id(name: str) -> str:
    if "ENS" not in name or (match := _JOINT.match(name)) is None:
        return name
    return match["before"] or match["behind"] or match["id"].partition(".")[0]


def ensembl_id(name: str) -> str:
    """The Ensembl id that a name is or holds, without version; "" where there is none."""
    match = _JOINT.match(name) if "ENS" in name else None
    return match["id"].partition(".")[0] if match else ""


def are_dates(names: Iterable[str]) -> list[str]:
    """Those of the names that a spreadsheet has made dates of."""
    return [name for name in names if _DATE.match(name)]


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
