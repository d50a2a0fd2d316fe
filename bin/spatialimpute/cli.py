"""What every step's command line shares: logging, thread counts, and errors turned into exit codes."""

import atexit
import errno
import gc
import logging
import os
import shutil
import sys
from pathlib import Path

import click

from spatialimpute import __version__
from spatialimpute.errors import DISK_FULL_EXIT_CODE, OUT_OF_MEMORY_EXIT_CODE, InputError, SpatialImputeError

#: A folder that is there, as a type of options.
FOLDER = click.Path(exists=True, file_okay=False)
#: How PyTorch's allocators, CUDA and its libraries say that memory ran out.
OUT_OF_MEMORY_SIGNS = ("not enough memory", "out of memory", "ALLOC_FAILED")


def run(command: click.Command, environment: str | None = None) -> None:
    """Run a step's click command and exit with the code its outcome deserves; `environment`: its own, if it has one.

    0 success, 2 wrong usage (click), 65 input error, 69 a method is absent or failed, 70 non-finite training, 73 disk
    full, 74 damaged file of an earlier step, 137 out of memory, 143 asked to end; anything else is a bug and leaves a
    traceback with exit code 1.
    """
    logging.basicConfig(
        level=logging.INFO,
        stream=sys.stderr,
        format="%(asctime)s %(levelname)s %(message)s",
        datefmt="%H:%M:%S",
    )
    logging.captureWarnings(True)
    report_unraisable = sys.unraisablehook
    # HDF5 complains of a full disk once more for every object that it cannot flush.
    sys.unraisablehook = lambda found: None if is_disk_full(found.exc_value) else report_unraisable(found)
    command = click.version_option(__version__, message="%(version)s")(command)
    look_less_for_garbage()
    try:
        command.main(standalone_mode=False)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except SpatialImputeError as error:
        click.echo(f"ERROR: {error}", err=True)
        sys.exit(error.exit_code)
    except ModuleNotFoundError as error:
        if str(error.name).startswith("spatialimpute"):
            raise
        own = f" METHODS={environment}" if environment else ""
        lock = f"containers/{f'envs/{environment}' if environment else 'local'}/requirements.lock"
        click.echo(
            f"ERROR: the Python package {error.name!r} is missing; run with -profile local after `make setup{own}`, or "
            f"in an environment that has the packages of {lock}.",
            err=True,
        )
        sys.exit(1)
    except Exception as error:
        if is_disk_full(error):
            click.echo(f"ERROR: {disk_full_message(error)}", err=True)
            sys.exit(DISK_FULL_EXIT_CODE)
        if is_out_of_memory(error):
            click.echo(f"ERROR: out of memory: {error}. Give this step more memory and run again.", err=True)
            sys.exit(OUT_OF_MEMORY_EXIT_CODE)
        raise


def is_out_of_memory(error: BaseException) -> bool:
    """Whether the error is Python's, numpy's or torch's (host or CUDA) way to say that memory ran out."""
    return (
        isinstance(error, MemoryError)
        or type(error).__name__ == "OutOfMemoryError"
        or (isinstance(error, RuntimeError) and any(sign in str(error) for sign in OUT_OF_MEMORY_SIGNS))
    )


def is_disk_full(error: BaseException) -> bool:
    """Whether the error says that a disk or a quota is used up; HDF5 says it as RuntimeError too."""
    codes = (errno.ENOSPC, errno.EDQUOT)
    return (isinstance(error, OSError) and error.errno in codes) or (
        isinstance(error, RuntimeError) and any(f"errno = {code}," in str(error) for code in codes)
    )


def disk_full_message(error: BaseException) -> str:
    """Which folder has no space left, how much is free now that half-written files are removed, and what to do."""
    named = getattr(error, "filename", None)
    folder = Path(named).absolute().parent if named else Path.cwd()
    usage = shutil.disk_usage(folder)
    return (
        f"no space left, or a quota used up, in {folder}: {usage.free / 1e6:,.1f} of {usage.total / 1e6:,.1f} MB are "
        "free without the file that did not fit. Free some space and run again with -resume."
    )


def look_less_for_garbage() -> None:
    """Spare this process a third of its start and its end: Python's search for garbage among what it imported.

    A file that only a reference cycle holds is then not closed at the end; close what is written, as `with` does.
    """
    gc.set_threshold(10_000)
    atexit.register(gc.freeze)


def set_threads(threads: int) -> None:
    """Limit the numerical libraries to `threads` threads; call before numpy or torch are imported."""
    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS"):
        os.environ[name] = str(threads)


def _options(*options):
    """A decorator that adds click options, in this order."""

    def add(command):
        for option in reversed(options):
            command = option(command)
        return command

    return add


#: Methods that may take a share of the estimate.
BLENDABLE = ("knn", "linear", "celltype")


class Names(click.ParamType):
    """`knn,linear` as a tuple; `none` is an empty one."""

    name = "names"

    def convert(self, value, param, ctx):
        names = () if value == "none" else tuple(name.strip() for name in value.split(",") if name.strip())
        if unknown := [name for name in names if name not in BLENDABLE]:
            self.fail(f"{unknown[0]!r} may take no share; expected none, or some of {', '.join(BLENDABLE)}", param, ctx)
        return names


#: What the estimate is made of; what is not given follows the preset.
recipe_options = _options(
    click.option("--blend", type=Names(), help="Methods that may take a share, separated by commas, or `none`."),
    click.option("--graph", type=bool, help="Whether estimates are averaged along a graph of the cells."),
)


def require_pretrained(settings, pretrained: str | None) -> None:
    """Raise InputError unless there are pretrained models just where nothing is to be trained."""
    if (settings.train_on == "reference") != bool(pretrained):
        raise InputError("--train-on reference and --pretrained go together: the models that pretrain.py made of it")


LIKELIHOOD = click.Choice(["auto", "poisson", "nb", "zinb"])

#: gimVI's hyperparameters; what is not given follows the preset.
gimvi_options = _options(
    click.option("--preset", default="default", show_default=True),
    click.option("--train-on", type=click.Choice(["both", "reference"])),
    click.option("--encoder", type=click.Choice(["panel", "separate"])),
    click.option("--seeds", type=click.IntRange(min=1), help="Members of the ensemble."),
    click.option("--n-latent", type=click.IntRange(min=1)),
    click.option("--n-hidden", type=click.IntRange(min=1)),
    click.option("--max-steps", type=click.IntRange(min=1)),
    click.option("--batch-size", type=click.IntRange(min=2)),
    click.option("--learning-rate", type=click.FloatRange(min=0, min_open=True)),
    click.option("--spatial-likelihood", type=LIKELIHOOD),
    click.option("--reference-likelihood", type=LIKELIHOOD),
    click.option("--other-gene-weight", type=click.FloatRange(0, 1, min_open=True), help="1 for no weight."),
    click.option("--max-spatial-weight", type=click.FloatRange(min=1), help="1 for no weight."),
    click.option("--second-input", type=bool, help="Whether spatial cells have a second block of inputs."),
    click.option("--zero-inflated-mean", type=bool, help="Whether to impute a ZINB's mean, (1 - dropout) rho."),
)

#: What it is computed with and where.
compute_options = _options(
    click.option("--seed", default=0, show_default=True),
    click.option("--accelerator", default="auto", type=click.Choice(["auto", "cpu", "gpu"])),
    click.option("--threads", default=1, show_default=True, type=click.IntRange(min=1)),
    click.option("--checkpoint-dir", type=click.Path(file_okay=False), help="Where a killed training continues from."),
)
