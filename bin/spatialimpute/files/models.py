"""`models/`: trained stacks on disk, without pickle: weights as safetensors, everything else as JSON and TSV."""

import hashlib
from pathlib import Path

import numpy as np
import pandas as pd
from safetensors.numpy import load_file, save

from spatialimpute.errors import InputError
from spatialimpute.files.sealed import check_digest, digest, read_json, whole, write_json

SCHEMA_VERSION = "2"


def gene_digest(genes: list[str]) -> str:
    """`sha256:` and the digest of an ordered gene list."""
    return "sha256:" + hashlib.sha256("\n".join(genes).encode()).hexdigest()


def write_models(
    folder: str | Path, stacks: list[dict], genes: list[str], settings: dict, history: pd.DataFrame
) -> None:
    """Write `weights.safetensors`, `models.json`, `history.tsv`.

    Parameters
    ----------
    stacks : each {"architecture": JSON-ready, "members": [{fold, kappa, place, …}], "weights": {name: array}}
    genes : the genes modeled, in order
    settings : hyperparameters, JSON-ready
    history : a row per member and record
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    weights = {
        f"{i}/{name}": np.ascontiguousarray(value)
        for i, stack in enumerate(stacks)
        for name, value in stack["weights"].items()
    }
    with whole(folder / "weights.safetensors") as partial:
        partial.write_bytes(save(weights))  # save_file would make it readable by its owner alone
    history.to_csv(folder / "history.tsv", sep="\t", index=False, float_format="%.6g")
    description = {
        "schema_version": SCHEMA_VERSION,
        "gene_digest": gene_digest(genes),
        "settings": settings,
        "digests": {name: digest(folder / name) for name in ("weights.safetensors", "history.tsv")},
        "stacks": [{key: stack[key] for key in ("architecture", "members")} for stack in stacks],
    }
    write_json(folder / "models.json", description)


def read_models(folder: str | Path, genes: list[str]) -> list[dict]:
    """Read stacks as :func:`write_models` took them.

    Raises
    ------
    InputError
        Another schema version, or models of other genes.
    DamagedError
        The files are not what was written.
    """
    folder = Path(folder)
    description = read_json(folder / "models.json")
    if description.get("schema_version") != SCHEMA_VERSION:
        raise InputError(
            f"{folder}: expected models of schema version {SCHEMA_VERSION}, found {description.get('schema_version')}"
        )
    if description["gene_digest"] != gene_digest(genes):
        raise InputError(f"{folder}: these models were trained on other genes than the panel holds; train them again")
    check_digest(folder / "weights.safetensors", description["digests"]["weights.safetensors"])
    weights = load_file(folder / "weights.safetensors")
    for i, stack in enumerate(description["stacks"]):
        prefix = f"{i}/"
        stack["weights"] = {name[len(prefix) :]: v for name, v in weights.items() if name.startswith(prefix)}
    return description["stacks"]
