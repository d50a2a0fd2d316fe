"""Models that are trained on references alone, and so serve every sample of a panel (`train_on` reference).

Of a sample they need no more than how its panel is standardized; it is encoded and decoded with the batch
normalization statistics of the first reference.
"""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import torch

from spatialimpute.files.counts import Counts
from spatialimpute.files.gene_sets import GeneSets
from spatialimpute.folds import in_use_mask
from spatialimpute.methods.gimvi.data import Member, batch_codes
from spatialimpute.methods.gimvi.model import GimVI
from spatialimpute.methods.gimvi.stacks import TrainedStack
from spatialimpute.methods.gimvi.views import PanelCounts, panel_moments


def members_where(stacks: list[TrainedStack], wanted: Callable[[Member], bool]) -> list[TrainedStack]:
    """The stacks with those members alone that are wanted; stacks of none are left out."""
    found = []
    for stack in stacks:
        which = [m for m, member in enumerate(stack.members) if wanted(member)]
        if which:
            weights = {name: value[which] for name, value in stack.model.state_dict().items()}
            members = [stack.members[m] for m in which]
            history = stack.history[stack.history["member"].isin(which)]
            history = history.assign(member=np.searchsorted(which, history["member"]))
            found.append(TrainedStack(stack.arch, members, GimVI.from_weights(stack.arch, weights), history))
    return found


def fit_to_sample(stack: TrainedStack, spatial: Counts, gene_sets: GeneSets) -> TrainedStack:
    """The stack with the standardization of a sample's spatial cells, per batch, behind that of the references'.

    Cells are normalized to the panel total at which the models were trained. Nothing of a held-out gene enters the
    statistics of its fold.
    """
    batch = batch_codes(spatial)
    panel = PanelCounts("spatial", spatial.select(gene_sets.shared), batch, int(batch.max(initial=0)) + 1)
    depth = stack.model.encoder.depth.squeeze(1).tolist()
    means, scales = [], []
    for member, at in zip(stack.members, depth, strict=True):
        in_use = in_use_mask(gene_sets, member.fold).astype(np.float32)
        mean, sd = panel_moments(panel, in_use, panel.X @ in_use, at)
        means.append(mean)
        scales.append(in_use / sd)
    weights = dict(stack.model.state_dict())
    for name, values in (("encoder.input_mean", means), ("encoder.input_scale", scales)):
        weights[name] = torch.cat([weights[name], torch.tensor(np.stack(values), dtype=torch.float32)], dim=1)
    arch = replace(stack.arch, n_sample_batches=panel.n_batches)
    return replace(stack, arch=arch, model=GimVI.from_weights(arch, weights))
