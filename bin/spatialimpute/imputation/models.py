"""The final models, and how their draws become one estimate."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from spatialimpute.ensemble import Blend
from spatialimpute.files.blend import read_blend
from spatialimpute.files.counts import Counts
from spatialimpute.files.gene_sets import GeneSets
from spatialimpute.imputation.blocks import Posterior
from spatialimpute.methods.gimvi.saving import load
from spatialimpute.methods.gimvi.stacks import TrainedStack
from spatialimpute.methods.knn import KNN
from spatialimpute.normalize import ZScore


@dataclass(frozen=True)
class FinalModels:
    """What TRAIN wrote of the final models.

    Attributes
    ----------
    stacks : trained on all shared genes
    blend : of the targets
    knn_scale : the sample's normalization for kNN; None where kNN has no weight
    """

    stacks: list[TrainedStack]
    blend: Blend
    knn_scale: ZScore | None

    @classmethod
    def read(cls, folder: str | Path, gene_sets: GeneSets) -> "FinalModels":
        """Read `models/`; raises InputError where it is of other genes, DamagedError on damage."""
        blend, knn_scale = read_blend(folder, gene_sets.targets)
        return cls(load(folder, gene_sets), blend, knn_scale)

    @property
    def kappa(self) -> float:
        """The weight of the adversary, the same for all."""
        return self.stacks[0].members[0].kappa

    def posterior(
        self,
        spatial: Counts,
        first: int,
        references: Sequence[Counts],
        gene_sets: GeneSets,
        n_samples: int,
        seed: int,
        device: torch.device,
    ) -> Posterior:
        """Draws for spatial cells, the first of which is number `first` of the sample."""
        others = {}
        if self.knn_scale is not None:
            others[KNN.name] = self._neighbors(spatial, references, gene_sets)
        return Posterior(self.stacks, spatial, gene_sets, self.blend, others, n_samples, seed, device, first)

    def _neighbors(
        self, spatial: Counts, references: Sequence[Counts], gene_sets: GeneSets
    ) -> Callable[[np.ndarray], np.ndarray]:
        """kNN's frequencies of the targets by row of `spatial`."""
        knn, X, targets = KNN(), spatial.select(gene_sets.shared), gene_sets.targets
        knn.prepare(references)
        knn.fit_scale(self.knn_scale, gene_sets.shared)
        knn.estimate(X[:1], targets)  # what it computes once is there before threads ask for it at the same time
        return lambda rows: knn.estimate(X[rows], targets)
