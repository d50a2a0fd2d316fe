"""Genes that no panel measured against a measured whole transcriptome: Xenium cells summed under the spots of Visium.

    python tests/benchmarks/visium_truth.py [--threads 2]

`xenium_breast` and `visium_breast_spots` are of one block of tissue, in one frame. The estimates of the cells within
50 µm of a spot are summed and held against the spot's counts: rank partial correlation over spots given the spot's
total over all genes, for imputed genes that are not on the panel and have at least 100 counts in the spots. Beside
ours the estimates of kNN and of the mean of a cell's type, as our own components give them. Writes `visium_truth.tsv`,
the scores per gene, and `visium_truth.md`.
"""

import argparse
import sys
from collections.abc import Iterator
from pathlib import Path

import anndata as ad
import numpy as np
import pandas as pd
import runs
import scipy.sparse as sp
from benchmark_tables import markdown, median_mean
from scipy.stats import wilcoxon

sys.path.insert(0, str(runs.ROOT / "bin"))
from spatialimpute.evaluation.metrics import spearman_partial
from spatialimpute.files.inputs import SampleInputs
from spatialimpute.folds import blocks, cell_totals, fold_of
from spatialimpute.methods.base import SpatialView
from spatialimpute.methods.registry import find_method

PAIR, SPOTS, MICROMETERS, SHIFT = "xenium_breast", "visium_breast_spots", 5.926, 6.0
RADIUS, MIN_COUNTS = 50.0, 100
OURS, OTHERS, BLOCK = "spatialimpute", ("knn", "celltype"), 4096


def under_spots(cells: np.ndarray, spots: np.ndarray) -> sp.csr_matrix:
    """Which cells lie within RADIUS of which spots, (n_spots, n_cells) of 0 and 1; both in pixels of the image."""
    from scipy.spatial import cKDTree

    found = cKDTree(cells + [SHIFT, 0.0]).query_ball_point(spots, RADIUS / MICROMETERS)
    indptr = np.concatenate([[0], np.cumsum([len(some) for some in found])])
    indices = np.concatenate([np.sort(some) for some in found]).astype(int)
    return sp.csr_matrix((np.ones(len(indices)), indices, indptr), shape=(len(spots), len(cells)))


def estimates(method: str, inputs: SampleInputs, imputed: Path) -> Iterator[tuple[slice, np.ndarray]]:
    """Expected counts of the targets, some cells at a time."""
    if method == OURS:
        X = ad.read_h5ad(imputed, backed="r").X
        yield from ((block, X[block]) for block in blocks(X.shape[0], BLOCK))
        return
    spatial, gene_sets = inputs.spatial(), inputs.gene_sets
    view, known = SpatialView.of(spatial, fold_of(gene_sets, None), None)
    component, counts = find_method(method)(), spatial.select(gene_sets.shared)
    component.prepare(inputs.references())
    component.restore(component.learn(view), gene_sets.shared)
    total = cell_totals(counts)[:, None]
    for block in blocks(counts.shape[0], BLOCK):
        yield block, component.estimate(counts[block], gene_sets.targets) * total[block]


def scores_of(threads: int) -> pd.DataFrame:
    """A row per gene: its counts in the spots, and each method's score."""
    pair = runs.pairs([PAIR])[0]
    chain = runs.Chain(pair, threads)
    imputed, inputs = chain.imputed(runs.Variant("default")), SampleInputs(chain.inputs)
    spots = ad.read_h5ad(runs.DATA / f"{SPOTS}.h5ad")
    gene_sets, coords = inputs.gene_sets, inputs.spatial().coords
    near = under_spots(coords, spots.obsm["spatial"])
    covered = np.flatnonzero(near.getnnz(axis=1))
    near, spots = near[covered], spots[covered]
    panel = set(ad.read_h5ad(pair.spatial, backed="r").var_names)
    counted = pd.Series(np.asarray(spots.X.sum(axis=0)).ravel(), spots.var_names)
    genes = [gene for gene in gene_sets.targets if gene not in panel and counted.get(gene, 0) >= MIN_COUNTS]
    columns = np.flatnonzero(np.isin(gene_sets.targets, genes))
    truth, total = spots[:, genes].X.toarray(), cell_totals(spots.X)
    table = pd.DataFrame({"gene": genes, "spots": len(covered), "counts": counted[genes].to_numpy()})
    for method in (OURS, *OTHERS):
        summed = np.zeros(truth.shape)
        for block, values in estimates(method, inputs, imputed):
            summed += near[:, block] @ np.nan_to_num(values[:, columns])
        table[method] = spearman_partial(truth, summed, total)
    return table


def table_of(scores: pd.DataFrame) -> pd.DataFrame:
    """A row per method: median (mean) over genes, and how sure it is that ours is better."""
    rows = []
    for method in (OURS, *OTHERS):
        difference = scores[OURS] - scores[method]
        better = "" if method == OURS else f"{wilcoxon(difference, alternative='greater').pvalue:.0e}"
        row = {"method": method, "genes": len(scores), "partial": median_mean(scores[method]), "p": better}
        rows.append(row | {"ours better": "" if method == OURS else f"{(difference > 0).mean():.0%}"})
    return pd.DataFrame(rows)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--threads", type=int, default=1)
    scores = scores_of(parser.parse_args().threads)
    table = markdown(table_of(scores))
    print(f"{scores['spots'].iloc[0]} spots\n{table}")
    scores.to_csv(runs.CACHE / "visium_truth.tsv", sep="\t", index=False, float_format="%.5f")
    (runs.CACHE / "visium_truth.md").write_text(table)


if __name__ == "__main__":
    main()
