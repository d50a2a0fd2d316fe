"""MuData in HDF5 (`.h5mu`): several AnnData, one per modality. https://mudata.readthedocs.io/en/latest/io/spec.html"""

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from spatialimpute.errors import InputError
from spatialimpute.sources.base import Header, Source
from spatialimpute.sources.h5ad import element_names, gene_columns, read_anndata_parts, refuse_without_matrix
from spatialimpute.sources.hdf5 import open_hdf5, reading, require_hdf5_memory, top_names
from spatialimpute.sources.layers import other_layers
from spatialimpute.sources.vocabulary import COORDINATE_KEYS, find_name, has_coordinates

if TYPE_CHECKING:
    import anndata as ad

#: Names of the modality that counts transcripts, as muon, scvi-tools and 10x give it.
RNA = ("rna", "gex", "gene expression", "gene_expression")


class H5mu(Source):
    """The modality of transcripts, or the one that the path names: `x.h5mu/rna`."""

    kind = "h5mu"
    has_parts = True

    @classmethod
    def is_it(cls, path: Path) -> bool:
        return {"mod", "obs"} <= top_names(path)

    def header(self) -> Header:
        with reading(self.path), open_hdf5(self.path) as file:
            modality = file[f"mod/{self._modality(file)}"]
            refuse_without_matrix(modality, self.path)
            groups = (modality, file)
            columns = [name for group in groups for name in element_names(group, "obs")]
            arrays = [name for group in groups for name in element_names(group, "obsm")]
        return Header(list(dict.fromkeys(columns)), has_coordinates(arrays, columns))

    def gene_columns(self) -> dict[str, list[str]]:
        with reading(self.path), open_hdf5(self.path) as file:
            return gene_columns(file[f"mod/{self._modality(file)}"])

    def _modality(self, file) -> str:
        names = [str(name) for name in file["mod"]]
        wanted = self.part.removeprefix("mod/")
        if wanted in names:
            return wanted
        found = find_name(names, RNA) if not wanted else None
        if found is None and (wanted or len(names) != 1):
            listed, asked = ", ".join(names) or "none", f", and no {wanted!r}" if wanted else ""
            raise InputError(
                f"{self.path}: holds the modalities {listed}{asked}; name the one that counts transcripts behind the "
                f"file's name, such as {self.path.name}/{names[0] if names else 'rna'}"
            )
        return found or names[0]

    def _read(self, keys: Iterable[str]) -> "ad.AnnData":
        import anndata as ad

        with open_hdf5(self.path) as file:
            name = self._modality(file)
            layers = other_layers(file[f"mod/{name}"])[0]
        require_hdf5_memory(self.path, layers=layers, group=f"mod/{name}")
        with open_hdf5(self.path) as file:
            data = read_anndata_parts(file[f"mod/{name}"])
            common = ad.io.read_elem(file["obs"])
            position = common.index.get_indexer(data.obs_names) if common.index.is_unique else None
            if position is not None and (position >= 0).all():
                for column in common.columns.difference(data.obs.columns):
                    data.obs[column] = common[column].to_numpy()[position]
                if find_name(data.obsm, COORDINATE_KEYS) is None:
                    key = find_name(element_names(file, "obsm"), COORDINATE_KEYS)
                    if key is not None:
                        data.obsm[key] = ad.io.read_elem(file[f"obsm/{key}"])[position]
            others = [str(key) for key in file["mod"] if str(key) != name]
        if others:
            data.uns["read_warnings"] = [f"modality {name} is read; others are not: {', '.join(others)}"]
        return data
