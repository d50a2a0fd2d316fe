"""Speed of our training and pipeline beside scvi-tools' GIMVI: four studies, one table each.

    python tests/benchmarks/speed.py [accuracy] [steps] [run] [memory]    (default: all)

accuracy  time until one network of ours has the held-out score of scvi-tools' 200 epochs, all folds
steps     milliseconds per optimizer step and model at 33 to 15,000 genes, blocks of both sides alternating
run       all commands of a default run (and the pipeline's own wall time) against one training of 200 epochs
memory    peak memory and time of IMPUTE at 10,000 and 100,000 cells x 2,000 genes x 50 samples

Wall seconds say what a user waits for, but on a machine that others share they also count the others. So processor
seconds (one thread) are given beside them; there, ratios of those are the ones to trust.
"""

import argparse
import json
import sys
from pathlib import Path

import anndata as ad
import numpy as np
import pandas as pd
import runs
import scipy.sparse as sp

sys.path.insert(0, str(runs.ROOT / "bin"))
from spatialimpute.evaluation.metrics import score_genes

HERE = Path(__file__).resolve().parent
SCORES = ("spearman", "spearman_partial")
N_SPATIAL, N_REFERENCE, N_PANEL = 4530, 3005, 33
GENES = (33, 500, 2_000, 15_000)
STUDIES = ("accuracy", "steps", "run", "memory")


def show(title: str, rows: list[dict]) -> None:
    print(f"\n{title}\n{pd.DataFrame(rows).to_string(index=False, float_format='{:.3g}'.format)}", flush=True)


def time_to_accuracy(options) -> list[dict]:
    """Per pair and score: when our mean over all held-out genes is that of scvi-tools after its last epoch."""
    rows = []
    for pair in runs.pairs(options.pairs):
        data = pair.counts()
        matrix, genes = data.X.toarray(), list(data.var_names)
        row_of = {cell: i for i, cell in enumerate(data.obs_names)}
        curves = {}
        for side in ("scvi", "own"):
            tables, clocks = [], []
            for k in options.folds:
                trace = scvi_trace(pair, k, options) if side == "scvi" else own_trace(pair, k, options)
                known = [i for i, cell in enumerate(trace["cells"]) if cell in row_of]
                cells = [row_of[trace["cells"][i]] for i in known]
                columns = [genes.index(gene) for gene in pair.folds[k]]
                totals = np.delete(matrix[cells], columns, axis=1).sum(axis=1)
                keep = totals > 0
                counts, totals = matrix[np.ix_(cells, columns)][keep], totals[keep]
                means = [mean[known][keep] for mean in trace["trace_means"]]
                tables.append([score_genes(counts, mean, totals)[list(SCORES)] for mean in means])
                clocks.append((trace["trace_seconds"], trace["trace_cpu_seconds"]))
            means = [pd.concat(folds)[list(SCORES)].mean() for folds in zip(*tables, strict=True)]
            curves[side] = pd.DataFrame(means), np.mean(clocks, axis=0)
        for score in SCORES:
            rows.append({"pair": pair.name, "score": score} | compare(curves, score))
    return rows


def compare(curves: dict, score: str) -> dict:
    """When ours is first as good as scvi-tools at the end, and when scvi-tools itself first was."""
    (scvi, (scvi_wall, scvi_cpu)), (own, (own_wall, own_cpu)) = curves["scvi"], curves["own"]
    goal = scvi[score].iloc[-1]
    row = {"goal": goal, "scvi_s": scvi_wall[-1], "scvi_cpu_s": scvi_cpu[-1]}
    row["scvi_first_cpu_s"] = scvi_cpu[int(np.argmax(scvi[score] >= goal))]
    row["own_end"] = own[score].iloc[-1]
    reached = own[score] >= goal
    if not reached.any():
        return row
    first = int(np.argmax(reached))
    row |= {"own_s": own_wall[first], "own_cpu_s": own_cpu[first]}
    row["ratio"] = row["scvi_s"] / row["own_s"]
    row["ratio_cpu"] = row["scvi_cpu_s"] / row["own_cpu_s"]
    return row


def scvi_trace(pair: runs.Pair, fold: int, options) -> dict:
    with np.load(runs.run_peer(pair, "gimvi_scvi", fold, threads=options.threads)) as file:
        return dict(file)


