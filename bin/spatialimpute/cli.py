"""What every step's command line shares: logging, thread counts, and errors turned into exit codes."""

import logging
import os
import sys

import click

from spatialimpute import __version__
from spatialimpute.errors import OUT_OF_MEMORY_EXIT_CODE, SpatialImputeError


def run(command: click.Command) -> None:
    """Run a step's click command and exit with the code its outcome deserves.

    0 success, 2 wrong usage (click), 65 input error, 70 non-finite training, 137 out of memory;
    anything else is a bug and leaves a traceback with exit code 1.
    """
    logging.basicConfig(
        level=logging.INFO,
        stream=sys.stderr,
        format="%(asctime)s %(levelname)s %(message)s",
        datefmt="%H:%M:%S",
    )
    logging.captureWarnings(True)
    command = click.version_option(__version__, message="%(version)s")(command)
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
        click.echo(
            f"ERROR: the Python package {error.name!r} is missing; run with -profile local after `make setup`, or in "
            "an environment that has the packages of containers/local/requirements.lock.",
            err=True,
        )
        sys.exit(1)
    except Exception as error:
        if not is_out_of_memory(error):
            raise
        click.echo(f"ERROR: out of memory: {error}. Give this step more memory and run again.", err=True)
        sys.exit(OUT_OF_MEMORY_EXIT_CODE)


def is_out_of_memory(error: BaseException) -> bool:
    """Whether the error is Python's, numpy's or torch's (host or CUDA) way to say that memory ran out."""
    return (
        isinstance(error, MemoryError)
        or type(error).__name__ == "OutOfMemoryError"
        or (isinstance(error, RuntimeError) and "not enough memory" in str(error))
    )


def set_threads(threads: int) -> None:
    """Limit the numerical libraries to `threads` threads; call before numpy or torch are imported."""
    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS"):
        os.environ[name] = str(threads)
