"""Trained stacks to and from `models/`."""

from dataclasses import asdict, replace
from pathlib import Path

import pandas as pd
import torch

from spatialimpute.files.gene_sets import GeneSets
from spatialimpute.files.models import read_models, write_models
from spatialimpute.files.tsv import read_tsv
from spatialimpute.methods.gimvi.architecture import Architecture, DatasetSpec
from spatialimpute.methods.gimvi.data import Member
from spatialimpute.methods.gimvi.model import GimVI
from spatialimpute.methods.gimvi.settings import Settings, as_dict
from spatialimpute.methods.gimvi.stacks import TrainedStack


def save(stacks: list[TrainedStack], folder: str | Path, gene_sets: GeneSets, settings: Settings) -> None:
    """Write trained stacks to `models/`."""
    described = [
        {
            "architecture": asdict(stack.arch),
            "members": [asdict(member) for member in stack.members],
            "weights": {name: value.cpu().numpy() for name, value in stack.model.state_dict().items()},
        }
        for stack in stacks
    ]
    history = pd.concat([stack.history.assign(stack=i) for i, stack in enumerate(stacks)], ignore_index=True)
    write_models(folder, described, gene_sets.genes, as_dict(settings), history)


def load(folder: str | Path, gene_sets: GeneSets) -> list[TrainedStack]:
    """Read what :func:`save` wrote, without the history.

    Raises
    ------
    InputError
        The models are of another schema version or of other genes.
    """
    return [_rebuild(**stack) for stack in read_models(folder, gene_sets.genes)]


def load_with_history(folder: str | Path, gene_sets: GeneSets) -> list[TrainedStack]:
    """As :func:`load`, with the history."""
    history = read_tsv(Path(folder) / "history.tsv", texts=("fold",))
    of_stack = {i: rows.drop(columns="stack") for i, rows in history.groupby("stack")}
    return [replace(stack, history=of_stack[i]) for i, stack in enumerate(load(folder, gene_sets))]


def _rebuild(architecture: dict, members: list[dict], weights: dict) -> TrainedStack:
    datasets = tuple(DatasetSpec(**{**spec, "genes": tuple(spec["genes"])}) for spec in architecture["datasets"])
    arch = Architecture(**{**architecture, "datasets": datasets})
    weights = {name: torch.from_numpy(value) for name, value in weights.items()}
    model = GimVI.from_weights(arch, weights)
    return TrainedStack(arch, [Member(**member) for member in members], model, pd.DataFrame())
