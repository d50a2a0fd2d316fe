"""How much memory this process may use, so that a file that claims more is refused before anything is allocated."""

import os
from pathlib import Path

GROUPS, GROUP_ROOT = Path("/proc/self/cgroup"), Path("/sys/fs/cgroup")
_LIMITS = (("memory.max", ""), ("memory.limit_in_bytes", "memory"))


def available_memory() -> int | None:
    """Bytes of this machine, or of the control group that a container or a scheduler set; None where unknown."""
    limits = [limit for limit in (_physical(), *_group_limits()) if limit is not None]
    return min(limits, default=None)


def require_memory(n_bytes: int, what: str) -> None:
    """Raise MemoryError, which is tried again with more memory, where `what` cannot fit."""
    limit = available_memory()
    if limit is not None and n_bytes > limit:
        raise MemoryError(f"{what} takes {n_bytes / 1e9:,.1f} GB, and this step has {limit / 1e9:,.1f} GB")


def _physical() -> int | None:
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError):
        return None


def _group_limits() -> list[int]:
    """Limits of this process's control group and of those around it (versions 1 and 2)."""
    found = []
    lines = GROUPS.read_text().splitlines() if GROUPS.exists() else []
    for line in lines:
        _, controllers, place = line.split(":", 2)
        for name, controller in _LIMITS:
            if controller in controllers.split(","):
                group = GROUP_ROOT / controller / place.lstrip("/")
                for folder in (group, *group.parents):
                    found += _limit(folder / name)
    return found


def _limit(path: Path) -> list[int]:
    try:
        text = path.read_text().strip()
    except OSError:
        return []
    return [int(text)] if text.isdecimal() else []
