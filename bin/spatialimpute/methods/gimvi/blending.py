"""How the final models' draws become one estimate: factors and weights, fixed once for the whole sample."""

from collections.abc import Sequence

import numpy as np

from spatialimpute.ensemble import Blend, fit_blend
from spatialimpute.files.counts import Counts
from spatialimpute.files.gene_sets import GeneSets
from spatialimpute.folds import fold_of, scale_cells
from spatialimpute.methods.base import SpatialView
from spatialimpute.methods.gimvi.posterior import mean_frequencies
from spatialimpute.methods.gimvi.stacks import TrainedStack
from spatialimpute.methods.knn import KNN
from spatialimpute.normalize import ZScore


def final_blend(
    stacks: Sequence[TrainedStack],
    spatial: Counts,
    references: Sequence[Counts],
    gene_sets: GeneSets,
    knn_weight: float,
    device="cpu",
) -> tuple[Blend, ZScore | None]:
    """The blend of the targets, and the spatial cells' normalization for kNN, None where kNN has no weight."""
    cells = scale_cells(gene_sets, len(spatial.cells))
    some = spatial.take(cells)
    member_means = mean_frequencies(stacks, some, gene_sets, gene_sets.targets, device)
    if knn_weight == 0:
        return fit_blend(member_means, {}, {}), None
    view, known = SpatialView.of(spatial, fold_of(gene_sets, None))
    knn = KNN()
    knn.prepare(references)
    knn.fit(view)
    on_scale = np.flatnonzero(np.isin(known, cells))
    knn_means = knn.predict_blocks(on_scale, gene_sets.targets).mean(axis=0, dtype=np.float64)
    return fit_blend(member_means, {KNN.name: knn_means}, {KNN.name: knn_weight}), ZScore.fit(view.counts)
