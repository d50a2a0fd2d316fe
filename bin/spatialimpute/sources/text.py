"""Text tables from strangers: read line by line within bounds, whatever they unpack to."""

import csv
import gzip
import io
import zlib
from pathlib import Path

from spatialimpute.errors import InputError
from spatialimpute.sources.guard import UNQUESTIONED

#: Bytes of the longest line: a million genes with names of 60 letters.
MAX_LINE = 64 << 20
#: Of a table; no genome has so many genes.
MAX_COLUMNS = 1_000_000
#: A table of counts packs at most so well.
MAX_RATIO = 500
#: For `pd.read_csv`: its other parsers of numbers crash on an exponent of ten digits.
SAFE_NUMBERS = {"float_precision": "round_trip"}


def open_text(path: Path) -> io.TextIOWrapper:
    """Open a text table, unpacking .gz; a byte order mark is skipped.

    Reading raises InputError where a line is too long, or where the file unpacks to far more than a table would.
    """
    return io.TextIOWrapper(io.BufferedReader(_Bounded(path), 1 << 18), encoding="utf-8-sig", newline="")


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

    Raises
    ------
    InputError
        Not text, no columns, or another separator than the file's name promises.
    """
    path, separator = Path(path), table_separator(path)
    try:
        with open_text(path) as handle:
            line = handle.readline()
        if line.count(separator) > MAX_COLUMNS:
            raise InputError(
                f"{path}: its first line has more than {MAX_COLUMNS:,} columns; expected cells in rows and genes in "
                "columns: transpose the table or export it again"
            )
        columns = [field.strip() for field in next(csv.reader([line], delimiter=separator), [])]
    except (UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{path}: not a text table in UTF-8 ({error}); export it again as CSV or TSV") from None
    if len(columns) < 2:
        other = {",": "commas", "\t": "tabs", ";": "semicolons"}
        wrong = max((s for s in other if s != separator), key=line.count)
        if line.count(wrong):
            raise InputError(
                f"{path}: columns are separated by {other[wrong]}, expected {other[separator]} "
                f"in a file of this name; save it with {other[separator]} between the columns"
            )
        raise InputError(f"{path}: expected a header line with gene names, found {line[:60].strip()!r}")
    return columns
