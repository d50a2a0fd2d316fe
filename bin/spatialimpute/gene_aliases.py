"""The table of gene aliases that a user may give."""

from pathlib import Path

from spatialimpute.errors import InputError


def read_aliases(path: str | Path) -> dict[str, str]:
    """Read a TSV of alias and symbol, one pair per line; `#` starts a comment line.

    Raises
    ------
    InputError
        A line without two fields, or an alias with two symbols.
    """
    aliases: dict[str, str] = {}
    try:
        lines = Path(path).read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: gene aliases cannot be read as UTF-8 text ({error})") from None
    for number, line in enumerate(lines, start=1):
        if not line.strip() or line.startswith("#"):
            continue
        fields = [field.strip() for field in line.split("\t")]
        if len(fields) != 2 or not all(fields):
            raise InputError(
                f"{path}: line {number}: found {line!r}, expected an alias, a tab and a symbol; write one pair per line"
            )
        alias, symbol = fields
        if number == 1 and alias.casefold() in ("alias", "from", "old"):
            continue
        if aliases.setdefault(alias, symbol) != symbol:
            raise InputError(
                f"{path}: line {number}: alias {alias!r} stands for {aliases[alias]!r} and {symbol!r}; keep one of them"
            )
    return aliases
