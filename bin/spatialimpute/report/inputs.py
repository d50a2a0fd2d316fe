"""What the report is made of: the files of one sample, read once."""

from dataclasses import dataclass, field
from pathlib import Path

import anndata as ad
import h5py
import numpy as np
import pandas as pd

from spatialimpute.errors import InputError
from spatialimpute.files.counts import Counts, read_counts
from spatialimpute.files.gene_sets import GeneSets, read_gene_sets
from spatialimpute.files.sealed import check_digest, check_seal, read_json
from spatialimpute.files.tsv import read_tsv

#: Rows of a prediction file in memory at a time.
CHUNK = 65_536


@dataclass
class Sample:
    """One sample's results; what a run without cross-validation lacks is None or empty.

    Attributes
    ----------
    name : the sample's name
    spatial : counts of the spatial assay
    references : counts of each reference
    panel : genes modeled, shared, held out
    qc : contents of each `qc.json`, spatial first
    history : rows of all `history.tsv` with a column `stage` (`cross-validation` or `final`)
    scores, genes : `scores.tsv`, `genes.tsv`
    evaluation : contents of `evaluation.json`
    predictions, imputed, latent : paths, read as needed
    """

    name: str
    spatial: Counts
    references: list[Counts]
    gene_sets: GeneSets
    qc: list[dict] = field(default_factory=list)
    history: pd.DataFrame | None = None
    scores: pd.DataFrame | None = None
    genes: pd.DataFrame | None = None
    evaluation: dict | None = None
    predictions: Path | None = None
    imputed: Path | None = None
    latent: Path | None = None

    @property
    def datasets(self) -> list[tuple[str, Counts]]:
        """Each dataset under the name the report gives it."""
        return [(self.name, self.spatial)] + [(reference_name(ref.info["id"]), ref) for ref in self.references]


def reference_name(id: str) -> str:
    """What the report calls a reference: its id, marked as a reference unless that says so."""
    return id if "reference" in id.lower() else f"{id} (reference)"


def read_table(path: str | Path, columns: set[str]) -> pd.DataFrame:
    """A table of an earlier step; raises InputError where a column is missing."""
    table = read_tsv(path)
    missing = sorted(columns - set(table.columns))
    if missing:
        raise InputError(f"{path}: expected columns {', '.join(sorted(columns))}; missing {', '.join(missing)}")
    return table


def read_history(folders: list[Path]) -> pd.DataFrame | None:
    """All training histories; the stage is `final` where the folds are empty. None where there is none."""
    tables = []
    for folder in folders:
        path = folder / "history.tsv"
        check_digest(path, read_json(folder / "models.json")["digests"][path.name])
        tables.append(read_table(path, {"member", "fold", "kappa", "epoch"}))
    if not tables:
        return None
    history = pd.concat(tables, ignore_index=True)
    history["stage"] = np.where(history["fold"].isna(), "final", "cross-validation")
    return history


def imputed_facts(path: str | Path) -> dict:
    """How an `imputed.h5ad` was made: its uns['spatialimpute']."""
    with h5py.File(path) as file:
        return ad.io.read_elem(file["uns/spatialimpute"])


def read_columns(path: str | Path, genes: list[str]) -> tuple[np.ndarray, np.ndarray | None]:
    """Mean and sd of a few genes, read in chunks of cells, so that memory does not grow with the other genes.

    Returns
    -------
    mean : float32 array, shape (n_cells, len(genes))
    sd : float32 array of that shape, or None where the file has no layer `sd`

    Raises
    ------
    InputError
        A gene is not in the file.
    """
    data = ad.read_h5ad(path, backed="r")
    try:
        columns = data.var_names.get_indexer(genes)
        if (columns < 0).any():
            gene = np.asarray(genes)[columns < 0][0]
            raise InputError(f"{path}: gene {gene!r} is not in the predictions")
        matrices = [data.X] + ([data.layers["sd"]] if "sd" in data.layers else [])
        found = [
            np.concatenate([matrix[i : i + CHUNK][:, columns] for i in range(0, data.n_obs, CHUNK)])
            for matrix in matrices
        ]
    finally:
        data.file.close()
    return found[0], found[1] if len(found) == 2 else None


def read_sample(
    name: str,
    *,
    spatial: Path,
    references: list[Path],
    gene_sets: Path,
    qc: list[Path] = (),
    models: list[Path] = (),
    scores: Path | None = None,
    evaluation: Path | None = None,
    genes: Path | None = None,
    predictions: Path | None = None,
    imputed: Path | None = None,
    latent: Path | None = None,
) -> Sample:
    """Read what a sample's steps wrote; see :class:`Sample`."""
    gene_columns = {"gene", "measured", "spearman", "spearman_partial", "verdict", "reason"}
    score_columns = {
        "method",
        "kappa",
        "place",
        "fold",
        "gene",
        "spearman",
        "spearman_partial",
        "spearman_fraction",
    }
    for path in (predictions, imputed, latent):
        if path is not None:
            check_seal(path)
    judged = None if evaluation is None else read_json(evaluation)
    if scores is not None:
        check_digest(scores, judged["scores_digest"])
    if genes is not None:
        check_digest(genes, imputed_facts(imputed)["genes_digest"])
    qc_found = [read_json(path) for path in qc]
    return Sample(
        name=name,
        spatial=read_counts(spatial),
        references=[read_counts(path) for path in references],
        gene_sets=read_gene_sets(gene_sets),
        qc=sorted(qc_found, key=lambda found: found["role"] != "spatial"),
        history=read_history(list(models)),
        scores=None if scores is None else read_table(scores, score_columns),
        genes=None if genes is None else read_table(genes, gene_columns),
        evaluation=judged,
        predictions=predictions,
        imputed=imputed,
        latent=latent,
    )
