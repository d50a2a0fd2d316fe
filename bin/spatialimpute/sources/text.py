"""Text tables from strangers: read line by line within bounds, whatever they unpack to."""

import gzip
import io
import zlib
from pathlib import Path

from spatialimpute.errors import InputError

#: Bytes of the longest line: a million genes with names of 60 letters.
MAX_LINE = 64 << 20
#: A table of counts packs at most so well; unpacked bytes that are read whatever the ratio.
MAX_RATIO, UNQUESTIONED = 500, 1 << 30
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
