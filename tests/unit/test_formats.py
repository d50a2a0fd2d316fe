"""HDF5 and zarr files in layouts that people have: counts in other layers, one of several modalities and tables."""

import gzip

import anndata as ad
import h5py
import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
import zarr
from format_files import CELLS, COUNTS, GENES, LOG, RNG, XY, clean, data, write_10x
from spatialimpute.errors import InputError
from spatialimpute.sources import open_source, split_address, split_part

pytestmark = pytest.mark.filterwarnings("ignore:zarr v3 autosharding")


# ---------------------------------------------------------------------------------------- layers

WHOLE = sp.csr_matrix(COUNTS)
FLAGS = sp.csr_matrix((COUNTS > 0).astype(np.float32))
FRACTIONS = sp.csr_matrix(LOG)


def as_h5ad(path, adata):
    adata.write_h5ad(path)


def as_zarr(path, adata):
    ad.io.write_elem(zarr.open_group(str(path), mode="w"), "/", adata)


def as_old_h5ad(path, adata):
    adata.write_h5ad(path)
    with h5py.File(path, "a") as file:
        del file.attrs["encoding-type"]
        del file.attrs["encoding-version"]


@pytest.mark.parametrize("write, suffix", [(as_h5ad, "h5ad"), (as_zarr, "zarr"), (as_old_h5ad, "h5ad")])
@pytest.mark.parametrize(
    "layers, where",
    [
        ({"raw_counts": WHOLE, "scaled": FRACTIONS}, "raw_counts"),
        ({"UMIs": WHOLE}, "UMIs"),
        ({"counts_RNA": WHOLE, "spliced": WHOLE, "unspliced": WHOLE}, "counts_RNA"),
        ({"count": COUNTS, "binary": FLAGS}, "count"),
        ({"molecules": WHOLE, "scaled": FRACTIONS}, "molecules"),
        ({"counts": FRACTIONS, "exonic molecules": FRACTIONS, "original": WHOLE}, "original"),
    ],
)
def test_the_layer_of_counts_is_found(tmp_path, write, suffix, layers, where):
    path = tmp_path / f"x.{suffix}"
    write(path, data(LOG, layers))
    counts, summary = clean(open_source(path))
    assert summary["counts_from"] == f"layers[{where!r}]"
    np.testing.assert_array_equal(counts.X.toarray(), COUNTS)


@pytest.mark.parametrize(
    "layers, words",
    [
        ({"spliced": WHOLE, "unspliced": WHOLE}, ["layers['spliced']: whole numbers", "copy the layer of raw counts"]),
        ({"spliced": WHOLE}, ["layers['spliced']: whole numbers"]),
        ({"detection": FLAGS}, ["layers['detection']: whole numbers"]),
        ({"X_binned": WHOLE}, ["layers['X_binned']: whole numbers"]),
        ({"raw_counts": WHOLE, "umis": WHOLE}, ["layers['raw_counts']: whole numbers", "layers['umis']: whole"]),
        ({"scaled": FRACTIONS}, ["layers['scaled']: holds", "before any normalization"]),
    ],
)
def test_layers_among_which_there_is_no_choice(tmp_path, layers, words):
    data(LOG, layers).write_h5ad(tmp_path / "x.h5ad")
    with pytest.raises(InputError) as error:
        clean(open_source(tmp_path / "x.h5ad"))
    for word in words:
        assert word in str(error.value)


def test_usual_matrices_come_before_other_layers(tmp_path):
    data(COUNTS, {"umis": sp.csr_matrix(COUNTS + 1)}).write_h5ad(tmp_path / "x.h5ad")
    source = open_source(tmp_path / "x.h5ad")
    assert not source.read().layers
    assert clean(source)[1]["counts_from"] == "X"


def test_a_layer_of_a_loom_file(tmp_path):
    with h5py.File(tmp_path / "x.loom", "w") as file:
        file["matrix"], file["layers/umis"] = LOG.T, COUNTS.T
        file["row_attrs/Gene"], file["col_attrs/CellID"] = np.array(GENES, "S"), np.array(CELLS, "S")
        file["col_attrs/X"], file["col_attrs/Y"] = XY.T
        for name in ("row_graphs", "col_graphs", "attrs"):
            file.create_group(name)
    assert clean(open_source(tmp_path / "x.loom"))[1]["counts_from"] == "layers['umis']"


