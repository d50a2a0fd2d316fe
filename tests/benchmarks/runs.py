"""What the benchmarks run: the pairs, the peers (each in its own environment) and our own command chain.

Everything is kept under `.cache/benchmarks/<pair>/`: a peer's predictions of a fold never run twice, our own run is
kept per digest of the code in `bin/`.
"""

import hashlib
import json
import os
import subprocess
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import anndata as ad
import numpy as np

ROOT = Path(__file__).resolve().parents[2]
DATA = ROOT.parent / "shared" / "data"
CACHE = ROOT / ".cache" / "benchmarks"
PYTHON = ROOT / ".venv" / "bin" / "python"
PEERS_PYTHON = ROOT / ".venv-peers" / "bin" / "python"
PEERS_FOLDER = Path(__file__).resolve().parent / "peers"
PEERS = ("gimvi_scvi", "tangram_sc", "spage")
BASELINES = ("knn", "celltype", "total")
#: The grid of `kappa: auto`; the paper preset takes kappa and likelihood of scvi-tools: like is compared with like.
KAPPA_GRID = {"default": "0,5", "paper": "5"}
LIKELIHOOD = {"default": "auto", "paper": "nb"}
TECHNOLOGY = {
    "osmfish": "osmFISH",
    "merfish_mop": "MERFISH",
    "starmap_mpfc": "STARmap",
    "hypothalamus": "MERFISH",
}


@dataclass
class Pair:
    """A spatial file, its reference and the folds of their shared genes."""

    name: str
    spatial: Path
    reference: Path
    folds: list[list[str]]

    @property
    def cache(self) -> Path:
        return CACHE / self.name

    def counts(self) -> ad.AnnData:
        """Raw spatial counts of the shared genes, without the cells flagged as duplicates."""
        data = ad.read_h5ad(self.spatial)
        if "is_duplicate" in data.obs:
            data = data[~data.obs["is_duplicate"].to_numpy(bool)]
        return data[:, [gene for fold in self.folds for gene in fold]].copy()


def pairs(names: list[str] | None = None, data: Path = DATA) -> list[Pair]:
    """The pairs of `gene_folds.json`, or those named."""
    table = json.loads((data / "gene_folds.json").read_text())
    return [
        Pair(name, data / f"{table[name]['spatial']}.h5ad", data / f"{table[name]['reference']}.h5ad",
             table[name]["folds"])
        for name in names or table
    ]  # fmt: skip


def peer_file(pair: Pair, method: str, fold: int, seed: int = 0) -> Path:
    return pair.cache / f"{method}.seed{seed}.fold{fold}.npz"


def run_peer(pair: Pair, method: str, fold: int, seed: int = 0, threads: int = 1) -> Path:
    """A peer's predictions of one fold; runs it unless they are there."""
    out = peer_file(pair, method, fold, seed)
    if out.exists():
        return out
    if not PEERS_PYTHON.exists():
        raise SystemExit("no environment for the peers: run tests/benchmarks/peers/setup.sh")
    command = [PEERS_PYTHON, PEERS_FOLDER / f"{method}.py", "--spatial", pair.spatial]
    command += ["--reference", pair.reference, "--folds", pair.spatial.parent / "gene_folds.json"]
    command += ["--pair", pair.name, "--fold", str(fold), "--seed", str(seed)]
    command += ["--threads", str(threads), "--out", out]
    command += ["--trace"] if method == "gimvi_scvi" else []
    call(command, threads)
    return out


@dataclass
class Cost:
    """What a command took: wall and processor seconds, peak resident memory."""

    seconds: float
    cpu_seconds: float
    peak_mb: float


def call(command: list, threads: int, cwd: Path | None = None) -> tuple[Cost, str]:
    """Run a command with so many threads; its cost and standard output. Ends the benchmark if it fails."""
    names = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS")
    environment = os.environ | dict.fromkeys(names, str(threads))
    started = time.perf_counter()
    with tempfile.TemporaryFile("w+") as out, tempfile.TemporaryFile("w+") as errors:
        process = subprocess.Popen([str(word) for word in command], cwd=cwd, env=environment, stdout=out, stderr=errors)
        _, status, usage = os.wait4(process.pid, 0)
        seconds = time.perf_counter() - started
        process.returncode = os.waitstatus_to_exitcode(status)
        out.seek(0)
        errors.seek(0)
        if process.returncode:
            raise SystemExit(f"{' '.join(map(str, command))}\nfailed:\n{out.read()}\n{errors.read()}")
        return Cost(seconds, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024), out.read()


