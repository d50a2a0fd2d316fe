"""Training of stacks of gimVI models. The loop is `_train_stack`; read it from top to bottom."""

import heapq
import logging
import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from tqdm import tqdm

from spatialimpute import forked
from spatialimpute.errors import NonFiniteError
from spatialimpute.files.gene_sets import GeneSets
from spatialimpute.files.models import read_models, write_models
from spatialimpute.methods.gimvi.architecture import Architecture, DatasetSpec
from spatialimpute.methods.gimvi.checkpoints import Checkpoints
from spatialimpute.methods.gimvi.data import DeviceData, Member, TrainingData
from spatialimpute.methods.gimvi.model import GimVI
from spatialimpute.methods.gimvi.settings import Settings, as_dict
from spatialimpute.methods.gimvi.state import TrainingState

log = logging.getLogger(__name__)

N_RECORDS = 25  # times that history is recorded and the held-out ELBO looked at
MAX_HALVINGS = 4  # of a member's learning rate, after its loss was not finite
#: Elements of the largest activation (members x datasets x batch x genes) up to which stacking pays on a CPU:
#: beyond it a stack falls out of the cache and is no faster than its members one by one.
CPU_STACK_ELEMENTS = 400_000
GPU_STACK_ELEMENTS = 200_000_000
#: Time of a step as measured on a CPU with 130 genes, in that of one more linear member: what each stack takes
#: besides, and what a member with a hidden layer or an adversary takes.
STACK_OVERHEAD, LARGER_MEMBER = 0.6, 1.25


@dataclass
class TrainedStack:
    """Members of one architecture, trained.

    `history` has a row per member and record: fold, kappa, place, step, epoch, loss terms per cell, held-out loss,
    discriminator accuracy, learning rate.
    """

    arch: Architecture
    members: list[Member]
    model: GimVI
    history: pd.DataFrame


def ensemble(settings: Settings, folds: Sequence[str | None], kappas: Sequence[float]) -> list[Member]:
    """The members to train: every place of the ensemble at the first kappa, and the first place at the others.

    Kappas are compared on the first place; the rest of the ensemble would add its cost and no information.
    """
    return [
        Member(fold, kappa, place, settings.decoder_hidden[place % len(settings.decoder_hidden)])
        for fold in folds
        for kappa in kappas
        for place in range(settings.seeds if kappa == kappas[0] else 1)
    ]


def train(
    data: TrainingData,
    members: list[Member],
    seed: int = 0,
    device: torch.device | str = "cpu",
    workers: int = 1,
    checkpoint: Callable[[list[Member]], Checkpoints] | None = None,
) -> list[TrainedStack]:
    """Train all members, in as few stacks as pays on the device; the first stack begins with the first member.

    Parameters
    ----------
    data : the sample's datasets
    members : the models to train
    seed : run-wide seed; a member's result depends on it and on the member alone
    device : torch device
    workers : stacks trained at the same time on a CPU, each by a process of one thread. Members are independent,
        so workers never wait for each other, as threads inside an operation do at its end.
    checkpoint : gives the checkpoint of a stack of members; None keeps none

    Raises
    ------
    NonFiniteError
        A member's loss stays infinite or NaN although its learning rate was halved repeatedly.
    """
    device = torch.device(device)
    workers = workers if device.type == "cpu" else 1
    for member in members:
        data.view(member.fold)  # before the fork, so that no worker computes it again

    def train_group(group: list[Member]) -> TrainedStack:
        return _train_stack(data, group, seed, device, None if checkpoint is None else checkpoint(group))

    stacks = forked.run(train_group, _split(data, members, device, workers), workers)
    return sorted(stacks, key=lambda stack: members.index(stack.members[0]))


