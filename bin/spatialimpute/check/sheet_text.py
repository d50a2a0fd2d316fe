"""The text of a samplesheet: its header and rows, before anything that they name is looked at."""

import csv
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from spatialimpute.errors import InputError
from spatialimpute.nearest import did_you_mean

MAX_BYTES = 4 << 20
_SEPARATORS = {"\t": "tabs", ";": "semicolons", "|": "bars"}


@dataclass
class Row:
    """A row of the sheet: its line in the file, and its cells by column."""

    line: int
    cells: dict[str, str]


def read_rows(
    path: Path, known: Iterable[str], required: Iterable[str]
) -> tuple[list[str], list[Row], list[tuple[int, str]]]:
    """The header, the rows with trimmed cells, and what is wrong with them as (line, text).

    Parameters
    ----------
    known : names that a column may have; required : those that there must be

    Raises
    ------
    InputError
        Missing, not UTF-8 text, another separator, or a column twice, so that the rows cannot be looked at.
    """
    lines = _lines(path)
    if not lines:
        raise InputError(f"samplesheet {path.name}: empty; expected a header with {', '.join(required)}")
    (first_line, header), *body = lines
    problems = _check_header(path, header, list(known), required)
    rows = []
    for line, fields in body:
        if len(fields) != len(header):
            text = f"row {line}: found {len(fields)} fields, expected {len(header)} as in the header"
            problems.append((line, f"{text}; add or remove commas, quote cells that hold one"))
            continue
        rows.append(Row(line, {name: cell for name, cell in zip(header, fields, strict=True) if cell}))
    if not body:
        text = f"row {first_line + 1}: no samples; expected one row per sample below the header"
        problems.append((first_line, text))
    return header, rows, problems


def _lines(path: Path) -> list[tuple[int, list[str]]]:
    """The lines that are not empty: their numbers and trimmed fields."""
    try:
        if path.stat().st_size > MAX_BYTES:
            raise InputError(
                f"samplesheet {path.name}: {path.stat().st_size >> 20} MB, too large for a samplesheet; "
                "give the table that names the files"
            )
        text = path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise InputError(f"samplesheet {path}: cannot be read ({error.strerror}); correct the path") from None
    except UnicodeDecodeError as error:
        raise InputError(
            f"samplesheet {path.name}: not UTF-8 text (byte {error.start}); save it as CSV in UTF-8, "
            "not as a spreadsheet"
        ) from None
    if "\0" in text:
        raise InputError(f"samplesheet {path.name}: not a text file; save it as CSV in UTF-8")
    reader = csv.reader(text.splitlines(keepends=True), strict=True)
    try:
        lines = [(reader.line_num, [cell.strip() for cell in fields]) for fields in reader]
    except csv.Error as error:
        raise InputError(
            f"samplesheet {path.name}: row {reader.line_num} is not CSV ({error}); check its quotes"
        ) from None
    return [(line, fields) for line, fields in lines if any(fields)]


def _check_header(path: Path, header: list[str], known: list[str], required: Iterable[str]) -> list[tuple[int, str]]:
    line = " ".join(header)
    for separator, name in _SEPARATORS.items():
        if len(header) == 1 and separator in line:
            raise InputError(
                f"samplesheet {path.name}: columns are separated by {name}, expected commas; save it as "
                "comma-separated CSV (several references stay separated by ';')"
            )
    missing = [name for name in required if name not in header]
    problems = []
    for name in header:
        if name not in known:
            candidates = missing + [key for key in known if key not in header]
            hint = did_you_mean(name, candidates, cutoff=0.5) or f"; known are {', '.join(known)}"
            problems.append(f"header: found column {name!r}, which is not known{hint}")
    for name in dict.fromkeys(header):
        if header.count(name) > 1:
            problems.append(f"header: column {name!r} appears {header.count(name)} times; keep one of them")
    for name in missing:
        problems.append(f"header: column '{name}' is missing; add it")
    if len(set(header)) < len(header):
        raise InputError(numbered(f"samplesheet {path.name}", problems))
    return [(0, text) for text in problems]


def numbered(title: str, problems: list[str]) -> str:
    """All problems as one message, numbered from 1."""
    count = "1 problem" if len(problems) == 1 else f"{len(problems)} problems"
    return "\n".join([f"{title}: {count}", *(f"  {i}. {text}" for i, text in enumerate(problems, start=1))])
