"""SpaGE (Abdelaal et al. 2020, Nucleic Acids Research, doi:10.1093/nar/gkaa740), written from the paper.

Both sides: depth-normalized, log1p, z-scored per gene. Principal components of each on the shared genes; principal
vectors from the singular value decomposition of the components' cosine similarities (PRECISE, Mourragui et al.
2019); those with a similarity above 0.3 are kept and both sides are projected on the reference's. A spatial cell's
prediction is the mean over its 50 nearest reference cells by cosine, weighted as in the paper. As there, the
reference's log-normalized expression is averaged.
"""

import warnings

import common

OPTIONS = common.arguments(
    __doc__.splitlines()[0],
    neighbors={"type": int, "default": 50},
    **{"n-vectors": {"type": int, "default": 0, "help": "0: 50, or as many as 9 in 10 of the panel genes"}},
)

import numpy as np  # noqa: E402
from scipy.stats import zscore  # noqa: E402
from sklearn.decomposition import PCA  # noqa: E402
from sklearn.neighbors import NearestNeighbors  # noqa: E402

MIN_SIMILARITY = 0.3


def log_normalized(counts: np.ndarray) -> np.ndarray:
    """log(1 + counts at the median depth); depth over the given columns."""
    totals = counts.sum(axis=1, keepdims=True)
    return np.log1p(counts / np.maximum(totals, 1) * np.median(totals))


def principal_vectors(reference: np.ndarray, spatial: np.ndarray, n_vectors: int, seed: int) -> np.ndarray:
    """The reference's principal vectors, genes x vectors, of similarity above MIN_SIMILARITY to the spatial side's."""
    components = [
        PCA(min(n_vectors, *data.shape), random_state=seed).fit(data).components_ for data in (reference, spatial)
    ]
    rotation, similarities, _ = np.linalg.svd(components[0] @ components[1].T)
    return components[0].T @ rotation[:, : np.count_nonzero(similarities > MIN_SIMILARITY)]


def predict(fold: common.Fold, n_vectors: int, n_neighbors: int, seed: int) -> np.ndarray:
    reference_expression = log_normalized(fold.reference.X.toarray())
    panel = fold.reference.var_names.get_indexer(fold.panel)
    held_out = fold.reference.var_names.get_indexer(fold.held_out)
    reference = np.nan_to_num(zscore(reference_expression[:, panel]))
    spatial = np.nan_to_num(zscore(log_normalized(fold.spatial.X.toarray())))
    vectors = principal_vectors(reference, spatial, n_vectors, seed)
    search = NearestNeighbors(n_neighbors=n_neighbors, metric="cosine", algorithm="brute")
    distances, neighbors = search.fit(reference @ vectors).kneighbors(spatial @ vectors)
    # A neighbor at a right angle or beyond has no say; the others weigh by their share of the summed distances.
    near = distances < 1
    distances = np.where(near, distances, 0)
    weights = np.where(near, 1 - distances / np.maximum(distances.sum(axis=1, keepdims=True), 1e-12), 0)
    weights /= np.maximum(weights.sum(axis=1, keepdims=True), 1e-12)
    expression = reference_expression[:, held_out]
    return np.einsum("ck,ckg->cg", weights, expression[neighbors])


def main():
    warnings.filterwarnings("ignore")
    fold = common.load_fold(OPTIONS)
    n_vectors = OPTIONS.n_vectors or min(50, int(0.9 * len(fold.panel)))
    clock = common.Clock()
    mean = predict(fold, n_vectors, OPTIONS.neighbors, OPTIONS.seed)
    common.write(OPTIONS, fold, mean, clock.read())


if __name__ == "__main__":
    main()
