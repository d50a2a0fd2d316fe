"""Stacks: how members are put together so that training ends soonest, and what comes out of training one."""

import heapq
import math
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch

from spatialimpute.methods.gimvi.architecture import Architecture
from spatialimpute.methods.gimvi.data import Member, TrainingData
from spatialimpute.methods.gimvi.model import GimVI

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
    discriminator accuracy, learning rate. A member that was stopped early has no rows from then on.
    """

    arch: Architecture
    members: list[Member]
    model: GimVI
    history: pd.DataFrame


def split(data: TrainingData, members: list[Member], device: torch.device, workers: int) -> list[list[Member]]:
    """Members in stacks of one architecture that fit the device, in the sizes with which the workers end first.

    The longest stack comes first: a worker that is free takes the next, and the last ones even out.
    """
    limit = CPU_STACK_ELEMENTS if device.type == "cpu" else GPU_STACK_ELEMENTS
    fitting = max(1, limit // (sum(len(spec.genes) for spec in data.specs) * data.settings.batch_size))
    groups: dict[tuple, list[Member]] = {}
    for member in members:
        groups.setdefault((member.decoder_hidden, member.kappa > 0), []).append(member)
    splits = [_parts(groups.values(), size) for size in range(min(fitting, len(members)), 0, -1)]
    return min(splits, key=lambda stacks: duration(stacks, workers))


def _parts(groups: Iterable[list[Member]], size: int) -> list[list[Member]]:
    """Each group in equal parts of at most `size` members; the costliest first."""
    stacks = []
    for group in groups:
        parts = np.array_split(np.arange(len(group)), math.ceil(len(group) / size))
        stacks += [[group[i] for i in part] for part in parts]
    return sorted(stacks, key=cost, reverse=True)


def cost(stack: list[Member]) -> float:
    """Time of a stack's step relative to that of one more linear member."""
    larger = stack[0].decoder_hidden > 0 or stack[0].kappa > 0
    return (STACK_OVERHEAD + len(stack)) * (LARGER_MEMBER if larger else 1)


def duration(stacks: list[list[Member]], workers: int) -> float:
    """When the last of `workers` ends, each taking the next stack as soon as it is free."""
    ends = [0.0] * min(workers, len(stacks))
    for stack in stacks:
        heapq.heapreplace(ends, ends[0] + cost(stack))
    return max(ends)