def test_intensities_of_proteins_may_be_fractions(tmp_path):
    x = COUNTS.copy()
    x[:, 11] = 0.1 + RNG.random(40)
    kinds = ["Gene Expression"] * 10 + ["Negative Control Probe", "Protein Expression"]
    data(x, feature_types=kinds).write_h5ad(tmp_path / "x.h5ad")
    counts, summary = clean(open_source(tmp_path / "x.h5ad"))
    assert list(counts.genes) == GENES[:10]
    assert summary["control_probe_rate"] == pytest.approx(COUNTS[:, 10].sum() / COUNTS[:, :11].sum())


@pytest.mark.parametrize("key", ["feature_types", "feature_type"])
@pytest.mark.parametrize("other", ["Protein Expression", "Antibody Capture", "CRISPR Guide Capture", "Custom"])
def test_the_rate_of_controls_is_of_transcripts(tmp_path, key, other):
    kinds = ["Gene Expression"] * 8 + ["Negative Control Codeword"] + [other] * 3
    names = [*GENES[:8], "NegControlCodeword_0500", "CD3E", "Negative_control_IgG", "CD20"]
    x = COUNTS * np.where(np.arange(12) > 8, 1000, 1)
    data(x, genes=names, **{key: kinds}).write_h5ad(tmp_path / "x.h5ad")
    counts, summary = clean(open_source(tmp_path / "x.h5ad"))
    assert summary["control_probe_rate"] == pytest.approx(COUNTS[:, 8].sum() / COUNTS[:, :9].sum())
    assert list(counts.genes) == GENES[:8]


# ---------------------------------------------------------------------------- modalities and tables


def write_h5mu(path, common_places=False, **modalities):
    with h5py.File(path, "w") as file:
        for name, adata in modalities.items():
            ad.io.write_elem(file, f"mod/{name}", adata)
        obs = pd.DataFrame({"cell_type": ["n", "g"] * 20}, index=CELLS[::-1])
        ad.io.write_elem(file, "obs", obs)
        ad.io.write_elem(file, "var", pd.DataFrame(index=GENES))
        ad.io.write_elem(file, "obsm", {"spatial": XY[::-1]} if common_places else {})
    return path


@pytest.mark.parametrize("common_places", [False, True])
def test_the_modality_of_transcripts(tmp_path, common_places):
    protein = data(COUNTS + 1, genes=[f"protein{i}" for i in range(12)])
    path = write_h5mu(tmp_path / "x.h5mu", common_places, rna=data(places=not common_places), prot=protein)
    source = open_source(path)
    assert source.kind == "h5mu" and source.header().coordinates and "cell_type" in source.header().columns
    assert source.gene_columns()["index"] == GENES
    read = source.read()
    np.testing.assert_array_equal(read.X.toarray(), COUNTS)
    np.testing.assert_array_equal(read.obsm["spatial"], XY)
    assert list(read.obs["cell_type"]) == ["g", "n"] * 20
    assert "others are not: prot" in read.uns["read_warnings"][0]
    assert open_source(path / "prot").read().var_names[0] == "protein0"
    assert open_source(path / "mod" / "prot").read().var_names[0] == "protein0"


def test_modalities_among_which_there_is_no_choice(tmp_path):
    path = write_h5mu(tmp_path / "x.h5mu", a=data(), b=data())
    with pytest.raises(InputError, match="holds the modalities a, b; .* such as x.h5mu/a"):
        open_source(path).header()
    with pytest.raises(InputError, match="holds the modalities a, b, and no 'rna'"):
        open_source(path / "rna").header()
    assert open_source(write_h5mu(tmp_path / "y.h5mu", only=data())).read().n_vars == 12


@pytest.mark.parametrize("version", [2, 3])
def test_an_anndata_store(tmp_path, version):
    adata = data(gene_symbols=[f"symbol{i}" for i in range(12)], kind=pd.Categorical(["a"] * 12))
    ad.io.write_elem(zarr.open_group(str(tmp_path / "x.zarr"), mode="w", zarr_format=version), "/", adata)
    source = open_source(tmp_path / "x.zarr")
    assert source.kind == "AnnData zarr store" and source.header().coordinates
    columns = source.gene_columns()
    assert columns["index"] == GENES and columns["gene_symbols"][0] == "symbol0" and columns["kind"] == ["a"]
    np.testing.assert_array_equal(source.read().X.toarray(), COUNTS)
    (tmp_path / "elsewhere").symlink_to(tmp_path / "x.zarr")
    assert open_source(tmp_path / "elsewhere").read().n_obs == 40