def code_digest() -> str:
    """Digest of the scripts and the package, which name our own runs' folder."""
    digest = hashlib.sha256()
    for path in sorted((ROOT / "bin").rglob("*.py")):
        digest.update(path.relative_to(ROOT).as_posix().encode() + path.read_bytes())
    return digest.hexdigest()[:12]


def run_own(pair: Pair, preset: str = "default", threads: int = 1, whole: bool = False) -> Path:
    """Our chain from raw files, each step its command, to cross-validated scores or to the report; its folder.

    The folder holds `predictions/`, `scores.tsv`, `evaluation.json` and `costs.json` {step: cost}.
    """
    folder = pair.cache / "own" / f"{preset}-{code_digest()}"
    done = folder / "costs.json"
    costs = json.loads(done.read_text()) if done.exists() else {}
    for step in chain(pair, folder, preset, threads, whole):
        if step.name in costs:
            continue
        step.cwd.mkdir(parents=True, exist_ok=True)
        cost, _ = call([PYTHON, ROOT / "bin" / step.words[0], *step.words[1:]], threads, step.cwd)
        costs[step.name] = asdict(cost)
        done.write_text(json.dumps(costs, indent=1))
    return folder


@dataclass
class Step:
    """One command: a script of `bin/` with its arguments, and where it writes."""

    name: str
    cwd: Path
    words: list


def chain(pair: Pair, folder: Path, preset: str, threads: int, whole: bool) -> list[Step]:
    """The commands as the pipeline calls them, up to EVALUATE or (`whole`) up to REPORT."""
    folder.mkdir(parents=True, exist_ok=True)
    folds = folder / "gene_folds.json"
    folds.write_text(json.dumps({pair.name: pair.folds}))
    spatial, reference = folder / "spatial" / "counts.h5ad", folder / "reference" / "counts.h5ad"
    gene_sets, evaluation, genes = (folder / name for name in ("gene_sets.json", "evaluation.json", "genes.tsv"))
    models_cv, models = folder / "all" / "models", folder / "final" / "models"
    inputs = ["--sample", pair.name, "--spatial", spatial, "--reference", reference]
    common = [*inputs, "--gene-sets", gene_sets]
    train = ["train.py", *common, "--preset", preset, "--spatial-likelihood", LIKELIHOOD[preset]]
    train += ["--threads", threads]
    predictions = folder / "all" / "predictions"  # every step that predicts writes `predictions/` below its folder
    steps = [
        Step("qc.spatial", spatial.parent, ["qc.py", "--role", "spatial", "--id", pair.name,
             "--technology", TECHNOLOGY[pair.name], "--input", pair.spatial]),
        Step("qc.reference", reference.parent, ["qc.py", "--role", "reference", "--id", pair.reference.stem,
             "--technology", "scrna", "--input", pair.reference]),
        Step("select_genes", folder, ["select_genes.py", *inputs, "--gene-folds", folds]),
        Step("train.crossvalidate", folder / "all", [*train, "--stage", "crossvalidate",
             "--kappa", KAPPA_GRID[preset]]),
        *[Step(f"baseline.{method}", folder / "all",
               ["baseline.py", *common, "--method", method, "--threads", threads]) for method in BASELINES],
        Step("evaluate", folder, ["evaluate.py", *common, "--preset", preset, "--predictions", predictions]),
    ]  # fmt: skip
    if whole:
        steps += [
            Step("train.final", folder / "final", [*train, "--stage", "final", "--evaluation", evaluation]),
            Step("impute", folder, ["impute.py", *common, "--models", models, "--evaluation", evaluation,
                 "--genes", genes, "--threads", threads]),
            Step("report", folder, ["report.py", *common, "--qc", spatial.parent / "qc.json",
                 "--qc", reference.parent / "qc.json", "--models", models_cv, "--models", models,
                 "--scores", folder / "scores.tsv", "--evaluation", evaluation, "--genes-table", genes,
                 "--predictions", folder / "predictions" / "spatialimpute.h5ad",
                 "--imputed", folder / "imputed.h5ad", "--latent", folder / "latent.h5ad"]),
        ]  # fmt: skip
    return steps


def own_predictions(folder: Path, pair: Pair) -> dict[str, dict[int, tuple[np.ndarray, np.ndarray]]]:
    """{method: {fold: (cells, frequencies cells x the fold's genes)}} of our run's chosen and baseline predictions."""
    files = {"spatialimpute": folder / "predictions" / "spatialimpute.h5ad"}
    files |= {method: folder / "all" / "predictions" / f"{method}.h5ad" for method in BASELINES}
    result = {}
    for method, file in files.items():
        data = ad.read_h5ad(file)
        result[method] = {
            k: (data.obs_names.to_numpy(str), np.asarray(data[:, fold].X)) for k, fold in enumerate(pair.folds)
        }
    return result
