"""`gene_sets.json`: which genes are modeled, shared, held out and imputed, and how each was chosen."""

from dataclasses import asdict, dataclass, field
from pathlib import Path

from spatialimpute.errors import InputError
from spatialimpute.files.sealed import read_json, write_json

SCHEMA_VERSION = "2"


@dataclass
class GeneSets:
    """The genes of one sample.

    Attributes
    ----------
    genes : every gene modeled, shared genes first (spatial order), then the others (reference order)
    shared : genes measured by the spatial panel and by every reference; the model's input
    measured_only : spatial genes that no model can use, since a reference lacks them
    targets : genes to impute
    folds : fold name -> shared genes held out together; empty without cross-validation
    scored_cells : rows of the spatial cells that cross-validation predicts and scores, ascending; None: all of them
    how : for each of these, a sentence on how it was chosen
    warnings : what the sample's headline has to repeat
    """

    genes: list[str]
    shared: list[str]
    measured_only: list[str]
    targets: list[str]
    folds: dict[str, list[str]] = field(default_factory=dict)
    scored_cells: list[int] | None = None
    how: dict[str, str] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)


def read_gene_sets(path: str | Path) -> GeneSets:
    """Read `gene_sets.json`; raises InputError on another schema version, DamagedError on damage."""
    content = read_json(path)
    version = content.pop("schema_version", None)
    if version != SCHEMA_VERSION:
        raise InputError(f"{path}: expected gene sets of schema version {SCHEMA_VERSION}, found {version}")
    return GeneSets(**content)


def write_gene_sets(path: str | Path, gene_sets: GeneSets) -> None:
    """Write `gene_sets.json`."""
    write_json(path, {"schema_version": SCHEMA_VERSION, **asdict(gene_sets)})