def own_trace(pair: runs.Pair, fold: int, options) -> dict:
    folder = prepared(pair, options)
    out = folder / f"trace{options.max_steps or ''}.fold{fold}.npz"
    if not out.exists():
        command = [runs.PYTHON, HERE / "own_trace.py", "--spatial", folder / "spatial" / "counts.h5ad"]
        command += ["--reference", folder / "reference" / "counts.h5ad", "--gene-sets", folder / "gene_sets.json"]
        command += ["--fold", fold, "--threads", options.threads, "--out", out]
        command += ["--max-steps", options.max_steps] if options.max_steps else []
        runs.call(command, options.threads)
    with np.load(out) as file:
        return dict(file)


def prepared(pair: runs.Pair, options) -> Path:
    """A folder with the pair's canonical counts and panel."""
    folder = pair.cache / "own" / f"prepared-{runs.code_digest()}"
    if not (folder / "gene_sets.json").exists():
        for step in runs.chain(pair, folder, "default", options.threads, whole=False)[:3]:
            step.cwd.mkdir(parents=True, exist_ok=True)
            runs.call([runs.PYTHON, runs.ROOT / "bin" / step.words[0], *step.words[1:]], options.threads, step.cwd)
    return folder


def simulated(n_genes: int) -> dict[str, Path]:
    """Sparse counts of the study's size: a panel of 33 genes, all of them in a reference of `n_genes`."""
    folder = runs.CACHE / "steps" / str(n_genes)
    files = {side: folder / f"{side}.h5ad" for side in ("spatial", "reference")}
    if not all(file.exists() for file in files.values()):
        folder.mkdir(parents=True, exist_ok=True)
        rng = np.random.default_rng(n_genes)
        names = [f"gene{i}" for i in range(n_genes)]
        for side, n_cells, columns, depth in (
            ("spatial", N_SPATIAL, N_PANEL, 180),
            ("reference", N_REFERENCE, n_genes, max(150, 0.6 * n_genes)),
        ):
            share = rng.gamma(0.5, size=columns) + 1e-3
            mean = rng.lognormal(0, 0.4, (n_cells, 1)) * depth * share / share.sum()
            counts = rng.poisson(mean * rng.gamma(1.0, size=mean.shape)).astype(np.float32)
            counts[:, 0] += counts.sum(axis=1) == 0
            data = ad.AnnData(sp.csr_matrix(counts))
            data.obs_names = [f"{side}{i}" for i in range(n_cells)]
            data.var_names = names[:columns]
            data.write_h5ad(files[side])
        folds = [names[k:N_PANEL:5] for k in range(5)]
        (folder / "gene_folds.json").write_text(json.dumps({"steps": {"folds": folds}}))
    return files


def steps(options) -> list[dict]:
    """Medians over rounds in which each side runs a block of steps in turn."""
    own = {
        "own": ["--members", 1],
        "own stack of 25": ["--members", 25],
        "own paper preset": ["--preset", "paper", "--kappa", 5],
    }
    rows = []
    for n_genes in options.genes:
        files = simulated(n_genes)
        data = ["--spatial", files["spatial"], "--reference", files["reference"]]
        scvi = [runs.PEERS_PYTHON, HERE / "peers" / "gimvi_scvi.py", *data, "--pair", "steps", "--fold", 0]
        scvi += ["--folds", files["spatial"].parent / "gene_folds.json", "--out", "unused"]
        commands = {"scvi-tools": [*scvi, "--time-steps", options.block]} | {
            name: [runs.PYTHON, HERE / "own_steps.py", *data, "--steps", options.block, *more]
            for name, more in own.items()
        }
        times = {name: [] for name in commands}
        for _ in range(options.rounds):
            for name, command in commands.items():
                _, text = runs.call([*command, "--threads", options.threads], options.threads)
                times[name].append(json.loads(text.strip().splitlines()[-1]))
        medians = {name: pd.DataFrame(table).median() for name, table in times.items()}
        for name, median in medians.items():
            ratios = medians["scvi-tools"] / median
            rows.append({"genes": n_genes, "method": name, "ms": median["ms"], "cpu_ms": median["cpu_ms"],
                         "ratio": ratios["ms"], "ratio_cpu": ratios["cpu_ms"]})  # fmt: skip
    return rows


def whole_run(options) -> list[dict]:
    """All commands of a default run against scvi-tools' trainings of one fold."""
    rows = []
    for pair in runs.pairs(options.pairs):
        folder = runs.run_own(pair, "default", options.threads, whole=True)
        costs = pd.DataFrame(json.loads((folder / "costs.json").read_text())).T
        trace = scvi_trace(pair, 0, options)
        row = {
            "pair": pair.name,
            "scvi_s": float(trace["seconds"]),
            "scvi_cpu_s": float(trace["cpu_seconds"]),
        }
        row |= {"own_s": costs["seconds"].sum(), "own_cpu_s": costs["cpu_seconds"].sum()}
        row["cost_in_trainings"] = row["own_cpu_s"] / row["scvi_cpu_s"]
        row["nextflow_s"] = nextflow_run(pair, options) if options.nextflow else np.nan
        rows.append(row | costs["cpu_seconds"].round(1).to_dict())
    return rows


