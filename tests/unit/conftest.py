"""One thread for every test of the model: small tensors gain nothing from more, and bits do not depend on them."""

import pytest


@pytest.fixture(autouse=True, scope="session")
def _one_thread():
    import torch

    torch.set_num_threads(1)
