"""kNN as a method outside the package would write it: numpy alone, from the folder's files to mean.mtx.

Called as `python external_knn.py <folder> <threads> <seed>`.
"""

import csv
import sys
from pathlib import Path

import numpy as np

K = 50


def read_side(folder, name):
    with open(folder / f"{name}.mtx") as file:
        lines = [line.split() for line in file if not line.startswith("%")]
    X = np.zeros([int(size) for size in lines[0][:2]])
    for row, column, value in lines[1:]:
        X[int(row) - 1, int(column) - 1] = float(value)
    with open(folder / f"{name}_cells.tsv") as file:
        cells = list(csv.DictReader(file, delimiter="\t"))
    return X, (folder / f"{name}_genes.txt").read_text().split(), cells


def unit(X):
    """Cells in the panel space: median depth, log1p, z-scores per gene, length 1."""
    total = X.sum(axis=1, keepdims=True)
    log = np.log1p(X / total * np.median(total))
    variance = log.var(axis=0)
    z = (log - log.mean(axis=0)) / np.sqrt(np.where(variance > 1e-10, variance, 1))
    return z / np.linalg.norm(z, axis=1, keepdims=True)


def main(folder):
    spatial, in_use, _ = read_side(folder, "spatial")
    targets = (folder / "targets.txt").read_text().split()
    cells = [int(cell) - 1 for cell in (folder / "cells.txt").read_text().split()]
    units, values, totals, depths = [], [], [], []
    for i in range(1, 1 + len(list(folder.glob("reference*.mtx")))):
        X, genes, about = read_side(folder, f"reference{i}")
        panel = X[:, [genes.index(gene) for gene in in_use]]
        kept = panel.sum(axis=1) > 0
        units.append(unit(panel[kept]))
        totals.append(panel[kept].sum(axis=1))
        depths.append(np.array([float(row["depth"]) for row in about])[kept])
        column = [X[kept, genes.index(gene)] if gene in genes else np.full(kept.sum(), np.nan) for gene in targets]
        values.append(np.stack(column, axis=1))
    values, totals, depths = np.concatenate(values), np.concatenate(totals)[:, None], np.concatenate(depths)[:, None]
    measured = ~np.isnan(values)
    log = np.log1p(values * np.median(depths) / depths)
    frequency = np.nansum(values, axis=0) / np.sum(totals * measured, axis=0)
    scale = frequency / np.nanmean(log, axis=0)
    nearest = np.argsort(-unit(spatial)[cells] @ np.concatenate(units).T, axis=1)[:, :K]
    mean = np.where(measured[nearest].any(axis=1), np.nanmean(log[nearest], axis=1) * scale, frequency)
    with open(folder / "mean.mtx", "w") as file:
        print("%%MatrixMarket matrix array real general", file=file)
        print(*mean.shape, file=file)
        for value in mean.T.ravel():
            print(f"{value:.9g}", file=file)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
