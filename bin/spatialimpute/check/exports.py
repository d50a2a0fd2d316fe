"""The parameter `export` against the samples and this machine, before anything heavy starts."""

import shutil
from pathlib import Path

from spatialimpute.errors import InputError
from spatialimpute.sources import open_source
from spatialimpute.sources.xenium import Xenium

#: The Python of the environment that exports run in.
PYTHON = "export-python"


def check_environment(params: dict) -> list[str]:
    """The environment of exports, where this machine is to run every step itself and has none."""
    if not params.get("export") or shutil.which(PYTHON):
        return []
    return [
        f"parameter 'export': exports have an environment of their own, and there is no {PYTHON} here; run "
        "make setup METHODS=export, or use containers"
    ]


def check_explorer(params: dict, samples: list[dict]) -> list[str]:
    """Samples that Xenium Explorer cannot show, where it is asked for; a problem if there is no other.

    Parameters
    ----------
    samples : as :attr:`spatialimpute.check.sheet.Sheet.samples`; each gets `explorer`, whether it may be exported for
        Xenium Explorer, and one that may not gets a warning
    """
    if "explorer" not in (params.get("export") or ""):
        return []
    kinds = {sample["sample"]: _other_kind(sample["spatial"]) for sample in samples if sample["spatial"]}
    for sample in samples:
        kind = kinds.get(sample["sample"])
        sample["explorer"] = kind is None
        if kind is not None:
            text = f"no export for Xenium Explorer, since this is no Xenium folder ({kind})"
            sample["warnings"] = [*sample["warnings"], f"sample {sample['sample']!r}: {text}"]
    if not kinds or None in kinds.values():
        return []
    name, kind = next(iter(kinds.items()))
    return [
        "parameter 'export': explorer is for samples that are Xenium folders, and none of this sheet is (sample "
        f"{name!r}: {kind}); leave it out, or name the instrument's folder in the sheet"
    ]


def _other_kind(spatial: list[str]) -> str | None:
    """What a sample's files are if they are no Xenium folder; None where they are one, or cannot be looked at."""
    if "://" in spatial[0]:
        return None
    try:
        source = open_source(Path(spatial[0]))
    except InputError:  # which the check of the sheet says
        return None
    return None if isinstance(source, Xenium) else source.kind
