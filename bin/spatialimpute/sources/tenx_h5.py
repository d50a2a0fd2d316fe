"""10x matrices in HDF5: `filtered_feature_bc_matrix.h5`, `cell_feature_matrix.h5` and their like.

https://www.10xgenomics.com/support/software/cell-ranger/latest/analysis/outputs/cr-outputs-h5-matrices
"""

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from spatialimpute.errors import InputError
from spatialimpute.sources.base import FILTERED_BARCODES, Header, Source
from spatialimpute.sources.gene_columns import INDEX
from spatialimpute.sources.hdf5 import column_texts, is_hdf5, open_hdf5, reading, require_hdf5_memory, texts
from spatialimpute.sources.matrix import to_csr

if TYPE_CHECKING:
    import anndata as ad
    import pandas as pd

#: Columns of the features that have other names in AnnData, as scanpy gives them.
NAMES = {"id": "gene_ids", "feature_type": "feature_types"}
#: The largest number up to which a double holds every whole number.
MAX_WHOLE = 1 << 53


class TenxH5(Source):
    """A group `matrix`, or one named after its genome as Cell Ranger wrote before version 3.

    Of several genomes, in groups of their own or as prefixes of the genes in one, the path names one:
    `filtered.h5/mm10`.
    """

    kind = "10x h5"
    has_parts = True

    @classmethod
    def is_it(cls, path: Path) -> bool:
        if not is_hdf5(path):
            return False
        with reading(path), open_hdf5(path) as file:
            return bool(_groups(file))

    def header(self) -> Header:
        with reading(self.path), open_hdf5(self.path) as file:
            self._group_and_genome(file)
        return Header([], False)

    def gene_columns(self) -> dict[str, list[str]]:
        with reading(self.path), open_hdf5(self.path) as file:
            name, genome = self._group_and_genome(file)
            columns = _feature_texts(file[name])
        if genome:
            inside = [value == genome for value in columns["genome"]]
            columns = {key: values for key, values in columns.items() if len(values) == len(inside)}
            for key, values in columns.items():
                kept = [value for value, wanted in zip(values, inside, strict=True) if wanted]
                columns[key] = [_without_genome(value, genome) for value in kept]
        return columns

    def _group_and_genome(self, file) -> tuple[str, str]:
        """The group to read, and the genome whose genes are wanted of it, "" for all.

        Raises
        ------
        InputError
            The file holds several genomes and the path names none of them, or it names one that is not there.
        """
        groups = _groups(file)
        genomes = groups if len(groups) > 1 else _prefixed_genomes(file[groups[0]])
        if self.part in ("", *groups) and len(groups) == 1 and not genomes:
            return groups[0], ""
        if self.part in genomes:
            return (self.part, "") if len(groups) > 1 else (groups[0], self.part)
        listed = ", ".join(genomes or groups)
        way_out = f"{self.path.name}/{(genomes or groups)[0]}"
        if self.part:
            raise InputError(
                f"{self.path}: no group or genome {self.part!r}; it holds {listed}: name one of them, such as {way_out}"
            )
        raise InputError(
            f"{self.path}: holds several genomes: {listed}; name the one that is wanted behind the file's name, such "
            f"as {way_out}"
        )

    def _read(self, keys: Iterable[str]) -> "ad.AnnData":
        import anndata as ad
        import pandas as pd
        import scipy.sparse as sp

        require_hdf5_memory(self.path)
        with open_hdf5(self.path) as file:
            name, genome = self._group_and_genome(file)
            group = file[name]
            n_genes, n_cells = (int(n) for n in _whole(group, "shape"))
            parts = group["data"][()], _whole(group, "indices"), _whole(group, "indptr")
            var, barcodes = _features(group), texts(group["barcodes"])
            obs = pd.DataFrame(index=pd.Index(barcodes))
            if FILTERED_BARCODES in group and group[FILTERED_BARCODES].shape == (len(barcodes),):
                obs[FILTERED_BARCODES] = group[FILTERED_BARCODES][()].astype(bool)
        if (n_cells, n_genes) != (len(obs), len(var)):
            raise InputError(
                f"{self.path}: claims {n_genes:,} genes and {n_cells:,} cells, but names {len(var):,} and "
                f"{len(obs):,}; export or copy it again"
            )
        data = ad.AnnData(X=to_csr(sp.csr_matrix(parts, shape=(n_cells, n_genes))), obs=obs, var=var)
        return _of_genome(data, genome) if genome else data


def _groups(file) -> list[str]:
    return [str(key) for key in file if f"{str(key)}/barcodes" in file and f"{str(key)}/indptr" in file]


def _whole(group, name: str) -> np.ndarray:
    """Whole numbers, which R stores as doubles.

    Raises
    ------
    InputError
        Some are not whole.
    """
    values = group[name][()]
    if values.dtype.kind == "f":
        bad = ~((values >= 0) & (values <= MAX_WHOLE) & (values == np.rint(values)))
        if bad.any():
            raise InputError(
                f"{group.file.filename}: {name!r} holds {values[bad][0]}, expected whole numbers; export it again"
            )
    return values.astype(np.int64)


def _feature_texts(group) -> dict[str, list[str]]:
    """Texts of each column of the features, under the names that they have in AnnData."""
    if "features" in group:
        features = group["features"]
        columns = {key: column_texts(features[key]) for key in features if hasattr(features[key], "shape")}
        found = {NAMES.get(key, key): values for key, values in columns.items() if values and key[0] != "_"}
        return {INDEX: found.pop("name"), **found}
    return {INDEX: texts(group["gene_names"]), "gene_ids": texts(group["genes"])}


def _features(group) -> "pd.DataFrame":
    import pandas as pd

    columns = _feature_texts(group)
    names = columns.pop(INDEX)
    whole = {key: values for key, values in columns.items() if len(values) == len(names)}
    return pd.DataFrame(whole, index=pd.Index(names))


def _prefixed_genomes(group) -> list[str]:
    """Genomes of a matrix of several, whose genes bear their genome's name; none where it is of one."""
    columns = _feature_texts(group)
    pairs = list(zip(columns.get("genome", []), columns[INDEX], strict=False))
    genomes = sorted({genome for genome, _ in pairs if genome})
    prefixed = all(name.startswith(f"{genome}_") for genome, name in pairs if genome)
    return genomes if len(genomes) > 1 and prefixed else []


def _without_genome(name: str, genome: str) -> str:
    return name.removeprefix(genome).lstrip("_") if name.startswith(f"{genome}_") else name


def _of_genome(data: "ad.AnnData", genome: str) -> "ad.AnnData":
    """The genes of one genome, without its name in theirs."""
    inside = (data.var["genome"] == genome).to_numpy()
    total, own = (np.asarray(x.sum(axis=1)).ravel() for x in (data.X, data.X[:, inside]))
    data = data[:, inside].copy()
    data.var_names = [_without_genome(name, genome) for name in data.var_names]
    if "gene_ids" in data.var:
        data.var["gene_ids"] = [_without_genome(name, genome) for name in data.var["gene_ids"]]
    n_others = int((own < 0.5 * total).sum())
    if n_others:
        data.uns["read_warnings"] = [
            f"{n_others} of {data.n_obs} cells have most of their counts in another genome than {genome}; only their "
            "counts in that one are used: remove these cells, or raise min_counts"
        ]
    return data
