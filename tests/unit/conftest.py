"""One thread for every test of the model: small tensors gain nothing from more, and bits do not depend on them."""

import pytest


@pytest.fixture(autouse=True)
def _one_thread():
    import torch

    torch.set_num_threads(1)  # before each test, since numba, which scanpy uses, sets it anew
