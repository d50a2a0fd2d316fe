"""The table of gene aliases that a user may give."""

from pathlib import Path

from spatialimpute.check.gene_lists import read_text
from spatialimpute.errors import InputError


def read_aliases(path: str | Path) -> dict[str, str]:
    """Read a TSV of alias and symbol, one pair per line; `#` starts a comment line.

    Raises
    ------
    InputError
        A line without two fields, or an alias with two symbols.
    """
    aliases: dict[str, str] = {}
    text = read_text(path, "expected gene aliases: an alias, a tab and a symbol per line")
    for number, line in enumerate(text.splitlines(), start=1):
        if not line.strip() or line.startswith("#"):
            continue
        fields = [field.strip() for field in line.split("\t")]
        if len(fields) != 2 or not all(fields):
            raise InputError(f"{path}: line {number}: found {line[:100]!r}, expected an alias, a tab and a symbol")
        alias, symbol = fields
        if number == 1 and alias.casefold() in ("alias", "from", "old"):
            continue
        if aliases.setdefault(alias, symbol) != symbol:
            raise InputError(
                f"{path}: line {number}: alias {alias!r} stands for {aliases[alias]!r} and {symbol!r}; keep one of them"
            )
    return aliases
