"""`blend.safetensors` and `blend.json` in `models/`: how the final models' draws become one estimate."""

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path

import numpy as np
from safetensors.numpy import load, save

from spatialimpute.ensemble import Blend, Recipe
from spatialimpute.errors import InputError
from spatialimpute.files.models import gene_digest
from spatialimpute.files.sealed import check_digest, digest, read_json, whole, write_json

SCHEMA_VERSION = "2"
ARRAYS, FACTS = "blend.safetensors", "blend.json"
#: What each method that has a share learned from the sample's spatial cells: method -> arrays by name.
Learned = Mapping[str, Mapping[str, np.ndarray]]


def write_blend(folder: str | Path, blend: Blend, genes: list[str], learned: Learned) -> None:
    """Write both files.

    Parameters
    ----------
    genes : the targets, columns of the blend's factors
    learned : of each method that has a weight
    """
    folder = Path(folder)
    arrays = {"member_scales": blend.member_scales, **{f"scales/{name}": scale for name, scale in blend.scales.items()}}
    arrays |= {f"learned/{method}/{name}": array for method in blend.weights for name, array in learned[method].items()}
    with whole(folder / ARRAYS) as partial:
        partial.write_bytes(save({name: np.asarray(array, order="C") for name, array in arrays.items()}))
    description = {
        "schema_version": SCHEMA_VERSION,
        "gene_digest": gene_digest(genes),
        "recipe": asdict(blend.recipe),
        "digest": digest(folder / ARRAYS),
    }
    write_json(folder / FACTS, description)


def read_blend(folder: str | Path, genes: list[str]) -> tuple[Blend, dict[str, dict[str, np.ndarray]]]:
    """Read what :func:`write_blend` took: the blend, and what each of its methods learned.

    Raises
    ------
    InputError
        Another schema version, or a blend of other genes.
    DamagedError
        The files are not what was written.
    """
    folder = Path(folder)
    description = read_json(folder / FACTS)
    if description.get("schema_version") != SCHEMA_VERSION:
        raise InputError(
            f"{folder / FACTS}: expected a blend of schema version {SCHEMA_VERSION}, "
            f"found {description.get('schema_version')}; train again"
        )
    if description["gene_digest"] != gene_digest(genes):
        raise InputError(f"{folder / FACTS}: this blend is of other genes than the gene sets' targets; train again")
    check_digest(folder / ARRAYS, description["digest"])
    arrays = load((folder / ARRAYS).read_bytes())
    recipe = Recipe(**description["recipe"])
    learned: dict[str, dict[str, np.ndarray]] = {method: {} for method in recipe.weights}
    for key, array in arrays.items():
        if key.startswith("learned/"):
            _, method, name = key.split("/")
            learned[method][name] = array
    return Blend(arrays["member_scales"], recipe, {name: arrays[f"scales/{name}"] for name in learned}), learned
