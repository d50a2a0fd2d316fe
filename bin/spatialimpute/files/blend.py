"""`blend.safetensors` and `blend.json` in `models/`: how the final models' draws become one estimate."""

from pathlib import Path

import numpy as np
from safetensors.numpy import load, save

from spatialimpute.ensemble import Blend
from spatialimpute.errors import InputError
from spatialimpute.files.models import gene_digest
from spatialimpute.files.sealed import check_digest, digest, read_json, whole, write_json
from spatialimpute.normalize import ZScore

SCHEMA_VERSION = "1"
ARRAYS, FACTS = "blend.safetensors", "blend.json"


def write_blend(folder: str | Path, blend: Blend, genes: list[str], knn_scale: ZScore | None) -> None:
    """Write both files.

    Parameters
    ----------
    genes : the targets, columns of the blend's factors
    knn_scale : normalization of all the sample's spatial cells, by which kNN finds neighbors of some of them; None
        where kNN has no weight
    """
    folder = Path(folder)
    arrays = {"member_scales": blend.member_scales, **{f"scales/{name}": scale for name, scale in blend.scales.items()}}
    if knn_scale is not None:
        arrays |= {"knn/mean": knn_scale.mean, "knn/sd": knn_scale.sd}
    with whole(folder / ARRAYS) as partial:
        partial.write_bytes(save({name: np.ascontiguousarray(array) for name, array in arrays.items()}))
    description = {
        "schema_version": SCHEMA_VERSION,
        "gene_digest": gene_digest(genes),
        "weights": blend.weights,
        "knn_depth": None if knn_scale is None else knn_scale.depth,
        "digest": digest(folder / ARRAYS),
    }
    write_json(folder / FACTS, description)


def read_blend(folder: str | Path, genes: list[str]) -> tuple[Blend, ZScore | None]:
    """Read what :func:`write_blend` took.

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
    weights = description["weights"]
    blend = Blend(arrays["member_scales"], weights, {name: arrays[f"scales/{name}"] for name in weights})
    depth = description["knn_depth"]
    return blend, None if depth is None else ZScore(depth, arrays["knn/mean"], arrays["knn/sd"])
