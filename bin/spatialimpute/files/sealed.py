"""Files that are written whole, and whose digest tells the step that reads them of any damage.

HDF5 files carry the digest of all their bytes behind their end, where HDF5 does not look; zarr folders carry that of
all their files in one more file; JSON files carry that of their contents as `sha256`. Other files' digests stand in a
JSON or HDF5 file beside them.
"""

import hashlib
import json
import secrets
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from spatialimpute.errors import DamagedError

MARK = b"\nsha256:"
SEAL_LENGTH = len(MARK) + 64
#: The file of a sealed folder that holds its digest.
FOLDER_SEAL = "sha256.txt"
BLOCK = 1 << 20


@contextmanager
def whole(path: str | Path) -> Iterator[Path]:
    """A path to write a file or folder to, which takes the place of `path` once all is written.

    After an error nothing is left.
    """
    path = Path(path)
    partial = path.with_name(f"{path.name}.{secrets.token_hex(4)}.partial")
    try:
        yield partial
        if path.is_dir():
            shutil.rmtree(path)
        partial.replace(path)
    finally:
        if partial.is_dir():
            shutil.rmtree(partial)
        partial.unlink(missing_ok=True)


def digest(path: str | Path, pattern: str = "*") -> str:
    """`sha256:` and the hex digest of a file's bytes; a folder's files (of a pattern) are taken in sorted order."""
    path = Path(path)
    return digest_all(sorted(p for p in path.rglob(pattern) if p.is_file()) if path.is_dir() else [path])


def digest_all(files: Iterable[Path]) -> str:
    """The digest of several files' bytes, in the order given."""
    sha = hashlib.sha256()
    for file in files:
        _update(sha, file, file.stat().st_size)
    return f"sha256:{sha.hexdigest()}"


def _update(sha, path: Path, n_bytes: int) -> None:
    with open(path, "rb") as file:
        while n_bytes and (block := file.read(min(BLOCK, n_bytes))):
            sha.update(block)
            n_bytes -= len(block)


def seal(path: str | Path) -> None:
    """Append the digest of a complete file to it; into a folder, write it."""
    found = digest(path)
    if Path(path).is_dir():
        (Path(path) / FOLDER_SEAL).write_text(found)
        return
    with open(path, "ab") as file:
        file.write(b"\n" + found.encode())


@contextmanager
def sealed(path: str | Path) -> Iterator[Path]:
    """As :func:`whole`, of a file or folder that carries its digest."""
    with whole(path) as partial:
        yield partial
        seal(partial)


def check_seal(path: str | Path) -> None:
    """Raise DamagedError unless the file or folder is as :func:`seal` left it; reads all of it."""
    path, sha = Path(path), hashlib.sha256()
    if path.is_dir():
        _check_folder_seal(path)
        return
    n_bytes = max(path.stat().st_size - SEAL_LENGTH, 0)
    with open(path, "rb") as file:
        file.seek(n_bytes)
        end = file.read()
    if not end.startswith(MARK):
        raise damaged(path, "it does not end with its digest, as what this pipeline wrote and nobody cut does")
    _update(sha, path, n_bytes)
    if end[len(MARK) :] != sha.hexdigest().encode():
        raise damaged(path, "its bytes are not those of its digest")


def _check_folder_seal(path: Path) -> None:
    files = sorted(file for file in path.rglob("*") if file.is_file() and file != path / FOLDER_SEAL)
    if not (path / FOLDER_SEAL).exists():
        raise damaged(path, f"it lacks the file {FOLDER_SEAL} that this pipeline writes last")
    if (path / FOLDER_SEAL).read_text() != digest_all(files):
        raise damaged(path, "its bytes are not those of its digest")


def sealed_digest(path: str | Path) -> str:
    """The digest that a sealed file carries, without reading the file; :func:`check_seal` says whether it is true."""
    with open(path, "rb") as file:
        file.seek(-SEAL_LENGTH, 2)
        return file.read().decode().strip()


def check_digest(path: str | Path, expected: str) -> None:
    """Raise DamagedError unless :func:`digest` of the file is the expected one."""
    if not Path(path).exists():
        raise damaged(path, "it is missing")
    if digest(path) != expected:
        raise damaged(path, "its bytes are not those of its digest")


def write_json(path: str | Path, content: dict) -> None:
    """Write JSON-ready content, with the digest of it as `sha256`."""
    content = json.loads(json.dumps(content))  # as it will be read: keys as text, tuples as lists
    with whole(path) as partial:
        partial.write_text(json.dumps({**content, "sha256": _content_digest(content)}, indent=1) + "\n")


def read_json(path: str | Path) -> dict:
    """Contents that :func:`write_json` wrote; raises DamagedError where they are not those of their digest."""
    try:
        content = json.loads(Path(path).read_text())
        intact = content.pop("sha256", None) == _content_digest(content)
    except FileNotFoundError:
        raise damaged(path, "it is missing") from None
    except (ValueError, AttributeError):
        intact = False
    if not intact:
        raise damaged(path, "its contents are not those of its digest")
    return content


def _content_digest(content: dict) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def damaged(path: str | Path, what: str) -> DamagedError:
    """The error that names a damaged file where it really lies, and says how to go on."""
    path = Path(path).resolve()
    # Nextflow repeats a task only if what it declares as output is gone, which may be the whole folder of the file.
    task = next((folder for folder in path.parents if (folder / ".command.sh").exists()), path)
    return DamagedError(
        f"{path}: damaged: {what}. Remove {task} and run again with -resume: the step that wrote it is repeated."
    )
