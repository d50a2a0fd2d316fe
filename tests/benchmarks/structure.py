"""What averaging along the graph does to the structure among cells: within each fold's held-out genes, on real pairs.

    python tests/benchmarks/structure.py [--pairs osmfish,...] [--threads 2]

Predictions of `ablation.py parts` with the graph and without it. Per fold, on at most 3,000 cells: the share of a
cell's 30 nearest neighbors in 20 principal components of the measured genes that it keeps in those of the predicted
ones; the adjusted Rand index of Leiden clusters; the correlation of gene-gene correlations. Averaged over folds; log1p
of counts on the cell's total. Writes `structure.md`.
"""

import argparse
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import runs
from ablation import STUDIES
from benchmark_tables import markdown, short

sys.path.insert(0, str(runs.ROOT / "bin"))
from spatialimpute.evaluation.truth import FoldTruth, Truth
from spatialimpute.files.inputs import SampleInputs
from spatialimpute.files.predictions import PredictionsFile

MAX_CELLS, NEIGHBORS, COMPONENTS = 3000, 30, 20
NAMES = ("all", "without graph")


def of_fold(truth: FoldTruth, mean: np.ndarray) -> dict[str, float]:
    """The three measures of a prediction (n_scored, H) of one fold's genes."""
    from sklearn.metrics import adjusted_rand_score

    known = np.unique(np.linspace(0, len(truth.total) - 1, MAX_CELLS).astype(int))
    measured = np.log1p(truth.counts[known] / truth.total[known, None] * np.median(truth.total))
    predicted = np.log1p(mean[truth.known][known] * np.median(truth.total))
    varies = (measured.std(0) > 0) & (predicted.std(0) > 0)
    spaces = [components(values[:, varies]) for values in (measured, predicted)]
    ours, theirs = (neighbors(space) for space in spaces)
    overlap = np.mean([len(np.intersect1d(a, b)) / NEIGHBORS for a, b in zip(ours, theirs, strict=True)])
    upper = np.triu_indices(varies.sum(), 1)
    correlations = [np.corrcoef(values[:, varies].T)[upper] for values in (measured, predicted)]
    return {
        "neighbors": float(overlap),
        "clusters": adjusted_rand_score(*(leiden(found) for found in (ours, theirs))),
        "correlations": float(np.corrcoef(*correlations)[0, 1]),
    }


def components(values: np.ndarray) -> np.ndarray:
    """Principal components of z-scores."""
    from sklearn.decomposition import PCA

    scaled = (values - values.mean(0)) / values.std(0)
    return PCA(min(COMPONENTS, *scaled.shape), random_state=0).fit_transform(scaled)


def neighbors(space: np.ndarray) -> np.ndarray:
    """Each cell's nearest others, (n, NEIGHBORS)."""
    from sklearn.neighbors import NearestNeighbors

    return NearestNeighbors(n_neighbors=NEIGHBORS).fit(space).kneighbors(return_distance=False)


def leiden(nearest: np.ndarray) -> list[int]:
    """Clusters of the graph of nearest neighbors."""
    import random

    import igraph

    igraph.set_random_number_generator(random.Random(0))
    edges = np.column_stack([np.repeat(np.arange(len(nearest)), NEIGHBORS), nearest.ravel()])
    network = igraph.Graph(n=len(nearest), edges=edges).simplify()
    return network.community_leiden(objective_function="modularity", n_iterations=5).membership


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--pairs", type=lambda text: text.split(","), help="default: all")
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    rows = []
    for pair in runs.pairs(options.pairs):
        chain = runs.Chain(pair, options.threads)
        for variant in (one for one in STUDIES["parts"] if one.name in NAMES):
            folder = Path(chain.scores_of(variant, [])).parent
            truth = Truth(SampleInputs(chain.inputs))
            file = PredictionsFile(folder / "predictions" / "spatialimpute.h5ad")
            found = pd.DataFrame([of_fold(truth.of(fold), file.read(fold).mean) for fold in truth.folds]).mean()
            label = {"all": "with graph"}.get(variant.name, variant.name)
            rows.append({"pair": pair.name, "": label} | {name: short(value) for name, value in found.items()})
        print(markdown(pd.DataFrame(rows[-2:])), flush=True)
    (runs.CACHE / "structure.md").write_text(markdown(pd.DataFrame(rows)))


if __name__ == "__main__":
    main()
