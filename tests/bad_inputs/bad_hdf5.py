"""HDF5 files: damage, traps, and claims that no file of their size can keep."""

import h5py
import numpy as np
import scipy.sparse as sp
from corpus import spatial
from good_files import COUNTS, data, edit, write_10x_h5, write_loom


def h5ad(name: str, *says: str, command: str = "qc", write=None):
    """Register a function that spoils the HDF5 file x.h5ad (or what `write` writes)."""

    def register(spoil):
        def make(folder):
            (write or (lambda path: data().write_h5ad(path)))(folder / "x.h5ad")
            edit(folder / "x.h5ad", spoil)
            return "x.h5ad"

        spatial(f"hdf5: {name}", "x.h5ad", *says, command=command)(make)
        return spoil

    return register


def sparse(path):
    data(sp.csr_matrix(COUNTS)).write_h5ad(path)


def replace(file, name: str, value) -> None:
    attrs = dict(file[name].attrs)
    del file[name]
    file[name] = value
    file[name].attrs.update(attrs)


@spatial("hdf5: cut short", "damaged or truncated HDF5 file", "copy it again", command="check_inputs")
def cut_h5(folder):
    data().write_h5ad(folder / "x.h5ad")
    whole = (folder / "x.h5ad").read_bytes()
    (folder / "x.h5ad").write_bytes(whole[: len(whole) // 2])
    return "x.h5ad"


@spatial("hdf5: flipped bits in a packed block", "cannot be read as h5ad", "export or copy the file again")
def flipped(folder):
    data(np.tile(COUNTS, (1, 1))).write_h5ad(folder / "x.h5ad", compression="gzip")
    with h5py.File(folder / "x.h5ad") as file:
        start = file["X"].id.get_chunk_info(0).byte_offset
    content = bytearray((folder / "x.h5ad").read_bytes())
    content[start + 20 : start + 40] = bytes(20)
    (folder / "x.h5ad").write_bytes(content)
    return "x.h5ad"


@spatial("hdf5: of another kind", "neither h5ad, h5mu, loom nor 10x (it holds image)", command="check_inputs")
def other_kind(folder):
    with h5py.File(folder / "x.h5", "w") as file:
        file["image"] = np.zeros(3)
    return "x.h5"


@spatial("loom: without coordinates", "holds no coordinates", "x.coords.csv beside it", command="check_inputs")
def loom_without_places(folder):
    write_loom(folder / "x.loom", places=False)
    return "x.loom"


@spatial("loom: without gene names", "no row attribute names the genes (found none)", "row attribute Gene")
def loom_without_genes(folder):
    write_loom(folder / "x.loom")
    edit(folder / "x.loom", lambda file: file.__delitem__("row_attrs/Gene"))
    return "x.loom"


@h5ad("without a matrix", "holds no matrix; expected raw counts in X", command="check_inputs")
def without_matrix(file):
    del file["X"]


@h5ad("cells of another number than the matrix has rows", "12", "export or copy the file again")
def other_length(file):
    replace(file, "X", COUNTS[:-1])


@h5ad("link to another file", "'X' is a link to another file, which is not followed", command="check_inputs")
def external_link(file):
    del file["X"]
    file["X"] = h5py.ExternalLink("spatial.h5ad", "/X")


@h5ad("values in another file", "the values of 'X' are in another file, which is not followed", command="check_inputs")
def external_storage(file):
    del file["X"]
    file.create_dataset("X", (2, 8), "u1", external=[("/etc/passwd", 0, 16)])


@h5ad("virtual values", "the values of 'X' are in another file, which is not followed", command="check_inputs")
def virtual(file):
    del file["X"]
    layout = h5py.VirtualLayout((12, 11), "f4")
    layout[:] = h5py.VirtualSource("spatial.h5ad", "X", (12, 11))
    file.create_virtual_dataset("X", layout)


@h5ad("matrix that links to itself", "export", command="qc")
def soft_loop(file):
    del file["X"]
    file["X"] = h5py.SoftLink("/X")


@h5ad("claims 10^12 cells", "'X' claims 1,000,000,000,000 x 11 values", "export it again", command="check_inputs")
def claims_dense(file):
    del file["X"]
    file.create_dataset("X", (10**12, 11), "f4", chunks=(1000, 11), compression="gzip")


@h5ad("claims 10^12 coordinates", "'obsm/spatial' claims 1,000,000,000,000 x 2 values", command="check_inputs")
def claims_places(file):
    del file["obsm/spatial"]
    file.create_dataset("obsm/spatial", (10**12, 2), "f8", chunks=(1000, 2))


@h5ad("sparse, claims 10^12 cells", "shape (1000000000000, 11)", "there are 12 cells", write=sparse)
def claims_sparse(file):
    file["X"].attrs["shape"] = [10**12, 11]
    file["X"].attrs["encoding-type"] = "csc_matrix"


@h5ad("sparse, index outside the matrix", "cannot be read as h5ad", "export or copy the file again", write=sparse)
def index_outside(file):
    file["X/indices"][3] = 10**6


@h5ad("sparse, negative index", "cannot be read as h5ad", "export or copy the file again", write=sparse)
def index_negative(file):
    file["X/indices"][3] = -5


@h5ad("sparse, row pointers that go back", "cannot be read as h5ad", "export or copy the file again", write=sparse)
def pointers_back(file):
    file["X/indptr"][3] = 10**6


@h5ad(
    "10x with a shape of 10^12 cells",
    "claims 11 genes and 1,000,000,000,000 cells",
    "export or copy",
    write=write_10x_h5,
)
def claims_10x(file):
    file["matrix/shape"][...] = [11, 10**12]


@h5ad("a group with two names", "'again' is a second name of a group, which is not", command="check_inputs")
def second_name(file):
    file["again"] = file["var"]


@h5ad("a soft link to a group", "'raw' is a second name of a group, which is not followed", command="check_inputs")
def soft_group(file):
    file["raw"] = h5py.SoftLink("/uns")
