"""Every format reads to the same counts, names and coordinates; what cannot be read says why."""

import gzip
import shutil
from pathlib import Path

import anndata as ad
import h5py
import numpy as np
import pandas as pd
import pytest
import scipy.io
import scipy.sparse as sp
from spatialimpute.errors import InputError
from spatialimpute.sources import matrix, open_source
from spatialimpute.sources import table as tables
from spatialimpute.sources.coordinates import find_sidecar
from spatialimpute.sources.vocabulary import coordinate_columns

DATA = Path(__file__).resolve().parents[3] / "shared" / "data"
needs_data = pytest.mark.skipif(not DATA.is_dir(), reason=f"no real data at {DATA}")

COUNTS = np.array([[1, 0, 3], [0, 2, 0], [5, 0, 0], [0, 0, 7]])
GENES, CELLS = ["Gad1", "Sst", "Vip"], ["a", "b", "c", "d"]
XY = np.array([[0.0, 1.0], [2.0, 3.0], [4.0, 5.0], [6.5, 7.0]])


def table(**extra) -> pd.DataFrame:
    frame = pd.DataFrame(COUNTS, index=CELLS, columns=GENES)
    return frame.assign(**extra)


def write_10x_h5(path: Path) -> None:
    x = sp.csc_matrix(COUNTS.T.astype(np.int32))  # features in rows, compressed by cell
    with h5py.File(path, "w") as file:
        group = file.create_group("matrix")
        for name in ("data", "indices", "indptr"):
            group[name] = getattr(x, name)
        group["shape"] = x.shape
        group["barcodes"] = np.array(CELLS, "S")
        features = group.create_group("features")
        features["id"] = np.array(["ENSMUSG00000000001", "ENSMUSG00000000002", "NegControlProbe_1"], "S")
        features["name"] = np.array(GENES, "S")
        features["feature_type"] = np.array(["Gene Expression"] * 2 + ["Negative Control Probe"], "S")
        features["genome"] = np.array(["mm10"] * 3, "S")


def write_mtx(folder: Path, features: str, compress: bool, columns: int = 3) -> None:
    folder.mkdir()
    scipy.io.mmwrite(folder / "matrix.mtx", sp.coo_matrix(COUNTS.T))
    rows = [[f"ENSMUSG{i:011d}", gene, "Gene Expression"][:columns] for i, gene in enumerate(GENES)]
    (folder / features).write_text("\n".join("\t".join(row) for row in rows) + "\n")
    (folder / "barcodes.tsv").write_text("\n".join(CELLS) + "\n")
    if compress:
        for path in list(folder.iterdir()):
            with open(path, "rb") as plain, gzip.open(f"{path}.gz", "wb") as packed:
                shutil.copyfileobj(plain, packed)
            path.unlink()


def check(data: ad.AnnData, coords=None) -> None:
    np.testing.assert_array_equal(data.X.toarray(), COUNTS)
    assert sp.isspmatrix_csr(data.X) or isinstance(data.X, sp.csr_array)
    assert list(data.var_names) == GENES
    if coords is not None:
        np.testing.assert_array_equal(data.obsm["spatial"], coords)
        assert list(data.obs_names) == CELLS


@pytest.mark.parametrize("kind", ["csr", "csc", "dense", "int64"])
def test_h5ad_by_storage(tmp_path, kind, monkeypatch):
    monkeypatch.setattr(matrix, "BLOCK_BYTES", 40)  # dense matrices in blocks of one row
    make = {"csr": sp.csr_matrix, "csc": sp.csc_matrix, "dense": np.asarray, "int64": np.asarray}[kind]
    x = make(COUNTS.astype(np.int64 if kind == "int64" else np.float32))
    data = ad.AnnData(x, obs=pd.DataFrame(index=CELLS), var=pd.DataFrame(index=GENES), obsm={"X_spatial": XY})
    data.write_h5ad(tmp_path / "x.h5ad")
    check(open_source(tmp_path / "x.h5ad").read(), XY)


def test_h5ad_without_x_and_with_raw_and_layers(tmp_path):
    x = sp.csr_matrix(COUNTS.astype(np.float32))
    data = ad.AnnData(np.log1p(x), obs=pd.DataFrame(index=CELLS), var=pd.DataFrame(index=GENES))
    data.raw = ad.AnnData(x, var=pd.DataFrame(index=GENES))
    data.layers["counts"], data.layers["other"] = x, x
    data.write_h5ad(tmp_path / "x.h5ad")
    read = open_source(tmp_path / "x.h5ad").read()
    np.testing.assert_array_equal(read.raw.X.toarray(), COUNTS)
    np.testing.assert_array_equal(read.layers["counts"].toarray(), COUNTS)
    assert list(read.layers) == ["counts"]
    ad.AnnData(obs=data.obs, var=data.var, layers={"counts": x}).write_h5ad(tmp_path / "y.h5ad")
    assert open_source(tmp_path / "y.h5ad").read().X is None


