"""Speed of our training and pipeline beside scvi-tools' GIMVI: four studies, one table each.

    python tests/benchmarks/speed.py [accuracy] [steps] [run] [memory]    (default: all)

accuracy  time until one network of ours has the held-out score of scvi-tools' 200 epochs, all folds
steps     milliseconds per optimizer step and model at 33 to 15,000 genes, both sides in turns
run       the whole pipeline, one training of 200 epochs, and with --before-checkout an older pipeline, in turns
memory    peak memory and time of IMPUTE at 10,000 and 100,000 cells x 2,000 genes x 50 samples

Wall seconds say what a user waits for, but on a machine that others share they also count the others. So processor
seconds are given beside them; there, ratios of those are the ones to trust.
"""

import argparse
import json
import shutil
import sys
from pathlib import Path

import h5py
import numpy as np
import pandas as pd
import pipeline_runs
import runs
import scipy.sparse as sp
from benchmark_tables import SCORES, ratio_interval

sys.path.insert(0, str(runs.ROOT / "bin"))
from spatialimpute.evaluation.metrics import score_genes
from spatialimpute.evaluation.truth import Truth
from spatialimpute.files.counts import Counts
from spatialimpute.files.gene_sets import GeneSets
from spatialimpute.files.inputs import SampleInputs, write_inputs

HERE = Path(__file__).resolve().parent
N_SPATIAL, N_REFERENCE, N_PANEL = 4530, 3005, 33
GENES = (33, 500, 2_000, 15_000)
OWN, BEFORE, SCVI = "spatialimpute", "before", "scvi-tools"


# ---- accuracy ----


def time_to_accuracy(options) -> list[dict]:
    """Per pair and score: when our mean over all held-out genes is that of scvi-tools after its last epoch."""
    rows = []
    for pair in runs.pairs(options.pairs):
        inputs = runs.Chain(pair, options.threads).inputs
        curves = {side: curve(side, inputs, pair, options) for side in (SCVI, OWN)}
        rows += [{"pair": pair.name, "score": name} | compare(curves, name) for name in SCORES]
    return rows


def curve(side: str, inputs: Path, pair: runs.Pair, options) -> pd.DataFrame:
    """Mean scores over all held-out genes against time: a row per trace point, `seconds` and `cpu_seconds` per fold."""
    truth, tables, clocks = Truth(SampleInputs(inputs)), [], []
    for fold in truth.folds:
        trace, of_fold = trace_of(side, inputs, pair, fold, options), truth.of(fold)
        row_of = {cell: row for row, cell in enumerate(trace["cells"])}
        rows = [row_of[cell] for cell in truth.cells[of_fold.known]]
        scores = [score_genes(of_fold.counts, mean[rows], of_fold.total) for mean in trace["trace_means"]]
        tables.append([table[list(SCORES.values())] for table in scores])
        clocks.append((trace["trace_seconds"], trace["trace_cpu_seconds"]))
    seconds, cpu_seconds = np.mean(clocks, axis=0)
    means = pd.DataFrame([pd.concat(folds).mean() for folds in zip(*tables, strict=True)])
    return means.assign(seconds=seconds, cpu_seconds=cpu_seconds)


def trace_of(side: str, inputs: Path, pair: runs.Pair, fold: str, options) -> dict:
    """Predictions along the training; those of scvi-tools are kept whatever our code becomes."""
    if side == SCVI:
        script = HERE / "scvi_speed.py"
        key = runs.digest_of(script.read_bytes(), json.dumps(pair.folds).encode())
        command, out = [runs.PEERS_PYTHON, script, "--trace"], pair.cache / "external" / f"scvi-{key}.{fold}.npz"
    else:
        command, out = [runs.PYTHON, HERE / "own_trace.py", "--out"], inputs.parent / f"trace.{fold}.npz"
    if not out.exists():
        out.parent.mkdir(parents=True, exist_ok=True)
        runs.call([*command, out, "--inputs", inputs, "--fold", fold, "--threads", options.threads], options.threads)
    with np.load(out) as file:
        return dict(file)


