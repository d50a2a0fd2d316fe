"""Errors whose message is written for the user; each class fixes the exit code of the step that meets it."""

import re


class SpatialImputeError(Exception):
    """Base of all errors that are reported without a traceback."""

    exit_code = 1

    def __str__(self) -> str:
        """The message, harmless to a terminal whatever names a file brings into it."""
        text = re.sub(r"[^\n\t\x20-\x7e\xa0-\ud7ff\ue000-\U0010ffff]", "?", super().__str__())
        return re.sub(r"\S{1000,}", lambda word: f"{word[0][:200]}...", text)


class InputError(SpatialImputeError):
    """Something in the user's files, sheet or parameters has to be fixed; trying again cannot help."""

    exit_code = 65


class DamagedError(SpatialImputeError):
    """A file that an earlier step wrote is not what it wrote."""

    exit_code = 74


class TerminatedError(SpatialImputeError):
    """The scheduler asked the step to end (SIGTERM, 128 + 15), and what can be continued is saved."""

    exit_code = 143


class NonFiniteError(SpatialImputeError):
    """Training diverged although the learning rate was lowered."""

    exit_code = 70


class MethodError(SpatialImputeError):
    """A method of another environment is absent or failed; the sample goes on without it."""

    exit_code = 69


#: What Nextflow's retry rule takes for "killed over its memory" (128 + SIGKILL).
OUT_OF_MEMORY_EXIT_CODE = 137

#: A disk or a quota is used up: trying again cannot help before somebody made room.
DISK_FULL_EXIT_CODE = 73
