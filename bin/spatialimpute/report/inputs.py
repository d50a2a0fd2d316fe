"""What the report is made of: the files of one sample, and of them no more than it shows."""

import json
import os
from dataclasses import dataclass, field
from pathlib import Path

import anndata as ad
import numpy as np
import pandas as pd

from spatialimpute.errors import InputError
from spatialimpute.files.counts import Counts, read_counts
from spatialimpute.files.gene_sets import GeneSets
from spatialimpute.files.imputed import imputed_facts
from spatialimpute.files.inputs import SampleInputs
from spatialimpute.files.sealed import check_digest, check_seal, read_json
from spatialimpute.files.tsv import read_tsv

#: Rows of a prediction file in memory at a time.
CHUNK = 65_536
GENE_COLUMNS = {"gene", "measured", "spearman", "spearman_partial", "verdict", "reason"}
SCORE_COLUMNS = {"method", "kappa", "place", "fold", "gene", "spearman", "spearman_partial", "spearman_fraction"}
#: Files that a sample has one of, if any.
SINGLE = (
    "scores.tsv", "genes.tsv", "evaluation.json", "spatialimpute.h5ad", "imputed.h5ad", "imputed.zarr", "latent.h5ad",
)  # fmt: skip
#: Files that it may have several of.
REPEATED = ("qc.json", "history.tsv")


@dataclass
class Sample:
    """One sample's results; what a run without cross-validation lacks is None or empty.

    Attributes
    ----------
    name : the sample's name
    inputs : what SELECT_GENES wrote of it
    spatial : cells of the spatial assay, without their counts
    references : cells of each reference, without their counts
    gene_sets : genes modeled, shared, held out
    qc : contents of each `qc.json`, spatial first
    history : rows of all `history.tsv` with a column `stage` (`cross-validation` or `final`)
    scores, genes : `scores.tsv`, `genes.tsv`
    evaluation : contents of `evaluation.json`
    predictions, imputed, latent : paths, read as needed
    method_labels : name of a method -> what the report calls it
    """

    name: str
    inputs: SampleInputs
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
    method_labels: dict[str, str] = field(default_factory=dict)

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


def read_history(paths: list[Path]) -> pd.DataFrame | None:
    """All training histories; the stage is `final` where the folds are empty. None where there is none."""
    tables = []
    for path in paths:
        check_digest(path, read_json(path.with_name("models.json"))["digests"][path.name])
        tables.append(read_table(path, {"member", "fold", "kappa", "epoch"}))
    if not tables:
        return None
    history = pd.concat(tables, ignore_index=True)
    history["stage"] = np.where(history["fold"].isna(), "final", "cross-validation")
    return history


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


def find_results(folder: str | Path) -> dict[str, list[Path]]:
    """The result files below a folder by their names, in the order of their paths; links to folders are followed.

    Raises
    ------
    InputError
        There are several files of which a sample has one.
    """
    found: dict[str, list[Path]] = {name: [] for name in (*SINGLE, *REPEATED)}
    for where, folders, files in os.walk(folder, followlinks=True):
        for name in (*folders, *files):
            if name in found:
                found[name].append(Path(where) / name)
        folders[:] = [name for name in folders if not name.endswith(".zarr")]
    for name in SINGLE:
        if len(found[name]) > 1:
            paths = ", ".join(map(str, sorted(found[name])))
            raise InputError(f"{folder}: expected one {name} of the sample, found {len(found[name])}: {paths}")
    return {name: sorted(paths) for name, paths in found.items()}


def read_sample(name: str, inputs: str | Path, results: str | Path, methods: str | Path) -> Sample:
    """Read what a sample's steps wrote: SELECT_GENES' folder, and a folder with the others' files in it.

    `methods` is `assets/methods.json`, which has the methods' labels.
    """
    sample_inputs, found = SampleInputs(inputs), find_results(results)
    scores, genes, evaluation, predictions, h5ad, zarr, latent = (
        found[file][0] if found[file] else None for file in SINGLE
    )
    imputed = h5ad or zarr
    for path in (predictions, imputed, latent):
        if path is not None:
            check_seal(path)
    judged = None if evaluation is None else read_json(evaluation)
    if scores is not None and judged is not None:
        check_digest(scores, judged["scores_digest"])
    if genes is not None and imputed is not None:
        check_digest(genes, imputed_facts(imputed)["genes_digest"])
    qc = [read_json(path) for path in found["qc.json"]]
    return Sample(
        name=name,
        inputs=sample_inputs,
        spatial=sample_inputs.spatial(genes=[]),
        references=[read_counts(path, genes=[]) for path in sample_inputs.reference_paths],
        gene_sets=sample_inputs.gene_sets,
        qc=sorted(qc, key=lambda facts: facts["role"] != "spatial"),
        history=read_history(found["history.tsv"]),
        scores=None if scores is None else read_table(scores, SCORE_COLUMNS),
        genes=None if genes is None else read_table(genes, GENE_COLUMNS),
        evaluation=judged,
        predictions=predictions,
        imputed=imputed,
        latent=latent,
        method_labels={method: entry["label"] for method, entry in json.loads(Path(methods).read_text()).items()},
    )