def compare(curves: dict[str, pd.DataFrame], score: str) -> dict:
    """When ours is first as good as scvi-tools at the end, and when scvi-tools itself first was."""
    scvi, own, column = curves[SCVI], curves[OWN], SCORES[score]
    goal, end = scvi[column].iloc[-1], scvi.iloc[-1]
    row = {"goal": goal, "scvi_s": end["seconds"], "scvi_cpu_s": end["cpu_seconds"]}
    row |= {"scvi_first_cpu_s": scvi[scvi[column] >= goal]["cpu_seconds"].iloc[0], "own_end": own[column].iloc[-1]}
    reached = own[own[column] >= goal]
    if len(reached):
        first = reached.iloc[0]
        row |= {"own_s": first["seconds"], "own_cpu_s": first["cpu_seconds"]}
        row |= {"ratio": row["scvi_s"] / row["own_s"], "ratio_cpu": row["scvi_cpu_s"] / row["own_cpu_s"]}
    return row


# ---- steps ----


def simulated(n_genes: int) -> Path:
    """Inputs of the study's size: a panel of 33 genes, all of them in a reference of `n_genes`."""
    folder = runs.CACHE / "steps" / str(n_genes)
    if (folder / "gene_sets.json").exists():
        return folder
    rng = np.random.default_rng(n_genes)
    names = [f"gene{i}" for i in range(n_genes)]
    sides = []
    for side, n_cells, columns, depth in (
        ("spatial", N_SPATIAL, N_PANEL, 180),
        ("reference", N_REFERENCE, n_genes, max(150, 0.6 * n_genes)),
    ):
        share = rng.gamma(0.5, size=columns) + 1e-3
        mean = rng.lognormal(0, 0.4, (n_cells, 1)) * depth * share / share.sum()
        counts = rng.poisson(mean * rng.gamma(1.0, size=mean.shape)).astype(np.float32)
        counts[:, 0] += counts.sum(axis=1) == 0
        cells = np.array([f"{side}{i}" for i in range(n_cells)])
        sides.append(Counts(sp.csr_matrix(counts), np.array(names[:columns]), cells, pd.DataFrame(index=cells),
                            info={"id": side, "technology": "other"}))  # fmt: skip
    panel = names[:N_PANEL]
    gene_sets = GeneSets(names, panel, [], names, {str(k): panel[k::5] for k in range(5)})
    write_inputs(folder, sides[0], sides[1:], gene_sets, pd.DataFrame({"gene": names}))
    return folder


def steps(options) -> list[dict]:
    """Medians over rounds in which each side runs a block of steps in turn."""
    own = {
        "own": ["--members", 1],
        "own stack of 25": ["--members", 25],
        "own paper preset": ["--preset", "paper", "--kappa", 5],
    }
    rows = []
    for n_genes in options.genes:
        data = ["--inputs", simulated(n_genes), "--threads", options.threads]
        commands = {SCVI: [runs.PEERS_PYTHON, HERE / "scvi_speed.py", "--fold", 0, "--time-steps", options.block]}
        commands |= {
            name: [runs.PYTHON, HERE / "own_steps.py", "--steps", options.block, *m] for name, m in own.items()
        }
        times = {name: [] for name in commands}
        for _ in range(options.rounds):
            for name, command in commands.items():
                times[name].append(json.loads(runs.call([*command, *data], options.threads)[1].splitlines()[-1]))
        medians = {name: pd.DataFrame(table).median() for name, table in times.items()}
        for name, median in medians.items():
            ratios = medians[SCVI] / median
            rows.append({"genes": n_genes, "method": name, "ms": median["ms"], "cpu_ms": median["cpu_ms"],
                         "ratio": ratios["ms"], "ratio_cpu": ratios["cpu_ms"]})  # fmt: skip
    return rows


# ---- run ----


def whole_run(options) -> list[dict]:
    """Per pair and side: medians over the rounds, and how many times ours takes what the side takes."""
    rows = []
    for pair in runs.pairs(options.pairs):
        sides = [OWN, *([BEFORE] if options.before_checkout else []), SCVI]
        costs = {side: [] for side in sides}
        for _ in range(options.rounds):
            for side in sides:
                costs[side].append(run_once(side, pair, options))
        seconds, cpu = ({side: [getattr(cost, name) for cost in costs[side]] for side in sides}
                        for name in ("seconds", "cpu_seconds"))  # fmt: skip
        for side in sides:
            row = {"pair": pair.name, "side": side, "s": np.median(seconds[side]), "cpu_s": np.median(cpu[side])}
            for name, times in (("ours_to_this", seconds), ("ours_to_this_cpu", cpu)) if side != OWN else ():
                row[name] = "{:.2f} ({:.2f} to {:.2f})".format(*ratio_interval(times[OWN], times[side]))
            rows.append(row)
    return rows


