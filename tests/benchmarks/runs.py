"""What the benchmarks run on the real pairs: our chain of commands up to the scores, every method through PREDICT.

Everything is kept under `.cache/benchmarks/<pair>/`: what our code makes per digest of `bin/`, predictions of methods
of other environments, which take long, per digest of their own scripts.
"""

import hashlib
import json
import os
import shutil
import subprocess
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO

import pandas as pd

ROOT = Path(__file__).resolve().parents[2]
DATA = ROOT.parent / "shared" / "data"
CACHE = ROOT / ".cache" / "benchmarks"
PYTHON = ROOT / ".venv" / "bin" / "python"
PEERS_PYTHON = ROOT / ".venv" / "bin" / "peers-python"
#: Where a method's interpreter is looked for: the commands of assets/methods.json name it, not its path.
PATH = f"{ROOT / '.venv' / 'bin'}:{os.environ['PATH']}"
METHODS = json.loads((ROOT / "assets" / "methods.json").read_text())
TECHNOLOGY = {
    "osmfish": "osmFISH",
    "merfish_mop": "MERFISH",
    "starmap_mpfc": "STARmap",
    "hypothalamus": "MERFISH",
    "xenium_breast": "Xenium",
    "xenium_idc": "Xenium",
}
#: Methods that may take a share in our result.
SHARING = ["knn", "linear", "celltype"]
#: What predict.py is given. The default is the grid of `kappa: auto`; the paper preset takes kappa and likelihood of
#: scvi-tools: like is compared with like.
PRESETS = {
    "default": ("--kappa", "0,5"),
    "paper": ("--preset", "paper", "--kappa", "5", "--spatial-likelihood", "nb"),
}


@dataclass(frozen=True)
class Pair:
    """A spatial file, its reference and the folds of their shared genes."""

    name: str
    spatial: Path
    reference: Path
    folds: list[list[str]]

    @property
    def cache(self) -> Path:
        return CACHE / self.name


def pairs(names: list[str] | None = None) -> list[Pair]:
    """The pairs of `gene_folds.json`, or those named."""
    table = json.loads((DATA / "gene_folds.json").read_text())
    return [
        Pair(name, DATA / f"{table[name]['spatial']}.h5ad", DATA / f"{table[name]['reference']}.h5ad",
             table[name]["folds"])
        for name in names or table
    ]  # fmt: skip


@dataclass
class Cost:
    """What a command took: wall and processor seconds, peak resident memory."""

    seconds: float
    cpu_seconds: float
    peak_mb: float


def call(command: list, threads: int, cwd: Path | None = None) -> tuple[Cost, str]:
    """Run a command with so many threads; its cost and standard output. Ends the benchmark if it fails."""
    names = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS")
    environment = dict.fromkeys(names, str(threads)) | {"PATH": PATH}
    with tempfile.TemporaryFile("w+") as out, tempfile.TemporaryFile("w+") as errors:
        cost, code = timed(command, cwd, environment, out, errors)
        out.seek(0)
        errors.seek(0)
        if code:
            raise SystemExit(f"{' '.join(map(str, command))}\nfailed:\n{out.read()}\n{errors.read()}")
        return cost, out.read()


def timed(
    command: list, cwd: Path | None, environment: dict[str, str], out: IO, errors: IO | int = subprocess.STDOUT
) -> tuple[Cost, int]:
    """Run a command with more environment variables; its cost, that of its children among it, and its exit code."""
    started = time.perf_counter()
    process = subprocess.Popen(
        [str(word) for word in command], cwd=cwd, env=os.environ | environment, stdout=out, stderr=errors
    )
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    cpu_seconds = usage.ru_utime + usage.ru_stime
    return Cost(time.perf_counter() - started, cpu_seconds, usage.ru_maxrss / 1024), process.returncode


def digest_of(*parts: bytes) -> str:
    """Twelve characters that name these bytes."""
    return hashlib.sha256(b"\0".join(parts)).hexdigest()[:12]


def code_digest() -> str:
    """Digest of the package and of the scripts of our steps."""
    files = sorted(
        path for path in (ROOT / "bin").rglob("*.py") if path.parent.name != "methods" or "spatialimpute" in path.parts
    )
    return digest_of(*(part for path in files for part in (str(path.relative_to(ROOT)).encode(), path.read_bytes())))


@dataclass(frozen=True)
class Variant:
    """Our estimator with options beyond the defaults: of SELECT_GENES, of PREDICT for gimVI, of EVALUATE."""

    name: str
    select: tuple = ()
    predict: tuple = PRESETS["default"]
    evaluate: tuple = ()


def named(step: str, options: tuple) -> str:
    """A folder's name for a step with options."""
    return f"{step}-{digest_of(*(str(word).encode() for word in options))}" if options else step


