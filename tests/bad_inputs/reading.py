"""Reads files for the fuzz test, each in a process of its own: a line `reader<TAB>path` in, a line of JSON out.

This process itself reads nothing, since its children are forks: threads that a library starts when it is first used
would be missing in them.
"""

import json
import os
import resource
import signal
import sys
import traceback
from pathlib import Path

from spatialimpute.errors import InputError

ROOT = Path(__file__).resolve().parents[2]
SECONDS, MEMORY = 20, 4 << 30


def counted(path: Path) -> None:
    """Everything that the check of inputs and QC do with a file of counts."""
    from spatialimpute.check.gene_spellings import gene_spellings
    from spatialimpute.qc.clean import clean_counts
    from spatialimpute.sources import open_source
    from spatialimpute.sources.coordinates import find_sidecar

    gene_spellings(path)
    source = open_source(path)
    source.header()
    raw = source.read(["kind"], find_sidecar(path))
    clean_counts(raw, id="x", role="spatial", technology="MERFISH", source=path.name, celltype_key="kind")


def sheet(path: Path) -> None:
    from spatialimpute.check.sheet import Sheet

    Sheet(path, ROOT / "assets/schema_input.json", path.parent)


def gene_lists(path: Path) -> None:
    from spatialimpute.check.gene_aliases import read_aliases
    from spatialimpute.check.gene_lists import parse_gene_list, read_gene_folds

    for read in (parse_gene_list, read_gene_folds, read_aliases):
        try:
            read(str(path))
        except InputError:
            continue


def attempt(read, path: Path) -> str:
    """Read in a child process; what it ended of, "" when it read or said InputError."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reader)
        signal.alarm(SECONDS)
        resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        for stream in (1, 2):
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream)
        try:
            read(path)
        except InputError:
            pass
        except BaseException:
            os.write(writer, traceback.format_exc()[-4000:].encode())
        os._exit(0)
    os.close(writer)
    with os.fdopen(reader, "rb") as pipe:
        said = pipe.read().decode()
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    return said or (f"ended by signal {-status}" if status else "")


READERS = {read.__name__: read for read in (counted, sheet, gene_lists)}

if __name__ == "__main__":
    # Libraries loaded once, not in every child.
    import loompy  # noqa: F401
    import scanpy  # noqa: F401

    for line in sys.stdin:
        name, path = line.rstrip("\n").split("\t")
        print(json.dumps(attempt(READERS[name], Path(path))), flush=True)