def write_store(path, tables=("table",)):
    root = zarr.open_group(str(path), mode="w", zarr_format=2)
    for i, name in enumerate(tables):
        ad.io.write_elem(root, f"tables/{name}", data(COUNTS + i))
    return path


def test_one_table_of_several(tmp_path):
    path = write_store(tmp_path / "x.zarr", ("a", "b"))
    with pytest.raises(InputError, match="of the tables a, b; name the one that is wanted, such as x.zarr/tables/a"):
        open_source(path).header()
    np.testing.assert_array_equal(open_source(path / "tables" / "b").read().X.toarray(), COUNTS + 1)
    for wrong in ("tables/c", "c"):
        with pytest.raises(InputError, match="of the tables a, b, no 'c'"):
            open_source(path / wrong).header()
    read = open_source(write_store(tmp_path / "y.zarr", ("bins", "table"))).read()
    assert read.X[0, 0] == COUNTS[0, 0] + 1 and "table table is read; others are not: bins" in read.uns["read_warnings"]


def test_the_folder_that_a_pipeline_wrote_around_a_store(tmp_path):
    folder = tmp_path / "sample_1"
    folder.mkdir()
    write_store(folder / "spatialdata.zarr")
    (folder / "sample_1.explorer").mkdir()
    (folder / "sample_1.explorer" / "experiment.xenium").write_text("{}")
    (folder / "sample_1.explorer" / "cell_feature_matrix.zarr.zip").write_text("")
    assert open_source(folder).kind == "SpatialData store" and open_source(folder).read().n_obs == 40
    with pytest.raises(InputError, match="an export for Xenium Explorer.* the SpatialData store beside it"):
        open_source(folder / "sample_1.explorer").header()
    write_store(folder / "other.zarr")
    with pytest.raises(InputError, match="holds the stores other.zarr, spatialdata.zarr; name one of them"):
        open_source(folder)


def test_a_store_without_a_table(tmp_path):
    zarr.open_group(str(tmp_path / "x.zarr"), mode="w", zarr_format=2).create_group("images")
    with pytest.raises(InputError, match="a zarr store without a table of counts .found"):
        open_source(tmp_path / "x.zarr")


# ------------------------------------------------------------------------------------- way out


@pytest.mark.parametrize(
    "name, words",
    [
        ("x.h5ad.gz", "a packed HDF5 file.*gunzip"),
        ("x.zarr.zip", "a zarr store packed as one file; unpack it"),
        ("x.tar.gz", "an archive"),
        ("x.rds", "an object of R"),
        ("x.RData", "an object of R"),
        ("x.gem.gz", "molecules of Stereo-seq"),
        ("x.xlsx", "a spreadsheet; save it as CSV"),
        ("x.h5ad/rna", "x.h5ad is a h5ad; correct the path"),
        ("x.csv/a", "x.csv is a table; correct the path"),
    ],
)
def test_files_that_are_not_read_say_what_to_do(tmp_path, name, words):
    data().write_h5ad(tmp_path / "x.h5ad")
    (tmp_path / "x.csv").write_text("cell,a\nb,1\n")
    if not (tmp_path / name).parent.is_file():
        with gzip.open(tmp_path / name, "wb") as file:
            file.write((tmp_path / "x.h5ad").read_bytes())
    with pytest.raises(InputError, match=words):
        open_source(tmp_path / name)


def test_what_a_path_names_within_a_file(tmp_path):
    path = write_store(tmp_path / "x.zarr", ("a", "b"))
    write_10x(tmp_path / "x.h5", GENES)
    assert split_part(path / "tables" / "a") == (path, "tables/a") and split_part(path) == (path, "")
    assert split_part(tmp_path / "x.h5" / "mm10") == (tmp_path / "x.h5", "mm10")
    assert split_part(tmp_path / "absent" / "mm10") == (tmp_path / "absent" / "mm10", "")
    assert split_address("s3://bucket/x.zarr/tables/a") == ("s3://bucket/x.zarr", "tables/a")
    assert split_address("s3://bucket/x.h5ad") == ("s3://bucket/x.h5ad", "")