def nextflow_run(pair: runs.Pair, options) -> float:
    """Wall seconds of the pipeline on one sample, nothing resumed."""
    folder = pair.cache / "nextflow" / runs.code_digest()
    folder.mkdir(parents=True, exist_ok=True)
    done = folder / "seconds.json"
    if not done.exists():
        sheet, folds = folder / "sheet.csv", folder / "gene_folds.json"
        header = "sample,spatial,reference,technology"
        sheet.write_text(f"{header}\n{pair.name},{pair.spatial},{pair.reference},{runs.TECHNOLOGY[pair.name]}\n")
        folds.write_text(json.dumps({pair.name: pair.folds}))
        command = [runs.ROOT / ".venv" / "bin" / "nextflow", "run", runs.ROOT, "-profile", "local"]
        command += ["--input", sheet, "--gene_folds", folds, "--outdir", folder / "results"]
        cost, _ = runs.call(command, options.threads, folder)
        done.write_text(json.dumps(cost.seconds))
    return float(json.loads(done.read_text()))


def memory(options) -> list[dict]:
    """IMPUTE alone, on models of few steps: what it holds does not depend on how well they are trained."""
    rows = []
    for n_cells in options.cells:
        folder = runs.CACHE / "memory" / f"{n_cells}-{runs.code_digest()}"
        folder.mkdir(parents=True, exist_ok=True)

        def script(name, *words, folder=folder):
            command = [runs.PYTHON, runs.ROOT / "bin" / name, *words]
            return runs.call(command, options.threads, folder)[0]

        raw, inputs = folder / "raw", ["--sample", "memory"]
        script("simulate.py", "--out-dir", raw, "--n-spatial", n_cells, "--n-reference", 2000, "--n-genes", 2000)
        for role, technology in (("spatial", "merfish"), ("reference", "scrna")):
            (folder / role).mkdir(exist_ok=True)
            words = [
                "--id",
                role,
                "--role",
                role,
                "--technology",
                technology,
                "--input",
                raw / f"{role}.h5ad",
            ]
            runs.call([runs.PYTHON, runs.ROOT / "bin" / "qc.py", *words], options.threads, folder / role)
            inputs += [f"--{role}", folder / role / "counts.h5ad"]
        script("select_genes.py", *inputs, "--cv-folds", 0, "--n-top-genes", 2000)
        inputs += ["--gene-sets", folder / "gene_sets.json"]
        script("train.py", *inputs, "--stage", "final", "--max-steps", 50, "--kappa", 0)
        cost = script("impute.py", *inputs, "--models", folder / "models", "--n-samples", 50)
        genes = ad.read_h5ad(folder / "imputed.h5ad", backed="r").n_vars
        rows.append({"cells": n_cells, "genes": genes, "peak_mb": cost.peak_mb, "seconds": cost.seconds,
                     "cpu_seconds": cost.cpu_seconds, "cpu_ms_per_cell": 1e3 * cost.cpu_seconds / n_cells})  # fmt: skip
    return rows


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("studies", nargs="*", default=STUDIES, help=", ".join(STUDIES))
    parser.add_argument("--pairs", type=lambda text: text.split(","), help="comma-separated; default: all")
    parser.add_argument("--folds", type=lambda text: [int(k) for k in text.split(",")], default=list(range(5)))
    parser.add_argument("--genes", type=lambda text: [int(n) for n in text.split(",")], default=GENES)
    parser.add_argument("--cells", type=lambda text: [int(n) for n in text.split(",")], default=(10_000, 100_000))
    parser.add_argument("--rounds", type=int, default=3, help="of the steps study")
    parser.add_argument("--block", type=int, default=40, help="steps timed per round")
    parser.add_argument("--max-steps", type=int, help="of our network in the accuracy study; default: the preset's")
    parser.add_argument("--nextflow", action="store_true", help="also run the pipeline itself in the run study")
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    functions = {"accuracy": time_to_accuracy, "steps": steps, "run": whole_run, "memory": memory}
    results = {}
    for study in options.studies:
        results[study] = functions[study](options)
        show(study, results[study])
        (runs.CACHE / f"speed.{study}.json").write_text(json.dumps(results[study], indent=1, default=float))


if __name__ == "__main__":
    main()
