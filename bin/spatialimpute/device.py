"""Which device a step computes on."""

import torch

from spatialimpute.errors import InputError


def choose(accelerator: str, threads: int) -> torch.device:
    """The device for `auto`, `cpu` or `gpu`; limits torch to `threads` threads.

    Raises
    ------
    InputError
        A GPU is asked for where none is visible.
    """
    torch.set_num_threads(threads)
    if accelerator == "gpu" and not torch.cuda.is_available():
        raise InputError(
            "accelerator 'gpu' was asked for, but no CUDA device is visible to this task. Use --accelerator auto or "
            "cpu, or see that the task gets a GPU (--gpu_cluster_options, container flags)."
        )
    if accelerator != "cpu" and torch.cuda.is_available():
        return torch.device("cuda")
    return torch.device("cpu")