def test_h5ad_coordinates_in_obs_columns(tmp_path):
    obs = pd.DataFrame({"x_centroid": XY[:, 0], "Y_Centroid": XY[:, 1]}, index=CELLS)
    ad.AnnData(sp.csr_matrix(COUNTS), obs=obs, var=pd.DataFrame(index=GENES)).write_h5ad(tmp_path / "x.h5ad")
    data = open_source(tmp_path / "x.h5ad").read()
    check(data, XY)
    assert data.uns["coordinate_unit"] == "um"
    assert open_source(tmp_path / "x.h5ad").header().coordinates


@pytest.mark.parametrize("shape", [(4, 1), (4, 4)])
def test_coordinates_of_the_wrong_shape(tmp_path, shape):
    data = ad.AnnData(sp.csr_matrix(COUNTS), obsm={"spatial": np.zeros(shape)})
    data.write_h5ad(tmp_path / "x.h5ad")
    with pytest.raises(InputError, match=r"shape \(4, \d\), expected \(cells, 2\) or \(cells, 3\)"):
        open_source(tmp_path / "x.h5ad").read()


def test_coordinates_that_are_text(tmp_path):
    obs = pd.DataFrame({"x": ["left"] * 4, "y": ["up"] * 4}, index=CELLS)
    ad.AnnData(sp.csr_matrix(COUNTS), obs=obs).write_h5ad(tmp_path / "x.h5ad")
    with pytest.raises(InputError, match="columns x, y are not numbers"):
        open_source(tmp_path / "x.h5ad").read()


def test_10x_h5(tmp_path):
    write_10x_h5(tmp_path / "x.h5")
    assert open_source(tmp_path / "x.h5").kind == "10x h5"
    data = open_source(tmp_path / "x.h5").read()
    check(data)
    assert data.var["feature_types"].iloc[2] == "Negative Control Probe"


@pytest.mark.parametrize(
    "features, compress, columns",
    [("features.tsv", True, 3), ("features.tsv", False, 3), ("genes.tsv", False, 2), ("features.tsv", True, 1)],
)
def test_10x_folder(tmp_path, features, compress, columns):
    write_mtx(tmp_path / "x", features, compress, columns)
    (tmp_path / "x.coords.csv").write_text(
        "barcode,x,y\n" + "".join(f"{c},{x},{y}\n" for c, (x, y) in zip(CELLS, XY, strict=True))
    )
    data = open_source(tmp_path / "x").read(coords=find_sidecar(tmp_path / "x"))
    if columns == 1:
        data.var_names = GENES
    check(data, XY)


def test_10x_folder_with_a_file_missing_or_of_another_size(tmp_path):
    write_mtx(tmp_path / "x", "features.tsv", False)
    (tmp_path / "x" / "barcodes.tsv").write_text("a\nb\n")
    with pytest.raises(InputError, match="names 3 genes and barcodes.tsv 2 cells"):
        open_source(tmp_path / "x").read()
    (tmp_path / "x" / "barcodes.tsv").unlink()
    with pytest.raises(InputError, match="barcodes.tsv.* is missing"):
        open_source(tmp_path / "x").read()


@pytest.mark.parametrize("suffix", [".csv", ".csv.gz", ".tsv", ".txt"])
@pytest.mark.parametrize("block", [3, 1 << 20])
def test_table(tmp_path, suffix, block, monkeypatch):
    monkeypatch.setattr(tables, "BLOCK_VALUES", block)
    path = tmp_path / f"x{suffix}"
    frame = table(x=XY[:, 0], y=XY[:, 1], cell_type=["n", "g", "n", "g"], fov=1)
    frame.to_csv(path, sep="," if ".csv" in suffix else "\t", encoding="utf-8-sig")
    data = open_source(path).read()
    check(data, XY)
    assert list(data.obs["cell_type"]) == ["n", "g", "n", "g"]
    assert open_source(path).header().coordinates


def test_table_with_sidecar_in_another_order_and_with_repeated_genes(tmp_path):
    table().set_axis(["Gad1", "Sst", "Gad1"], axis=1).to_csv(tmp_path / "x.csv", index_label="cell_id")
    frame = pd.DataFrame(XY, index=pd.Index(CELLS, name="cell_id"), columns=["X", "Y"]).iloc[::-1]
    frame.to_csv(tmp_path / "x.coords.csv")
    data = open_source(tmp_path / "x.csv").read(coords=find_sidecar(tmp_path / "x.csv"))
    np.testing.assert_array_equal(data.obsm["spatial"], XY)
    assert list(data.var_names) == ["Gad1", "Sst", "Gad1"]


def test_table_without_cell_ids_and_with_numeric_keys(tmp_path):
    table(slice=[1, 1, 2, 2]).to_csv(tmp_path / "x.csv", index=False)
    data = open_source(tmp_path / "x.csv").read(["slice"])
    assert list(data.obs_names) == ["cell1", "cell2", "cell3", "cell4"]
    assert list(data.obs["slice"]) == [1, 1, 2, 2]
    check(data)


