"""How the final models' draws become one estimate: factors, what other methods learned, the graph; fixed once."""

from collections.abc import Sequence

import numpy as np

from spatialimpute.ensemble import Blend, Recipe, fit_blend
from spatialimpute.files.blend import Learned
from spatialimpute.files.counts import Counts
from spatialimpute.files.gene_sets import GeneSets
from spatialimpute.folds import scale_cells
from spatialimpute.methods.base import SpatialView
from spatialimpute.methods.gimvi.posterior import mean_frequencies
from spatialimpute.methods.gimvi.stacks import TrainedStack
from spatialimpute.methods.registry import find_method


def final_blend(
    stacks: Sequence[TrainedStack],
    spatial: Counts,
    view: SpatialView,
    known: np.ndarray,
    references: Sequence[Counts],
    gene_sets: GeneSets,
    recipe: Recipe,
    device="cpu",
) -> tuple[Blend, Learned]:
    """The blend of the targets, and what each other method in it learned from the spatial cells.

    Parameters
    ----------
    view, known : of the fold that holds out nothing, as :meth:`SpatialView.of` gives them
    recipe : the weights chosen
    """
    cells = scale_cells(gene_sets, len(spatial.cells))
    member_means = mean_frequencies(stacks, spatial.take(cells), gene_sets, gene_sets.targets, device)
    on_scale = np.flatnonzero(np.isin(known, cells))
    learned, means = {}, {}
    for name in (name for name, weight in recipe.weights.items() if weight > 0):
        method = find_method(name)()
        method.prepare(references)
        learned[name] = method.learn(view)
        method.restore(learned[name], view.genes)
        means[name] = method.mean_frequency(view.counts[on_scale], gene_sets.targets)
    return fit_blend(member_means, means, recipe), learned
