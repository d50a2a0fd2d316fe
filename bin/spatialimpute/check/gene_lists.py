"""Lists of genes that a user writes: genes to impute, folds to hold out. Quick to import."""

import json
import re
from collections import Counter
from pathlib import Path

from spatialimpute.errors import InputError

#: Bytes of the longest list; whatever is longer is another kind of file.
MAX_BYTES = 64 << 20
FOLDS = "expected {sample: [[gene, ...], ...]}"


def is_file(path: str | Path) -> bool:
    """Whether there is such a file; also for a text that is too long or odd to be a path."""
    try:
        return Path(path).is_file()
    except (OSError, ValueError):
        return False


def read_text(path: str | Path, expected: str) -> str:
    """The text of a small UTF-8 file.

    Raises
    ------
    InputError
        Missing, too large, or no text; the message starts with the path and ends with `expected`.
    """
    path = Path(path)
    if not is_file(path):
        raise InputError(f"{path}: no such file; correct the path")
    try:
        if path.stat().st_size > MAX_BYTES:
            raise InputError(f"{path}: {path.stat().st_size >> 20} MB, too large; {expected}")
        return path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}); change its permissions") from None
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: not UTF-8 text (byte {error.start}); {expected}") from None


def parse_gene_list(value: str, folder: Path = Path()) -> list[str]:
    """Genes of a file or of a list; one per line, or separated by commas, semicolons or tabs.

    Parameters
    ----------
    value : names, or a file's path; folder : where a relative path starts

    Raises
    ------
    InputError
        The value looks like a file's path and there is no such file, or it names no gene.
    """
    path, expected = folder / value, "expected a text file with one gene per line"
    if is_file(path):
        text = read_text(path, expected).replace("\n", ",")
        if "\0" in text:
            raise InputError(f"{path}: not a text file; {expected}")
    elif "/" in value or Path(value).suffix in (".txt", ".tsv", ".csv", ".json"):
        raise InputError(f"{path}: no such file; correct the path, or name genes separated by commas")
    else:
        text = value
    names = (name.strip().strip('"') for name in re.split(r"[,;\t]", text))
    genes = list(dict.fromkeys(name for name in names if name and not name.startswith("#")))
    if not genes:
        raise InputError(f"{value[:100]!r} names no gene; write one gene per line, or separate them by commas")
    return genes


def read_gene_folds(path: str | Path) -> dict[str, list[list[str]]]:
    """Sample -> its folds of genes.

    Raises
    ------
    InputError
        Not JSON of that shape, or a gene in two folds of a sample.
    """
    text = read_text(path, FOLDS)
    try:
        folds = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path}: not valid JSON ({error}); {FOLDS}") from None
    if not isinstance(folds, dict):
        raise InputError(f"{path}: found a {type(folds).__name__}, {FOLDS}")
    for sample, lists in folds.items():
        if not _are_folds(lists):
            raise InputError(f"{path}: found {json.dumps(lists)[:60]} for sample {sample[:100]!r}, {FOLDS}")
        counts = Counter(gene for fold in lists for gene in fold)
        gene, n = counts.most_common(1)[0]
        if n > 1:
            raise InputError(f"{path}: sample {sample[:100]!r}: gene {gene!r} is in {n} places; hold each out once")
    return folds


def _are_folds(lists) -> bool:
    return (
        isinstance(lists, list)
        and bool(lists)
        and all(isinstance(fold, list) and fold and all(isinstance(gene, str) for gene in fold) for fold in lists)
    )
