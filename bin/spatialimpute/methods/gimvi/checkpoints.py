"""Checkpoints, so that a killed training continues. Tensors as safetensors, the rest as JSON in one of them."""

import functools
import hashlib
import json
import logging
import multiprocessing
import os
import signal
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load, save

from spatialimpute.errors import DamagedError, TerminatedError
from spatialimpute.files.sealed import SEAL_LENGTH, check_seal, digest, sealed
from spatialimpute.methods.gimvi.settings import Settings, as_dict

log = logging.getLogger(__name__)

#: Seconds between checkpoints, and for every second that writing one takes: a short training writes none.
INTERVAL = 30.0

#: Of this package: another version of it continues nothing.
PACKAGE = Path(__file__).parents[2]

SKELETON = "skeleton"  # the tensor whose bytes are JSON

#: Whether this process was asked to end. No Event, whose lock a second signal would wait for within the first.
_ending = False


@contextmanager
def kept_on_termination() -> Iterator[None]:
    """Within it SIGTERM, as a scheduler sends it, makes trainings save their checkpoint and raise TerminatedError.

    Forked workers inherit this. A scheduler may signal the parent alone, so that it passes the signal on.
    """
    global _ending
    before = signal.signal(signal.SIGTERM, _end)
    try:
        yield
        _raise_if_ending()
    finally:
        signal.signal(signal.SIGTERM, before)
        _ending = False


def _end(_signal, _frame) -> None:
    global _ending
    _ending = True
    for worker in multiprocessing.active_children():
        worker.terminate()


def _raise_if_ending() -> None:
    if _ending:
        raise TerminatedError("asked to end (SIGTERM); tried again, the training continues from its checkpoint, if any")


def _why_unusable(folder: str | Path) -> str | None:
    """Make a local folder; gives what stands against keeping files there."""
    if "://" in str(folder):
        return "not a local folder"
    try:
        Path(folder).mkdir(parents=True, exist_ok=True)
    except OSError as error:
        return error.strerror
    return None if os.access(folder, os.W_OK) else "not writable"


@functools.cache  # one line for all stacks of a training
def _warn(folder: str | Path, reason: str) -> None:
    log.warning("no checkpoints in %s: %s. A training that is killed starts again from its first step", folder, reason)


class Checkpoints:
    """The checkpoint of one stack of models, in a folder that outlives the task.

    Where the folder is not local or cannot be made, the log says so and nothing is kept.

    Parameters
    ----------
    folder : where to keep it
    key : digest of everything that the training depends on; another key is another checkpoint
    """

    def __init__(self, folder: str | Path, key: str):
        self.path = Path(folder) / f"{key}.safetensors"
        if (reason := _why_unusable(folder)) is not None:
            _warn(folder, reason)
            self.path = None
        self._saved_at = time.monotonic()
        self._pause = INTERVAL

    def is_due(self) -> bool:
        """Whether the last is old enough for the next, or the process was asked to end."""
        return _ending or (self.path is not None and time.monotonic() - self._saved_at >= self._pause)

    def save(self, snapshot: dict) -> None:
        """Write a snapshot, whole or not at all.

        A full disk costs the checkpoint, not the training.

        Raises
        ------
        TerminatedError
            The process was asked to end.
        """
        started = time.monotonic()
        try:
            if self.path is not None:
                self._write(snapshot)
        except OSError as error:
            log.warning("no checkpoint: %s", error)
        self._saved_at = time.monotonic()
        self._pause = INTERVAL * max(1.0, self._saved_at - started)
        _raise_if_ending()

    def _write(self, snapshot: dict) -> None:
        tensors: dict[str, torch.Tensor] = {}
        skeleton = json.dumps(_flatten(snapshot, "", tensors))
        tensors[SKELETON] = torch.frombuffer(bytearray(skeleton.encode()), dtype=torch.uint8)
        with sealed(self.path) as partial:
            partial.write_bytes(save(tensors))

    def load(self) -> dict | None:
        """The last snapshot, or None where there is none that is whole; from here on time counts until the next."""
        self._saved_at = time.monotonic()
        if self.path is None or not self.path.exists():
            return None
        try:
            check_seal(self.path)
        except DamagedError:
            log.warning("%s is damaged: training from the start", self.path)
            return None
        tensors = load(self.path.read_bytes()[:-SEAL_LENGTH])
        skeleton = json.loads(tensors.pop(SKELETON).numpy().tobytes())
        snapshot = _restore(skeleton, tensors.get)
        log.info("continuing from %s", self.path)
        return snapshot

    def clear(self) -> None:
        """Remove the checkpoint, once its training's result is written."""
        if self.path is None:
            return
        for path in self.path.parent.glob(f"{self.path.name}*"):  # with what a killed process left
            path.unlink(missing_ok=True)


def checkpoints_of(folder: str | None, inputs: list[str], settings: Settings, seed: int, device: torch.device):
    """A function that gives the checkpoint of a stack of members; None where there is no folder to keep any in.

    Parameters
    ----------
    inputs : digests of everything that the training reads
    """
    if folder is None:
        return None
    facts = [inputs, as_dict(settings), seed, digest(PACKAGE, "*.py"), str(device)]

    def checkpoint(members: Sequence) -> Checkpoints:
        described = json.dumps([*facts, [asdict(member) for member in members]])
        return Checkpoints(folder, hashlib.sha256(described.encode()).hexdigest())

    return checkpoint


def _flatten(value, name: str, tensors: dict[str, torch.Tensor]):
    """The JSON-ready shape of `value`, whose tensors and arrays go to `tensors`."""
    if isinstance(value, torch.Tensor | np.ndarray):
        tensors[name] = torch.as_tensor(value).detach().cpu().contiguous().clone()
        return {"tensor": name, "array": isinstance(value, np.ndarray)}
    if isinstance(value, dict):
        return {"items": [[key, _flatten(v, f"{name}/{key}", tensors)] for key, v in value.items()]}
    if isinstance(value, list | tuple):
        return {"list": [_flatten(v, f"{name}/{i}", tensors) for i, v in enumerate(value)]}
    return {"value": value}


def _restore(skeleton: dict, tensor):
    if "tensor" in skeleton:
        restored = tensor(skeleton["tensor"])
        return restored.numpy() if skeleton["array"] else restored
    if "items" in skeleton:
        return {key: _restore(v, tensor) for key, v in skeleton["items"]}
    if "list" in skeleton:
        return [_restore(v, tensor) for v in skeleton["list"]]
    return skeleton["value"]
