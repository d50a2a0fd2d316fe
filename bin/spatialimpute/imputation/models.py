"""The final models, and how their draws become one estimate."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from spatialimpute.ensemble import Blend
from spatialimpute.files.blend import Learned, read_blend
from spatialimpute.files.counts import Counts
from spatialimpute.files.gene_sets import GeneSets
from spatialimpute.files.graph import read_graph
from spatialimpute.files.inputs import SampleInputs
from spatialimpute.graph import CellGraph
from spatialimpute.imputation.blocks import Posterior
from spatialimpute.imputation.nearby import Nearby
from spatialimpute.methods.base import Component
from spatialimpute.methods.gimvi.saving import load
from spatialimpute.methods.gimvi.stacks import TrainedStack
from spatialimpute.methods.registry import find_method

#: The graph's file among the models.
GRAPH = "graph.h5"


@dataclass(frozen=True)
class FinalModels:
    """What TRAIN wrote of the final models.

    Attributes
    ----------
    stacks : trained on all shared genes
    blend : of the targets
    learned : what each other method in the blend learned from the spatial cells
    graph : of the spatial cells; None where it has no share
    """

    stacks: list[TrainedStack]
    blend: Blend
    learned: Learned
    graph: CellGraph | None

    @classmethod
    def read(cls, folder: str | Path, gene_sets: GeneSets) -> "FinalModels":
        """Read `models/`; raises InputError where it is of other genes, DamagedError on damage."""
        blend, learned = read_blend(folder, gene_sets.targets)
        graph = read_graph(Path(folder) / GRAPH) if blend.recipe.own < 1 else None
        return cls(load(folder, gene_sets), blend, learned, graph)

    @property
    def kappa(self) -> float:
        """The weight of the adversary, the same for all."""
        return self.stacks[0].members[0].kappa

    def posterior(
        self,
        inputs: SampleInputs,
        spatial: Counts,
        first: int,
        references: Sequence[Counts],
        n_samples: int,
        seed: int,
        device: torch.device,
    ) -> Posterior:
        """Draws for spatial cells, the first of which is number `first` of the sample `inputs`."""
        gene_sets = inputs.gene_sets
        others = {name: self._restored(name, references, gene_sets) for name in self.blend.weights}
        nearby = None
        if self.graph is not None:
            anchors = inputs.spatial(self.graph.anchors)
            nearby = Nearby.of(self.stacks, self.blend, others, self.graph, anchors, gene_sets, seed, device)
        return Posterior(self.stacks, spatial, gene_sets, self.blend, others, n_samples, seed, device, first, nearby)

    def _restored(self, name: str, references: Sequence[Counts], gene_sets: GeneSets) -> Component:
        method = find_method(name)()
        method.prepare(references)
        method.restore(self.learned[name], gene_sets.shared)
        # What it computes once is there before threads ask for it at the same time.
        method.estimate(references[0].select(gene_sets.shared)[:1], gene_sets.targets)
        return method
