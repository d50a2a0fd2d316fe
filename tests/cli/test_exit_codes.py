"""How a step ends: the exit code that decides whether it is tried again, and one line that says why."""

import errno
import os
import signal
import subprocess
import sys
from pathlib import Path

import click
import pytest
import torch
from spatialimpute import cli
from spatialimpute.errors import DamagedError, InputError, MethodError, NonFiniteError, TerminatedError
from spatialimpute.methods.gimvi import checkpoints, training

BIN = Path(cli.__file__).parents[1]
HDF5_IS_FULL = "Can't write data (file write failed: errno = 28, error message = 'No space left on device', buf = 0x1)"


def ending(error: BaseException, capsys) -> tuple[int, str]:
    """Exit code and stderr of a step that raises this."""

    @click.command()
    def step():
        raise error

    with pytest.MonkeyPatch.context() as patch, pytest.raises(SystemExit) as end:
        patch.setattr(sys, "argv", ["step"])
        patch.setattr(sys, "unraisablehook", sys.unraisablehook)
        cli.run(step)
    return end.value.code, capsys.readouterr().err


@pytest.mark.parametrize(
    ("error", "code", "expected"),
    [
        (InputError("row 2"), 65, "row 2"),
        (MethodError("tangram: absent"), 69, "tangram: absent"),
        (NonFiniteError("fold 0"), 70, "fold 0"),
        (OSError(errno.ENOSPC, "No space left on device"), 73, "MB are free"),
        (OSError(errno.EDQUOT, "Disk quota exceeded"), 73, "MB are free"),
        (OSError(errno.ENOSPC, HDF5_IS_FULL), 73, "MB are free"),
        (RuntimeError(HDF5_IS_FULL), 73, "MB are free"),
        (DamagedError("x.h5ad: damaged"), 74, "x.h5ad"),
        (MemoryError("a worker process was killed"), 137, "out of memory"),
        (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB."), 137, "2.00 GiB"),
        (RuntimeError("CUDA error: out of memory"), 137, "more memory"),
        (RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"), 137, "CUBLAS"),
        (RuntimeError("[enforce fail at alloc_cpu.cpp] DefaultCPUAllocator: not enough memory"), 137, "more memory"),
        (TerminatedError("asked to end"), 143, "asked to end"),
    ],
)
def test_every_kind_of_end_has_its_code_and_one_line(error, code, expected, capsys):
    found, stderr = ending(error, capsys)
    assert found == code
    assert stderr.startswith("ERROR: ") and stderr.count("\n") == 1 and expected in stderr


def test_a_bug_keeps_its_traceback():
    @click.command()
    def step():
        raise ValueError("a bug")

    with pytest.MonkeyPatch.context() as patch, pytest.raises(ValueError, match="a bug"):
        patch.setattr(sys, "argv", ["step"])
        patch.setattr(sys, "unraisablehook", sys.unraisablehook)
        cli.run(step)


def test_a_full_disk_names_the_folder_of_the_file(tmp_path, capsys):
    code, stderr = ending(OSError(errno.ENOSPC, "No space left on device", str(tmp_path / "genes.tsv")), capsys)
    assert code == 73 and f"in {tmp_path}:" in stderr
    code, stderr = ending(OSError(errno.ENOSPC, "No space left on device"), capsys)
    assert code == 73 and f"in {os.getcwd()}:" in stderr


def test_a_full_disk_is_one_line_though_hdf5_repeats_it(full_disk):
    """HDF5 fails again when it closes the file's objects, which Python reports on its own."""
    script = """
import anndata, click, numpy
from spatialimpute import cli
from spatialimpute.files.sealed import whole

@click.command()
def step():
    with whole("x.h5ad") as partial:
        anndata.AnnData(numpy.random.rand(500, 500)).write_h5ad(partial)

cli.run(step)
"""
    done = subprocess.run(
        [sys.executable, "-c", script],
        cwd=full_disk,
        env=os.environ | {"PYTHONPATH": str(BIN)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 73, done.stderr
    assert done.stderr.startswith("ERROR: no space left") and done.stderr.count("\n") == 1
    assert [path.name for path in full_disk.iterdir()] == ["filler"]


# ---- asked to end ----


def test_no_checkpoint_for_a_full_disk_and_the_training_goes_on(full_disk, caplog):
    kept = checkpoints.Checkpoints(full_disk, "key")
    kept.save({"weights": torch.zeros(1_000_000)})
    assert "no checkpoint" in caplog.text
    assert [path.name for path in full_disk.iterdir()] == ["filler"]


def test_a_damaged_checkpoint_is_not_used(tmp_path, caplog):
    kept = checkpoints.Checkpoints(tmp_path, "key")
    kept.save({"weights": torch.arange(1000)})
    content = bytearray(kept.path.read_bytes())
    content[-500] ^= 4
    kept.path.write_bytes(content)
    assert kept.load() is None and "damaged" in caplog.text


def test_a_training_that_is_asked_to_end_goes_on_from_the_very_step(
    prepared, copy_of, step, inputs, quick, monkeypatch
):
    folder = copy_of(prepared)
    flags = [*inputs, "--seeds", 1, *quick]
    assert step(folder, "train", *flags).code == 0

    def contents():
        return {path.name: path.read_bytes() for path in (folder / "models").iterdir()}

    undisturbed = contents()
    update, steps = training.update, []

    def asked_to_end(state, *args, **kwargs):
        steps.append(state.step)
        update(state, *args, **kwargs)
        if len(steps) == 7:
            os.kill(os.getpid(), signal.SIGTERM)

    monkeypatch.setattr(training, "update", asked_to_end)
    ended = step(folder, "train", *flags, "--checkpoint-dir", "kept")
    assert ended.code == 143
    assert ended.stderr.splitlines()[-1].startswith("ERROR: asked to end (SIGTERM)")
    assert len(list((folder / "kept").iterdir())) == 1
    assert step(folder, "train", *flags, "--checkpoint-dir", "kept").code == 0
    assert steps == list(range(20))
    assert contents() == undisturbed
    assert not list((folder / "kept").iterdir())
