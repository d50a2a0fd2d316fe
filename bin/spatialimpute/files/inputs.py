"""`inputs/`: all that the steps after SELECT_GENES know of a sample, under the same names for every sample.

spatial.h5ad       all spatial cells x the shared genes, in the order of the gene sets
panel_only.h5ad    the same cells x the panel genes that a reference lacks; not there where there are none
reference1.h5ad …  all cells of a reference x the modeled genes that it has; obs['depth']
gene_sets.json     which genes are shared, modeled, imputed and held out, and which cells are scored
gene_facts.tsv     per target gene, what the counts say of it
references.tsv     how far each reference fits, alternatives that are not used among them
"""

import shutil
from collections.abc import Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path

import anndata as ad
import h5py
import numpy as np
import pandas as pd
import scipy.sparse as sp

from spatialimpute.errors import InputError
from spatialimpute.files.columns import writable
from spatialimpute.files.counts import Counts, read_counts, read_info, write_counts
from spatialimpute.files.gene_sets import GeneSets, read_gene_sets, write_gene_sets
from spatialimpute.files.sealed import digest
from spatialimpute.files.tsv import read_tsv, write_tsv

#: Column of a reference's cells: counts over the genes that all references of the sample have, modeled or not.
DEPTH = "depth"


class SampleInputs:
    """A sample's inputs, each read when it is asked for and no more of it than that.

    Raises
    ------
    InputError
        The folder is not one that SELECT_GENES wrote.
    """

    def __init__(self, folder: str | Path):
        self.folder = Path(folder)
        if not (self.folder / "gene_sets.json").exists():
            raise InputError(f"{folder}: expected a folder that select_genes.py wrote; it holds no gene_sets.json")

    @cached_property
    def gene_sets(self) -> GeneSets:
        """Which genes are modeled, shared, imputed and held out."""
        return read_gene_sets(self.folder / "gene_sets.json")

    @cached_property
    def gene_facts(self) -> pd.DataFrame:
        """A row per target, in the targets' order; see :mod:`spatialimpute.gene_facts`."""
        return read_tsv(self.folder / "gene_facts.tsv").set_index("gene")

    @property
    def agreement(self) -> pd.DataFrame | None:
        """A row per reference; see :mod:`spatialimpute.agreement`. None where none was compared."""
        path = self.folder / "references.tsv"
        return read_tsv(path, texts=("reference", "lacking", "beyond", "warnings")) if path.exists() else None

    @cached_property
    def gene_columns(self) -> pd.DataFrame:
        """What the references' files say of the targets, in their order: `gene_id` if there are ids, and the files' own
        columns. Of a gene that several references have, the first one's values."""
        tables = []
        for path in self.reference_paths:
            with h5py.File(path, "r") as file:
                tables.append(ad.io.read_elem(file["var"]))
        columns = dict.fromkeys(name for table in tables for name in table)
        return pd.DataFrame({name: _first_value(name, tables, self.gene_sets.targets) for name in columns})

    @property
    def spatial_path(self) -> Path:
        """The file of the spatial counts."""
        return self.folder / "spatial.h5ad"

    @property
    def reference_paths(self) -> list[Path]:
        """The files of the references, in the order of the sheet."""
        paths = self.folder.glob("reference*.h5ad")
        return sorted(paths, key=lambda path: int(path.stem.removeprefix("reference")))

    @property
    def panel_only_path(self) -> Path:
        """The file of the counts of panel genes that a reference lacks."""
        return self.folder / "panel_only.h5ad"

    @cached_property
    def n_cells(self) -> int:
        """Number of spatial cells."""
        with h5py.File(self.spatial_path, "r") as file:
            return int(file["X"].attrs["shape"][0])

    @property
    def technology(self) -> str | None:
        """The spatial technology, as in the sheet."""
        return read_info(self.spatial_path).get("technology")

    def spatial(
        self,
        rows: slice | np.ndarray | None = None,
        genes: Sequence[str] | None = None,
        every_column: bool = False,
    ) -> Counts:
        """Counts of the shared genes (or of `genes`) in the spatial cells (or in `rows`), as :func:`read_counts`."""
        return read_counts(self.spatial_path, rows, genes, every_column)

    def panel_only(self) -> sp.csr_matrix | None:
        """Counts of the panel genes that a reference lacks, of all spatial cells; None where there are none."""
        return read_counts(self.panel_only_path).X if self.panel_only_path.exists() else None

    def references(self) -> list[Counts]:
        """Counts of the modeled genes that each reference has, in the order of the sheet."""
        return [read_counts(path) for path in self.reference_paths]

    @cached_property
    def has_celltypes(self) -> bool:
        """Whether each reference has cells with a `celltype`."""
        return all(read_counts(path, genes=[]).has_celltypes for path in self.reference_paths)

    def digests(self) -> list[str]:
        """Digest of each file that models are trained on."""
        paths = (self.spatial_path, *self.reference_paths, self.folder / "gene_sets.json")
        return [digest(path) for path in paths if path.exists()]


def write_training(folder: str | Path, inputs: SampleInputs) -> str:
    """Write what models are made of that are trained on the references alone; the same for all samples of a panel.

    References and gene sets without what is the sample's own.

    Returns
    -------
    a digest, the same where all of this is
    """
    folder, gene_sets = Path(folder), inputs.gene_sets
    folder.mkdir(parents=True, exist_ok=True)
    for path in inputs.reference_paths:
        shutil.copyfile(path, folder / path.name)
    common = GeneSets(gene_sets.genes, gene_sets.shared, [], [], gene_sets.folds)
    write_gene_sets(folder / "gene_sets.json", common)
    return digest(folder)


def _first_value(name: str, tables: Sequence[pd.DataFrame], genes: Sequence[str]) -> pd.Series:
    """A column of several tables, for each gene from the first of them that has the gene and the column."""
    columns = [table[name] for table in tables if name in table]
    if len(columns) > 1:
        values = pd.concat([column.astype(object) for column in columns])
        columns = [values[~values.index.duplicated()].infer_objects()]
    return writable(columns[0].reindex(genes))


def write_inputs(
    folder: str | Path,
    spatial: Counts,
    references: Sequence[Counts],
    gene_sets: GeneSets,
    gene_facts: pd.DataFrame,
    agreement: pd.DataFrame | None = None,
) -> None:
    """Write a sample's inputs.

    Parameters
    ----------
    spatial, references : canonical counts, of all their genes
    gene_facts : with a column `gene`, a row per target
    agreement : a row per reference that was compared
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    write_counts(folder / "spatial.h5ad", spatial.keep(gene_sets.shared))
    if gene_sets.measured_only:
        bare = replace(spatial.keep(gene_sets.measured_only), obs=pd.DataFrame(index=spatial.obs.index), coords=None)
        write_counts(folder / "panel_only.h5ad", bare)
    common = set(references[0].genes).intersection(*(reference.genes for reference in references[1:]))
    for i, reference in enumerate(references, start=1):
        in_common = np.fromiter((gene in common for gene in reference.genes), dtype=np.float32)
        kept = reference.keep(gene_sets.genes)
        kept.obs = kept.obs.assign(**{DEPTH: reference.X @ in_common})
        write_counts(folder / f"reference{i}.h5ad", kept)
    write_tsv(folder / "gene_facts.tsv", gene_facts)
    if agreement is not None:
        write_tsv(folder / "references.tsv", agreement)
    write_gene_sets(folder / "gene_sets.json", gene_sets)
