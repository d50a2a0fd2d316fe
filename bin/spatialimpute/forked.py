"""A function over a list by forked worker processes of one thread, which share the parent's data without a copy."""

import multiprocessing
import os
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from typing import TypeVar

import torch

Item, Result = TypeVar("Item"), TypeVar("Result")

# Set before the fork, so that neither the function nor what it refers to is ever pickled.
_function: Callable | None = None


def _initialize() -> None:
    # One thread: OpenMP's threads do not survive a fork, and waiting for them would never end.
    torch.set_num_threads(1)
    # A parent that is killed cannot end its workers, and they would go on and then wait for work forever.
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    multiprocessing.parent_process().join()
    os._exit(1)


def _call(item):
    return _function(item)


def run(function: Callable[[Item], Result], items: Sequence[Item], workers: int) -> list[Result]:
    """[function(item) for item in items], at most `workers` at a time; results come back pickled.

    Raises
    ------
    MemoryError
        A worker was killed, as the kernel does when memory runs out.
    """
    global _function
    workers = min(workers, len(items))
    if workers <= 1:
        return [function(item) for item in items]
    _function = function
    try:
        with ProcessPoolExecutor(
            workers,
            mp_context=multiprocessing.get_context("fork"),
            initializer=_initialize,
        ) as pool:
            return list(pool.map(_call, items))
    except BrokenProcessPool:
        raise MemoryError("a worker process was killed") from None
    finally:
        _function = None
