"""The graph of a sample's cells for each fold, from the view that methods have of it."""

from spatialimpute.files.inputs import SampleInputs
from spatialimpute.folds import fold_of, scored_cells
from spatialimpute.graph import CellGraph, cell_graph
from spatialimpute.methods.base import SpatialView


class FoldGraphs:
    """Graphs by fold, each made when it is first asked for; they hold the scored cells and those around them."""

    def __init__(self, inputs: SampleInputs):
        self._gene_sets, self._spatial, self._panel_only = inputs.gene_sets, inputs.spatial(), inputs.panel_only()
        self._made: dict[str, CellGraph] = {}

    def of(self, fold: str) -> CellGraph:
        """The graph of one fold's cells; nothing of a held-out gene is in what it is made from."""
        if fold not in self._made:
            view, known = SpatialView.of(self._spatial, fold_of(self._gene_sets, fold), self._panel_only)
            n_cells = len(self._spatial.cells)
            scored = scored_cells(self._gene_sets, n_cells)
            self._made[fold] = cell_graph(view, known, n_cells, scored, wanted=scored)
        return self._made[fold]