def _split(data: TrainingData, members: list[Member], device: torch.device, workers: int) -> list[list[Member]]:
    """Members in stacks of one architecture that fit the device, in the sizes with which the workers end first.

    The longest stack comes first: a worker that is free takes the next, and the last ones even out.
    """
    limit = CPU_STACK_ELEMENTS if device.type == "cpu" else GPU_STACK_ELEMENTS
    fitting = max(1, limit // (sum(len(spec.genes) for spec in data.specs) * data.settings.batch_size))
    groups: dict[tuple, list[Member]] = {}
    for member in members:
        groups.setdefault((member.decoder_hidden, member.kappa > 0), []).append(member)
    splits = [_stacks(groups.values(), size) for size in range(min(fitting, len(members)), 0, -1)]
    return min(splits, key=lambda stacks: _duration(stacks, workers))


def _stacks(groups: Iterable[list[Member]], size: int) -> list[list[Member]]:
    """Each group in equal parts of at most `size` members; the costliest first."""
    stacks = []
    for group in groups:
        parts = np.array_split(np.arange(len(group)), math.ceil(len(group) / size))
        stacks += [[group[i] for i in part] for part in parts]
    return sorted(stacks, key=_cost, reverse=True)


def _cost(stack: list[Member]) -> float:
    """Time of a stack's step relative to that of one more linear member."""
    larger = stack[0].decoder_hidden > 0 or stack[0].kappa > 0
    return (STACK_OVERHEAD + len(stack)) * (LARGER_MEMBER if larger else 1)


def _duration(stacks: list[list[Member]], workers: int) -> float:
    """When the last of `workers` ends, each taking the next stack as soon as it is free."""
    ends = [0.0] * min(workers, len(stacks))
    for stack in stacks:
        heapq.heapreplace(ends, ends[0] + _cost(stack))
    return max(ends)


def n_steps(settings: Settings, n_cells: int) -> int:
    """Optimizer steps of a training: the epochs of the largest dataset, within the settings' bounds."""
    steps = max(settings.min_steps, settings.epochs * math.ceil(n_cells / settings.batch_size))
    return min(steps, settings.max_steps) if settings.max_steps else steps


def _train_stack(
    data: TrainingData, members: list[Member], seed: int, device: torch.device, checkpoint: Checkpoints | None
) -> TrainedStack:
    settings = data.settings
    steps = n_steps(settings, data.n_cells)
    state = TrainingState(data, members, seed, device)
    every = max(1, steps // N_RECORDS)
    if checkpoint is not None and (saved := checkpoint.load()) is not None:
        state.restore(saved)
    good = state.snapshot()
    device_data = DeviceData(data, members, steps, seed, device)
    log.info("training %d models for %d steps", len(members), steps)
    bar = tqdm(total=steps, initial=state.step, desc=f"train {len(members)} models", disable=None)

    while state.step < steps and not state.stopped.all():
        if checkpoint is not None and checkpoint.is_due() and state.is_finite():
            checkpoint.save(state.snapshot())
        minibatches = device_data.minibatches(state.model, [order[state.step] for order in device_data.schedule])
        state.update(
            minibatches,
            learning_rate=_learning_rate(settings, state.step, steps),
            kl_weight=settings.kl_weight * (state.step + 1) / steps,
        )
        state.step += 1
        bar.update()
        if state.step % every and state.step < steps:
            continue
        if not state.is_finite():
            _recover(state, good)
            bar.update(state.step - bar.n)
            continue
        state.record(device_data)
        good = state.snapshot()
    bar.close()
    if checkpoint is not None and checkpoint.is_due():
        checkpoint.save(state.snapshot())  # other stacks may still be in training when this one's task is killed
    state.take_best()
    history = pd.DataFrame(state.history)
    log.info("trained %d models for %d steps", len(members), state.step)
    return TrainedStack(state.model.arch, members, state.model.cpu().eval(), history)


def _learning_rate(settings: Settings, step: int, steps: int) -> float:
    decay = 0.5 * (1 + math.cos(math.pi * step / steps)) if settings.cosine else 1.0
    return settings.learning_rate * decay


def _recover(state: TrainingState, good: dict) -> None:
    """Go back to the last good state with half the learning rate for the members that failed.

    The others repeat their steps with the same draws, so their result is what it would be without the failure.
    """
    failed = ~state.finite_members()
    halvings = state.halvings + failed
    names = ", ".join(member.name for member, bad in zip(state.members, failed, strict=True) if bad)
    if (halvings > MAX_HALVINGS).any():
        raise NonFiniteError(
            f"training did not stay finite for {names}, although its learning rate was halved {MAX_HALVINGS} times. "
            "Look for extreme counts in the input, or lower --learning_rate."
        )
    log.warning("loss not finite for %s at step %d: halving its learning rate", names, state.step)
    state.restore(good)
    state.halvings = halvings


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


def _rebuild(architecture: dict, members: list[dict], weights: dict) -> TrainedStack:
    datasets = tuple(DatasetSpec(**{**spec, "genes": tuple(spec["genes"])}) for spec in architecture["datasets"])
    arch = Architecture(**{**architecture, "datasets": datasets})
    weights = {name: torch.from_numpy(value) for name, value in weights.items()}
    model = GimVI(arch, weights["encoder.in_use"])
    model.load_state_dict(weights)
    return TrainedStack(arch, [Member(**member) for member in members], model.eval(), pd.DataFrame())
