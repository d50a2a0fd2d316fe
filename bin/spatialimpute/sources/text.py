"""Text tables from strangers: read line by line within bounds, whatever they unpack to, every row held against the
header before a value is put under a name."""

import codecs
import csv
import gzip
import io
import re
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from spatialimpute.errors import InputError
from spatialimpute.sources.guard import UNQUESTIONED

#: Bytes of the longest line: a million genes with names of 60 letters.
MAX_LINE = 64 << 20
#: Of a table; no genome has so many genes.
MAX_COLUMNS = 1_000_000
#: A table of counts packs at most so well.
MAX_RATIO = 500
#: Rows that are looked at to tell what the columns are.
N_PEEKED = 10
#: Letters of a table in which texts are looked for without reading it as a whole.
MAX_LABELLED = 32 << 20
#: What a file's name says of what separates its columns.
NAMED = {",": ".csv", "\t": ".tsv"}
MANGLED = re.compile(r"[-+]?\d{1,3}([.,' \u00a0\u202f]\d{3})*([.,]\d*)?")
#: For `pd.read_csv`: its other parsers of numbers crash on an exponent of ten digits.
SAFE_NUMBERS = {"float_precision": "round_trip"}


def open_text(path: Path) -> io.TextIOWrapper:
    """Open a text table, unpacking .gz: UTF-8, or UTF-16 where it begins with that one's byte order mark, as a
    spreadsheet's "Unicode text" does; the mark is skipped.

    Reading raises InputError where a line is too long, or where the file unpacks to far more than a table would.
    """
    file = io.BufferedReader(_Bounded(path), 1 << 18)
    encoding = "utf-16" if file.peek(2)[:2] in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE) else "utf-8-sig"
    return io.TextIOWrapper(file, encoding=encoding, newline="")


class _Bounded(io.RawIOBase):
    """The bytes of a file, unpacked; see :func:`open_text`."""

    def __init__(self, path: Path):
        self._path = path
        self._file = gzip.open(path) if path.name.lower().endswith(".gz") else open(path, "rb")
        self._most = max(UNQUESTIONED, MAX_RATIO * path.stat().st_size)
        self._n_read = self._line = 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer) -> int:
        try:
            n = self._file.readinto(buffer)
        except (OSError, EOFError, zlib.error) as error:
            raise InputError(f"{self._path}: cannot be unpacked or read ({error}); copy it again") from None
        self._n_read += n
        end = bytes(buffer[:n]).rfind(b"\n")
        self._line = self._line + n if end < 0 else n - end - 1
        if self._line > MAX_LINE:
            raise InputError(
                f"{self._path}: a line of more than {MAX_LINE >> 20} MB; expected one line per row: export it again"
            )
        if self._n_read > self._most:
            raise InputError(
                f"{self._path}: unpacks to more than {MAX_RATIO} times its size, as no table of counts does; export it "
                "again"
            )
        return n

    def close(self) -> None:
        self._file.close()
        super().close()


def table_separator(path: str | Path) -> str:
    """Comma for .csv, tab for .tsv and .txt (with or without .gz)."""
    return "," if Path(path).name.lower().removesuffix(".gz").endswith(".csv") else "\t"


def table_header(path: str | Path) -> list[str]:
    """Column names of a CSV/TSV file, trimmed.

    Where the rows have one field more than the header, their first holds row names, as R's write.table writes them; the
    first column is then nameless (""). A separator too many at the end of lines makes no column.

    Raises
    ------
    InputError
        Not text, no columns, another separator than the file's name promises, or one of the first rows has another
        number of fields.
    """
    path, separator = Path(path), table_separator(path)
    try:
        with open_text(path) as handle:
            line = handle.readline()
            if line.count(separator) > MAX_COLUMNS:
                raise InputError(
                    f"{path}: its first line has more than {MAX_COLUMNS:,} columns; expected cells in rows and genes "
                    "in columns: transpose the table or export it again"
                )
            columns = [field.strip() for field in next(csv.reader([line], delimiter=separator), [])]
            rows = _Rows(path, handle, separator, None)
            peeked = [row for row, _ in zip(rows.records(), range(N_PEEKED), strict=False)]
            _refuse_lines_above(path, line, len(columns), peeked)
            _require_columns(path, separator, line, columns)
            columns = _layout(columns, peeked)
            for number, n, is_open_ended in peeked:
                _require_fields(path, number, n - is_open_ended * (n > len(columns)), columns)
    except (UnicodeDecodeError, csv.Error) as error:
        raise InputError(
            f"{path}: not a text table in UTF-8 ({error}); export it again as CSV or TSV in UTF-8 (a spreadsheet's "
            "'CSV UTF-8')"
        ) from None
    return columns


@contextmanager
def open_rows(path: Path, columns: Sequence[str], n_header: int = 1) -> Iterator[io.TextIOBase]:
    """The rows of a table below its header, for `pd.read_csv(header=None)`: each with a field for each column.

    Parameters
    ----------
    columns : as :func:`table_header` gives them; n_header : lines above the first row

    Raises
    ------
    InputError
        When read: a row has another number of fields.
    """
    with open_text(path) as handle:
        for _ in range(n_header):
            handle.readline()
        yield _Rows(path, handle, table_separator(path), columns, 1 + n_header)


