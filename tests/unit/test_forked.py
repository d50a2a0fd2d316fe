"""Forked workers: results in order, also after the parent has used threads; errors and killed workers come through."""

import multiprocessing
import os
import signal
import time

import pytest
import torch
from spatialimpute import forked
from spatialimpute.errors import NonFiniteError


@pytest.fixture
def threads():
    """A parent whose OpenMP threads are running, as a fork must not need them."""
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    torch.randn(2000, 2000).exp().sum()
    yield
    torch.set_num_threads(before)


@pytest.mark.timeout(60)
def test_results_in_order_whatever_the_parent_did(threads):
    def work(seed):
        x = torch.randn(1000, 1000, generator=torch.Generator().manual_seed(seed))
        return (x @ x).exp().sum(), torch.repeat_interleave(torch.full((100_000,), 3)).sum()

    for alone, forked_result in zip([work(i) for i in range(5)], forked.run(work, range(5), 2), strict=True):
        torch.testing.assert_close(forked_result, alone)


@pytest.mark.timeout(60)
def test_errors_come_through():
    def fail(item):
        raise NonFiniteError(f"member {item}")

    with pytest.raises(NonFiniteError, match="member 0"):
        forked.run(fail, [0, 1], 2)


@pytest.mark.timeout(60)
def test_a_killed_worker_is_out_of_memory():
    with pytest.raises(MemoryError):
        forked.run(lambda _item: os.kill(os.getpid(), signal.SIGKILL), [0, 1], 2)


@pytest.mark.timeout(60)
def test_workers_do_not_outlive_a_parent_that_is_killed(tmp_path):
    def work(item):
        for beat in range(1000):
            (tmp_path / str(item)).write_text(str(beat))
            time.sleep(0.05)

    def beats():
        return [path.read_text() for path in sorted(tmp_path.iterdir())]

    parent = multiprocessing.get_context("fork").Process(target=forked.run, args=(work, [0, 1], 2))
    parent.start()
    while len(beats()) < 2:
        time.sleep(0.05)
    parent.kill()
    parent.join()
    last = []
    while last != (last := beats()):
        time.sleep(1)
    assert max(map(int, last)) < 900  # they were ended, not done
