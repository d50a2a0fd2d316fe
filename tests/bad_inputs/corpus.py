"""Bad inputs, each with the command that meets it and what that has to say.

A case spoils a folder that holds what :func:`good_files.write_good` writes, and returns the command's arguments.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

HEADER = "sample,spatial,reference,technology"
ROW = "s1,spatial.h5ad,reference.h5ad,MERFISH"
GOOD_SHEET = f"{HEADER}\n{ROW}\n"


@dataclass(frozen=True)
class Case:
    """A bad input.

    Attributes
    ----------
    name : what is wrong
    spoil : writes it into a folder; returns the arguments that are not usual
    says : parts of the message, in lower case or as they are
    command : `check_inputs`, `qc` or `select_genes`
    """

    name: str
    spoil: Callable[[Path], list]
    says: tuple[str, ...]
    command: str = "check_inputs"


CASES: list[Case] = []


def case(name: str, *says: str, command: str = "check_inputs"):
    """Register the decorated function as a case."""

    def register(spoil):
        CASES.append(Case(name, spoil, says, command))
        return spoil

    return register


def sheet(name: str, content: str | bytes, *says: str) -> None:
    """A case of a samplesheet's text."""

    def spoil(folder: Path) -> list:
        (folder / "sheet.csv").write_bytes(content if isinstance(content, bytes) else content.encode())
        return []

    CASES.append(Case(f"sheet: {name}", spoil, says))


def cell(name: str, column: str, value: str, *says: str) -> None:
    """A case of one cell of the sheet."""
    row = dict(zip(HEADER.split(","), ROW.split(","), strict=True)) | {column: value}
    sheet(name, f"{','.join(row)}\n{','.join(row.values())}\n", f"column '{column}'", *says)


def param(name: str, params: dict, *says: str) -> None:
    """A case of parameters."""

    def spoil(_folder: Path) -> list:
        return [params]

    CASES.append(Case(f"parameters: {name}", spoil, says))


def spatial(name: str, *says: str, command: str = "qc"):
    """Register a function that writes a spatial file into the folder and returns its name."""

    def register(write):
        def spoil(folder: Path) -> list:
            path = write(folder)
            if command == "qc":
                return ["--input", path]
            (folder / "sheet.csv").write_text(f"{HEADER}\ns1,{path},reference.h5ad,MERFISH\n")
            return []

        CASES.append(Case(name, spoil, says, command))
        return write

    return register