def test_sidecar_keeps_ids_with_leading_zeros(tmp_path):
    table().set_axis(["01", "02", "03", "04"]).to_csv(tmp_path / "x.csv")
    (tmp_path / "x.coords.csv").write_text("cell,x,y,z\n04,1,1,1\n03,2,2,2\n02,3,3,3\n01,4,4,4\n")
    data = open_source(tmp_path / "x.csv").read(coords=tmp_path / "x.coords.csv")
    assert data.obsm["spatial"][:, 2].tolist() == [4, 3, 2, 1]


@pytest.mark.parametrize(
    "name, text, message",
    [
        ("x.csv", "id;Gad1;Sst\na;1;2\n", "separated by semicolons, expected commas"),
        ("x.csv", "id\tGad1\tSst\na\t1\t2\n", "separated by tabs, expected commas"),
        ("x.tsv", "id,Gad1,Sst\na,1,2\n", "separated by commas, expected tabs"),
        ("x.csv", "gene,a,b\nGad1,1,2\n", "genes seem to be in rows"),
        ("x.csv", "id,Gad1,Sst\na,1,2\nb,3,many\nc,4,5\n", "row 3, column 'Sst': found 'many', expected a count"),
        ("x.csv", "id,Gad1,Sst\na,1,2\nb,3,4,5\n", "another number of columns"),
        ("x.csv", "id,Gad1,Sst\n", "no cells"),
        ("x.csv", "id,kind\na,b\nc,d\n", "no column of counts"),
        ("x.csv", "", "the file is empty"),
        ("x.h5ad", "hello", "not an HDF5 file"),
        ("x.docx", "hello", "unknown format"),
    ],
)
def test_files_that_cannot_be_read(tmp_path, name, text, message):
    (tmp_path / name).write_text(text)
    with pytest.raises(InputError, match=message):
        open_source(tmp_path / name).read()


@pytest.mark.parametrize(
    "text, message",
    [
        ("cell,x,y\n1,0,1\n2,1,2\n", "no coordinates for cell 'a' .4 of 4 cells .*and 2 of 2 rows"),
        ("cell,x,y\na,0,1\na,1,2\n", "cell 'a' has several rows"),
        ("cell,x,y\na,0,1\nb,1,2\nc,2,3\nd,here,3\n", "row 5, column 'x': found 'here'"),
        ("cell,length\na,0\n", "no coordinates among cell, length"),
        ("x,y\n0,1\n", "no column of cell ids"),
    ],
)
def test_sidecars_that_do_not_fit(tmp_path, text, message):
    table().to_csv(tmp_path / "x.csv")
    (tmp_path / "x.coords.csv").write_text(text)
    with pytest.raises(InputError, match=message):
        open_source(tmp_path / "x.csv").read(coords=tmp_path / "x.coords.csv")


def test_damaged_and_foreign_hdf5(tmp_path):
    ad.AnnData(sp.csr_matrix(COUNTS)).write_h5ad(tmp_path / "x.h5ad")
    whole = (tmp_path / "x.h5ad").read_bytes()
    (tmp_path / "half.h5ad").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(InputError, match="damaged or truncated"):
        open_source(tmp_path / "half.h5ad").header()
    with h5py.File(tmp_path / "other.h5", "w") as file:
        file["image"] = np.zeros(3)
    with pytest.raises(InputError, match="neither h5ad, h5mu, loom nor 10x .*image"):
        open_source(tmp_path / "other.h5")
    with h5py.File(tmp_path / "x.h5ad", "a") as file:
        del file["var"]
        file["var"] = np.zeros(3)
    with pytest.raises(InputError, match="cannot be read as h5ad"):
        open_source(tmp_path / "x.h5ad").read()


def test_coordinate_names_of_vendors():
    assert coordinate_columns(["CenterX_global_px", "CenterY_global_px"])[1] == "px"
    assert coordinate_columns(["fov", "center_x", "center_y", "min_x"]) == (["center_x", "center_y"], "um")
    assert coordinate_columns(["x", "z"]) is None


@pytest.mark.realdata
@needs_data
@pytest.mark.parametrize(
    "name, shape, columns",
    [
        ("raw/osmFISH_SScortex_mouse_all_cells.loom", (6471, 33), {"ClusterName", "Region"}),
        ("raw/mpfc-starmap.loom", (3704, 158), {"BatchID", "Clusters"}),
        ("hypothalamus_merfish_spatial.h5ad", (750, 134), set()),
    ],
)
def test_published_files(name, shape, columns):
    data = open_source(DATA / name).read()
    assert data.shape == shape
    assert data.obsm["spatial"].shape == (shape[0], 2)
    assert columns <= set(data.obs)
    assert columns <= set(open_source(DATA / name).header().columns)
    assert data.var_names.is_unique and data.X.sum() > 0


def test_h5ad_says_the_unit_of_its_coordinates(tmp_path):
    data = ad.AnnData(np.ones((3, 2), dtype=np.float32), obsm={"spatial": np.zeros((3, 2))})
    data.uns["coordinate_unit"] = "micrometer"
    data.write_h5ad(tmp_path / "a.h5ad")
    assert open_source(tmp_path / "a.h5ad").read().uns["coordinate_unit"] == "um"
