"""Checkpoints, so that a killed training continues. Tensors as safetensors, the rest as JSON in its header."""

import json
import logging
import time
from pathlib import Path

import numpy as np
import torch
from safetensors import safe_open
from safetensors.torch import save_file

log = logging.getLogger(__name__)

#: Seconds between checkpoints: a short training writes none but its last.
INTERVAL = 30.0


class Checkpoints:
    """The checkpoint of one stack of models, in a folder that outlives the task.

    Parameters
    ----------
    folder : where to keep it
    key : digest of everything that the training depends on; another key is another checkpoint
    """

    def __init__(self, folder: str | Path, key: str):
        self.path = Path(folder) / f"{key}.safetensors"
        self._saved_at = time.monotonic()

    def save(self, snapshot: dict) -> None:
        """Write a snapshot, whole or not at all, unless the last was written less than INTERVAL seconds ago."""
        if time.monotonic() - self._saved_at < INTERVAL:
            return
        tensors: dict[str, torch.Tensor] = {}
        skeleton = _flatten(snapshot, "", tensors)
        self.path.parent.mkdir(parents=True, exist_ok=True)
        partial = self.path.with_suffix(".partial")
        save_file(tensors, partial, metadata={"skeleton": json.dumps(skeleton)})
        partial.replace(self.path)
        self._saved_at = time.monotonic()

    def load(self) -> dict | None:
        """The last snapshot, or None where there is none."""
        if not self.path.exists():
            return None
        with safe_open(self.path, framework="pt") as file:
            skeleton = json.loads(file.metadata()["skeleton"])
            snapshot = _restore(skeleton, file.get_tensor)
        log.info("continuing from %s", self.path)
        return snapshot

    def clear(self) -> None:
        """Remove the checkpoint, once its training's result is written."""
        self.path.unlink(missing_ok=True)


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
