"""10x matrices in HDF5: `filtered_feature_bc_matrix.h5`, `cell_feature_matrix.h5` and their like.

https://www.10xgenomics.com/support/software/cell-ranger/latest/analysis/outputs/cr-outputs-h5-matrices
"""

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from spatialimpute.sources.base import Header, Source
from spatialimpute.sources.hdf5 import is_hdf5, open_hdf5, reading, require_hdf5_memory, texts
from spatialimpute.sources.matrix import to_csr

if TYPE_CHECKING:
    import anndata as ad


class TenxH5(Source):
    """A group `matrix`, or one named after its genome as Cell Ranger wrote before version 3."""

    kind = "10x h5"

    @classmethod
    def is_it(cls, path: Path) -> bool:
        if not is_hdf5(path):
            return False
        with reading(path), open_hdf5(path) as file:
            return any(f"{str(key)}/barcodes" in file and f"{str(key)}/indptr" in file for key in file)

    def header(self) -> Header:
        return Header([], False)

    def gene_names(self) -> list[str]:
        with open_hdf5(self.path) as file:
            return texts(file)

    def _read(self, keys: Iterable[str]) -> "ad.AnnData":
        import anndata as ad
        import scanpy as sc

        require_hdf5_memory(self.path)
        data = sc.read_10x_h5(self.path, gex_only=False)
        return ad.AnnData(X=to_csr(data.X), obs=data.obs, var=data.var)