def text_columns(path: Path) -> dict[str, list[str]]:
    """Texts of the first rows by column, of those whose first values are no numbers; of a nameless first column all.

    Raises
    ------
    InputError
        As of :func:`table_header` and :func:`open_rows`.
    """
    columns, separator = table_header(path), table_separator(path)
    rows, length = [], 0
    with open_text(path) as handle:
        handle.readline()
        for fields in csv.reader(handle, delimiter=separator):
            texts = {i: field for i, field in enumerate(fields[: len(columns)]) if not rows or i in rows[0]}
            rows.append(
                {i: text for i, text in texts.items() if rows or i == 0 and not columns[0] or not is_number(text)}
            )
            length += sum(map(len, fields))
            if length > MAX_LABELLED:
                break
    return {columns[i]: [row[i] for row in rows if i in row] for i in (rows[0] if rows else ())}


def is_number(text: str) -> bool:
    """Whether a field of a table holds a number."""
    try:
        float(text)
    except ValueError:
        return False
    return True


def is_mangled(text: str) -> bool:
    """Whether a field holds a number as spreadsheets of some languages write it: 0,5 or 1.234,5 or 1 234."""
    return not is_number(text) and MANGLED.fullmatch(text.strip()) is not None


def number_advice(text: str) -> str:
    """What to do with a text that is to be a number."""
    if is_mangled(text):
        return "write numbers with a point for decimals and nothing between thousands"
    return "correct the value or export the file again"


def _refuse_lines_above(path: Path, line: str, n: int, peeked: list[tuple[int, int, bool]]) -> None:
    if line.lower().startswith(("#", "sep=")) and any(fields > n + 1 or n == 1 for _, fields, _ in peeked[-1:]):
        raise InputError(
            f"{path}: its first line is {line.strip()[:60]!r}, no header; remove all lines above the one that "
            "names the columns"
        )


def _require_columns(path: Path, separator: str, line: str, columns: list[str]) -> None:
    if len(columns) >= 2:
        return
    other = {",": "commas", "\t": "tabs", ";": "semicolons", " ": "spaces"}
    wrong = max((s for s in other if s != separator), key=line.count)
    if line.count(wrong):
        way_out = f"save it with {other[separator]} between the columns"
        if wrong == ";":
            way_out += " and points, no commas, in numbers"
        elif wrong in NAMED:
            way_out += f", or give it a name that ends in {NAMED[wrong]}"
        raise InputError(
            f"{path}: columns are separated by {other[wrong]}, expected {other[separator]} "
            f"in a file of this name; {way_out}"
        )
    raise InputError(f"{path}: expected a header line with gene names, found {line[:60].strip()!r}")


def _layout(columns: list[str], peeked: list[tuple[int, int, bool]]) -> list[str]:
    """The columns that the rows have, by the first of them: (line, number of fields, whether the last is empty)."""
    if not peeked:
        return columns
    if not columns[-1] and all(n < len(columns) or n == len(columns) and empty for _, n, empty in peeked):
        columns = columns[:-1]  # a separator too many, in the header at least
    longer = sum(n == len(columns) + 1 for _, n, _ in peeked) > len(peeked) / 2
    return ["", *columns] if longer and not all(empty for *_, empty in peeked) else columns


def _require_fields(path: Path, row: int, n: int, columns: Sequence[str]) -> None:
    if n == len(columns):
        return
    names = " (the first of which holds row names)" if not columns[0] else ""
    raise InputError(
        f"{path}: row {row} has {n:,} fields, another number of columns than the header's {len(columns):,}{names}; "
        "mend that row (a value missing or too many, a separator in a text without quotes) or export the table again"
    )


class _Rows(io.TextIOBase):
    """Lines of a table as a file to read from; each is one row, with as many fields as there are columns."""

    def __init__(self, path: Path, handle, separator: str, columns: Sequence[str] | None, first_row: int = 2):
        super().__init__()
        self._path, self._handle, self._separator, self._columns = path, handle, separator, columns
        self._ends = (separator, f'{separator}""')
        self._row = first_row

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1) -> str:
        if size is None or size < 0:
            raise io.UnsupportedOperation("a table is read in parts")
        parts, length = [], 0
        while length < size and (line := self._next()):
            number, text = line
            n, is_open_ended = self._fields(text)
            if n == len(self._columns) + 1 and is_open_ended:
                text, n = text[: text.rindex(self._separator)], n - 1
            if n != len(self._columns):
                _require_fields(self._path, number, n, self._columns)
            parts.append(text)
            length += len(text) + 1
        return "\n".join([*parts, ""])

    def records(self) -> Iterator[tuple[int, int, bool]]:
        """Line, number of fields and whether the last field is empty, of each row."""
        while line := self._next():
            yield line[0], *self._fields(line[1])

    def _next(self) -> tuple[int, str] | None:
        """The next row that is not blank: its line in the file and its text, which may span lines within quotes."""
        while line := self._handle.readline():
            number, text = self._row, line
            self._row += 1
            while '"' in text and self._is_unfinished(text):
                line = self._handle.readline()
                if not line or len(text) > MAX_LINE:
                    raise InputError(
                        f"{self._path}: row {number}: a text in quotes does not end; close the quotes or export the "
                        "table again"
                    )
                text += line
                self._row += 1
            text = text.rstrip("\r\n")
            if text.strip(" "):
                return number, text
        return None

    def _is_unfinished(self, text: str) -> bool:
        try:
            for _ in csv.reader([text], delimiter=self._separator, strict=True):
                pass
        except csv.Error as error:
            return "unexpected end of data" in str(error)
        return False

    def _fields(self, text: str) -> tuple[int, bool]:
        n = text.count(self._separator)
        if '"' in text and n <= MAX_COLUMNS:
            n = len(next(csv.reader([text], delimiter=self._separator))) - 1
        return n + 1, text.endswith(self._ends)
