"""Held-out accuracy of our pipeline and its peers on the real pairs: one table.

    python tests/benchmarks/accuracy.py [--pairs osmfish,...] [--presets default,paper] [--peers ...] [--cached]

Every method is scored by the same code on the same cells (those with counts on the panel genes in use) with the same
treatment of library size: `raw` is Spearman's correlation of counts and prediction x panel total, `partial` the rank
partial correlation of counts and prediction given the total, `fraction` that of counts / total and prediction.
The table gives median (mean) over genes; p is Wilcoxon's signed-rank test over genes against our default.
"""

import argparse
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import runs
from scipy.stats import wilcoxon

sys.path.insert(0, str(runs.ROOT / "bin"))
from spatialimpute.evaluation.metrics import score_genes

SCORES = {"raw": "spearman", "partial": "spearman_partial", "fraction": "spearman_fraction"}
# Tangram's projection carries its own library size; the scaling that scores best over all pairs stands for it.
VARIANTS = {"tangram_sc": ("mean", "mean_density", "mean_raw")}


def score_pair(pair: runs.Pair, predictions: dict) -> pd.DataFrame:
    """One row per method, fold and gene. `predictions`: {method: {fold: (cells, frequencies)}}."""
    data = pair.counts()
    matrix, genes = data.X.toarray(), list(data.var_names)
    row_of = {cell: i for i, cell in enumerate(data.obs_names)}
    tables = []
    for method, folds in predictions.items():
        for k, (cells, frequencies) in folds.items():
            columns = [genes.index(gene) for gene in pair.folds[k]]
            in_use = np.setdiff1d(np.arange(len(genes)), columns)
            known = np.array([cell in row_of for cell in cells])
            rows = np.array([row_of[cell] for cell in cells[known]])
            frequencies = np.asarray(frequencies, np.float64)[known]
            totals = matrix[rows][:, in_use].sum(axis=1)
            keep = totals > 0
            expected = np.count_nonzero(matrix[:, in_use].sum(axis=1) > 0)
            if keep.sum() != expected:
                print(f"note: {method} on {pair.name} fold {k} predicts {keep.sum()} of {expected} cells")
            table = score_genes(matrix[np.ix_(rows[keep], columns)], frequencies[keep], totals[keep])
            tables.append(table.assign(method=method, pair=pair.name, fold=k, gene=pair.folds[k]))
    return pd.concat(tables, ignore_index=True) if tables else pd.DataFrame()


def peer_predictions(pair: runs.Pair, method: str, threads: int, cached: bool) -> tuple[dict, pd.DataFrame]:
    """A peer's predictions by variant, and its times by fold."""
    predictions, times = {}, []
    for k in range(len(pair.folds)):
        if cached and not runs.peer_file(pair, method, k).exists():
            continue
        with np.load(runs.run_peer(pair, method, k, threads=threads)) as file:
            for variant in VARIANTS.get(method, ("mean",)):
                name = method if variant == "mean" else f"{method}:{variant.removeprefix('mean_')}"
                predictions.setdefault(name, {})[k] = (file["cells"], file[variant])
            row = {"method": method, "pair": pair.name, "fold": k}
            row |= {"seconds": float(file["seconds"]), "cpu_seconds": float(file["cpu_seconds"])}
            if "n_steps" in file and "train_cpu_seconds" in file:
                row["ms_per_step"] = 1e3 * float(file["train_cpu_seconds"]) / int(file["n_steps"])
            times.append(row)
    return predictions, pd.DataFrame(times)


def summary(scores: pd.DataFrame, against: str) -> pd.DataFrame:
    """Median (mean) per pair and method, and p against one method over the genes both have."""
    rows = []
    for (pair, method), table in scores.groupby(["pair", "method"], sort=False):
        row = {"pair": pair, "method": method, "folds": table["fold"].nunique(), "genes": len(table)}
        for name, column in SCORES.items():
            row[name] = f"{table[column].median():.3f} ({table[column].mean():.3f})"
        ours = scores[(scores["pair"] == pair) & (scores["method"] == against)]
        both = ours.merge(table, on=["fold", "gene"], suffixes=("", "_other"))
        for name in ("raw", "partial"):
            difference = both[SCORES[name]] - both[f"{SCORES[name]}_other"]
            tested = method != against and len(both) and difference.abs().max() > 0
            row[f"p_{name}"] = f"{wilcoxon(difference, alternative='greater').pvalue:.1e}" if tested else ""
        rows.append(row)
    return pd.DataFrame(rows)


def markdown(table: pd.DataFrame) -> str:
    lines = [table.columns, ["---"] * table.shape[1], *table.to_numpy()]
    return "\n".join("| " + " | ".join(map(str, line)) + " |" for line in lines) + "\n"


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--pairs", help="comma-separated; default: all")
    parser.add_argument("--peers", default=",".join(runs.PEERS), help="comma-separated, may be empty")
    parser.add_argument("--presets", default="default,paper", help="our own, comma-separated, may be empty")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--cached", action="store_true", help="of the peers, only what has been run before")
    parser.add_argument("--out", type=Path, default=runs.CACHE / "accuracy.tsv", help="scores per gene")
    options = parser.parse_args()
    split = lambda text: [word for word in (text or "").split(",") if word]  # noqa: E731

    tables, times = [], []
    for pair in runs.pairs(split(options.pairs) or None):
        predictions = {}
        for preset in split(options.presets):
            own = runs.own_predictions(runs.run_own(pair, preset, options.threads), pair)
            predictions[f"spatialimpute.{preset}"] = own.pop("spatialimpute")
            predictions |= own
        for peer in split(options.peers):
            more, seconds = peer_predictions(pair, peer, options.threads, options.cached)
            predictions |= more
            times.append(seconds)
        tables.append(score_pair(pair, predictions))
        print(markdown(summary(tables[-1], "spatialimpute.default")), flush=True)

    scores = pd.concat(tables, ignore_index=True)
    options.out.parent.mkdir(parents=True, exist_ok=True)
    scores.to_csv(options.out, sep="\t", index=False, float_format="%.5f")
    if times := [table for table in times if len(table)]:
        print(pd.concat(times).groupby(["pair", "method"], sort=False).mean(numeric_only=True).round(1))
    print(f"scores per gene: {options.out}")


if __name__ == "__main__":
    main()