class Chain:
    """Our steps on one pair, each run unless its result is there.

    Attributes
    ----------
    folder : a folder per step and its options, and `costs.json` {step: cost}
    """

    def __init__(self, pair: Pair, threads: int = 1):
        self.pair, self.threads = pair, threads
        self.folder = pair.cache / "own" / code_digest()
        self.folder.mkdir(parents=True, exist_ok=True)

    @property
    def costs(self) -> dict[str, dict]:
        """Cost of every step that has run."""
        file = self.folder / "costs.json"
        return json.loads(file.read_text()) if file.exists() else {}

    def step(self, name: str, cwd: Path, script: str, *words) -> bool:
        """Run a script of `bin/` in a folder unless it has been; whether it ran."""
        if name in self.costs:
            return False
        cwd.mkdir(parents=True, exist_ok=True)
        cost, _ = call([PYTHON, ROOT / "bin" / script, *words], self.threads, cwd)
        (self.folder / "costs.json").write_text(json.dumps(self.costs | {name: asdict(cost)}, indent=1))
        return True

    @property
    def inputs(self) -> Path:
        """The sample's inputs, with the given folds and every cell scored."""
        return self.inputs_of(Variant("default"))

    def inputs_of(self, variant: "Variant") -> Path:
        """The same with options of SELECT_GENES."""
        pair, folds = self.pair, self.folder / "gene_folds.json"
        folds.write_text(json.dumps({pair.name: pair.folds}))
        sides = {"spatial": (pair.spatial, TECHNOLOGY[pair.name]), "reference": (pair.reference, "scRNA-seq")}
        counts = []
        for role, (file, technology) in sides.items():
            about = ["--id", file.stem, "--role", role, "--technology", technology, "--input", file]
            self.step(f"qc.{role}", self.folder / role, "qc.py", *about)
            counts += [f"--{role}", self.folder / role / "counts.h5ad"]
        name = named("select_genes", variant.select)
        about = ["--sample", pair.name, "--gene-folds", folds, "--score-cells", 0]
        self.step(name, self.folder / name, "select_genes.py", *about, *variant.select, *counts)
        return self.folder / name / "inputs"

    def scores(self, preset: str, methods: list[str]) -> Path:
        """`scores.tsv` of gimVI with a preset and of these other methods."""
        return self.scores_of(Variant(preset, predict=PRESETS[preset], evaluate=("--preset", preset)), methods)

    def scores_of(self, variant: "Variant", methods: list[str]) -> Path:
        """`scores.tsv` of a variant of ours and of these other methods.

        Those that may take a share in our result are always among them, but with the paper preset, which has none.
        """
        inputs = self.inputs_of(variant)
        predicted = named("predict", (*variant.select, *variant.predict))
        heldout, about = self.folder / predicted / "heldout", ["--sample", self.pair.name, "--inputs", inputs]
        predict = ["predict.py", *about, "--threads", self.threads]
        new = [self.step(f"{predicted}.gimvi", heldout, *predict, "--method", "gimvi", *variant.predict)]
        for method in dict.fromkeys([*([] if "paper" in variant.predict else SHARING), *methods]):
            if METHODS[method]["command"]:
                new.append(self._external(method, predict, heldout / "predictions"))
            else:
                new.append(self.step(f"{predicted}.{method}", heldout, *predict, "--method", method))
        folder = self.folder / predicted / named("evaluate", variant.evaluate)
        scores = folder / "scores.tsv"
        if any(new) or not scores.exists():
            folder.mkdir(parents=True, exist_ok=True)
            words = [*about, "--predictions", heldout / "predictions", *variant.evaluate]
            cost, _ = call([PYTHON, ROOT / "bin" / "evaluate.py", *words], self.threads, folder)
            (folder / "cost.json").write_text(json.dumps(asdict(cost)))
        return scores

    def imputed(self, variant: Variant) -> Path:
        """`imputed.h5ad` of a variant, its posterior means alone."""
        evaluated = self.scores_of(variant, []).parent
        folder, about = evaluated / "final", ["--sample", self.pair.name, "--inputs", self.inputs_of(variant)]
        about += ["--evaluation", evaluated / "evaluation.json", "--threads", self.threads]
        name = str(folder.relative_to(self.folder))
        self.step(f"{name}.train", folder, "train.py", *about)
        words = ["--models", "models", "--genes", evaluated / "genes.tsv", "--layers", "none"]
        self.step(f"{name}.impute", folder, "impute.py", *about, *words, "--imputed-format", "h5ad")
        return folder / "imputed.h5ad"

    def _external(self, method: str, predict: list, predictions: Path) -> bool:
        """Have the predictions of a method of another environment among the others; whether they are new there."""
        here = predictions / f"{method}.h5ad"
        if here.exists():
            return False
        kept = external_file(self.pair, method)
        if not kept.exists():
            with tempfile.TemporaryDirectory() as name:
                command = METHODS[method]["command"]
                words = [*predict[1:], "--method", method, "--command", command]
                cost, _ = call([PYTHON, ROOT / "bin" / predict[0], *words], self.threads, Path(name))
                kept.parent.mkdir(parents=True, exist_ok=True)
                kept.with_suffix(".cost.json").write_text(json.dumps(asdict(cost)))
                shutil.move(Path(name) / "predictions" / f"{method}.h5ad", kept)
        shutil.copy2(kept, here)
        return True


def external_file(pair: Pair, method: str) -> Path:
    """Where a method's predictions are kept: under a digest of its scripts and of the folds."""
    scripts = ROOT / "bin" / "methods"
    script = METHODS[method]["command"].split()[-1]
    parts = [path.read_bytes() for path in sorted({scripts / script, scripts / "fold_folder.py"})]
    return pair.cache / "external" / f"{method}-{digest_of(*parts, json.dumps(pair.folds).encode())}.h5ad"


def can_run(method: str, pair: Pair) -> bool:
    """Whether a method's interpreter is here, or its predictions are."""
    command = METHODS[method]["command"]
    return not command or bool(shutil.which(command.split()[0], path=PATH)) or external_file(pair, method).exists()


def read_scores(scores: Path, names: dict[str, str]) -> pd.DataFrame:
    """Rows of some methods of `scores.tsv`, renamed and in this order: `names` {method there: name}."""
    table = pd.read_csv(scores, sep="\t", dtype={"fold": str})
    parts = [table[table["method"] == there].assign(method=name) for there, name in names.items()]
    return pd.concat(parts, ignore_index=True).rename(columns={"sample": "pair"})