def run_once(side: str, pair: runs.Pair, options) -> runs.Cost:
    """One whole run from nothing, or one training of scvi-tools."""
    if side == SCVI:
        inputs = runs.Chain(pair, options.threads).inputs
        command = [runs.PEERS_PYTHON, HERE / "scvi_speed.py", "--inputs", inputs, "--fold", "0"]
        _, text = runs.call([*command, "--threads", options.threads], options.threads)
        return runs.Cost(**json.loads(text.splitlines()[-1]), peak_mb=np.nan)
    folder = runs.CACHE / "run" / f"{pair.name}.{side}"
    if folder.exists():
        shutil.rmtree(folder)
    sheet, folds = pipeline_runs.write_sheet(folder, pair)
    checkout = runs.ROOT if side == OWN else options.before_checkout
    return pipeline_runs.run_pipeline(folder, sheet, "--gene_folds", folds, checkout=checkout)


# ---- memory ----


def memory(options) -> list[dict]:
    """IMPUTE alone, on models of few steps: what it holds does not depend on how well they are trained."""
    rows = []
    for n_cells in options.cells:
        folder = runs.CACHE / "memory" / f"{n_cells}-{runs.code_digest()}"

        def script(name, *words, cwd=folder):
            cwd.mkdir(parents=True, exist_ok=True)
            return runs.call([runs.PYTHON, runs.ROOT / "bin" / name, *words], options.threads, cwd)[0]

        raw = ["--n-spatial", n_cells, "--n-reference", 2000, "--n-genes", 2000, "--n-truth", 1]
        script("simulate.py", "--out-dir", "raw", *raw)
        counts, sample = [], ["--sample", "memory"]
        for role, technology in (("spatial", "MERFISH"), ("reference", "scRNA-seq")):
            about = ["--id", role, "--role", role, "--technology", technology]
            script("qc.py", *about, "--input", folder / "raw" / f"{role}.h5ad", cwd=folder / role)
            counts += [f"--{role}", folder / role / "counts.h5ad"]
        script("select_genes.py", *sample, *counts, "--cv-folds", 0, "--n-top-genes", 2000)
        script("train.py", *sample, "--inputs", "inputs", "--max-steps", 50, "--kappa", 0)
        words = ["--inputs", "inputs", "--models", "models", "--n-samples", 50, "--imputed-format", "h5ad"]
        cost = script("impute.py", *sample, *words, "--threads", options.threads)
        with h5py.File(folder / "imputed.h5ad") as file:
            genes = len(file["var/_index"])
        rows.append({"cells": n_cells, "genes": genes, "peak_mb": cost.peak_mb, "seconds": cost.seconds,
                     "cpu_seconds": cost.cpu_seconds, "cpu_ms_per_cell": 1e3 * cost.cpu_seconds / n_cells})  # fmt: skip
    return rows


STUDIES = {"accuracy": time_to_accuracy, "steps": steps, "run": whole_run, "memory": memory}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("studies", nargs="*", default=list(STUDIES), help=", ".join(STUDIES))
    parser.add_argument("--pairs", type=lambda text: text.split(","), help="comma-separated; default: all")
    parser.add_argument("--genes", type=lambda text: [int(n) for n in text.split(",")], default=GENES)
    parser.add_argument("--cells", type=lambda text: [int(n) for n in text.split(",")], default=(10_000, 100_000))
    parser.add_argument("--rounds", type=int, default=3, help="of the steps and run studies")
    parser.add_argument("--block", type=int, default=100, help="steps timed per round")
    parser.add_argument("--before-checkout", type=Path, help="an older checkout, set up, for the run study")
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    for study in options.studies:
        rows = STUDIES[study](options)
        table = pd.DataFrame(rows).to_string(index=False, float_format="{:.3g}".format)
        print(f"\n{study}\n{table}", flush=True)
        (runs.CACHE / f"speed.{study}.json").write_text(json.dumps(rows, indent=1, default=float))


if __name__ == "__main__":
    main()
