"""Instruments' folders: the same counts and places in microns out of each, and half a folder says what it lacks."""

import json

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import vendor_bundles as bundles
from spatialimpute.errors import InputError
from spatialimpute.qc.clean import clean_counts
from spatialimpute.sources import guard, open_source
from spatialimpute.sources.cell_table import read_cells
from spatialimpute.sources.spatialdata import _read_points
from spatialimpute.technologies import other_instrument
from vendor_bundles import COUNTS, GENES, XY

XENIUM_BYTES = [cell.encode() for cell in bundles.XENIUM_CELLS]


@pytest.mark.parametrize(
    "write, kind, cells, unit",
    [
        (bundles.xenium, "Xenium folder", bundles.XENIUM_CELLS, "um"),
        (lambda f: bundles.xenium(f, "cells.csv.gz"), "Xenium folder", bundles.XENIUM_CELLS, "um"),
        (lambda f: bundles.xenium(f, ids=XENIUM_BYTES), "Xenium folder", bundles.XENIUM_CELLS, "um"),
        (lambda f: bundles.xenium(f, ids=[1, 2, 3, 4, 5]), "Xenium folder", list("12345"), "um"),
        (bundles.merscope, "MERSCOPE folder", bundles.MERSCOPE_CELLS, "um"),
        (lambda f: bundles.merscope(f, key=""), "MERSCOPE folder", bundles.MERSCOPE_CELLS, "um"),
        (bundles.visium, "Visium folder", bundles.BARCODES, "um"),
        (lambda f: bundles.visium(f, "tissue_positions_list.csv", mtx=True), "Visium folder", bundles.BARCODES, "um"),
        (lambda f: bundles.visium(f, "tissue_positions.parquet"), "Visium folder", bundles.BARCODES, "um"),
        (lambda f: bundles.spatialdata(f, version=3), "SpatialData store", None, "unknown"),
        (lambda f: bundles.spatialdata(f, version=2, name="cells"), "SpatialData store", None, "unknown"),
        (lambda f: bundles.spatialdata(f, circles=True), "SpatialData store", None, "unknown"),
    ],
)
@pytest.mark.filterwarnings("ignore:zarr v3 autosharding")
def test_counts_cells_and_places(tmp_path, write, kind, cells, unit):
    folder = write(tmp_path / "any name")
    source = open_source(folder)
    header = source.header()
    assert source.kind == kind and header.coordinates
    data = source.read()
    np.testing.assert_array_equal(data[:, GENES].X.toarray(), COUNTS)
    np.testing.assert_allclose(data.obsm["spatial"], XY, rtol=1e-9)
    assert data.uns["coordinate_unit"] == unit
    if cells is not None:
        assert list(data.obs_names) == cells
    assert set(header.columns) - set(data.obs) <= {"cell_id", "EntityID", "", "barcode"}


@pytest.mark.parametrize("arguments", [{}, {"gz": False}, {"fov_after": True}])
def test_cosmx(tmp_path, arguments):
    folder = bundles.cosmx(tmp_path / "x", **arguments)
    assert open_source(folder).kind == "CosMx folder"
    data = open_source(folder).read()
    assert list(data.obs_names) == ["1_1", "1_2", "1_3", "2_1", "2_10"]
    np.testing.assert_array_equal(data[:, GENES].X.toarray(), COUNTS)
    np.testing.assert_allclose(data.obsm["spatial"], XY * 10 * 0.120280945)
    assert data.uns["coordinate_unit"] == "um"
    background, scale = data.uns["read_steps"]
    assert background["examples"] == ["1_0", "2_0"] and scale["axis"] == "coordinates"


def test_starmap_plus(tmp_path):
    folder = bundles.starmap_plus(tmp_path / "x")
    assert open_source(folder).header().coordinates
    data = open_source(folder).read()
    np.testing.assert_array_equal(data.X.toarray(), COUNTS)
    np.testing.assert_array_equal(data.obsm["spatial"], np.column_stack([XY, np.full(5, 0.5)]))
    assert list(data.obs["Main_molecular_cell_type"]) == ["GABA"] * 5
    assert data.uns["coordinate_unit"] == "unknown"


@pytest.mark.parametrize(
    "write, rate",
    [(bundles.xenium, 3 / 35), (bundles.merscope, 3 / 35), (bundles.cosmx, 3 / 35), (bundles.visium, None)],
)
def test_controls_are_no_genes(tmp_path, write, rate):
    raw = open_source(write(tmp_path / "x")).read()
    counts, summary = clean_counts(raw, id="s", role="spatial", technology="other", source="x")
    assert list(counts.genes) == GENES
    assert summary["control_probe_rate"] == (rate if rate is None else pytest.approx(rate))
    assert summary["coordinate_unit"] == "um" and summary["warnings"] == []


def test_spots_outside_of_the_tissue_are_accounted_for(tmp_path):
    raw = open_source(bundles.visium(tmp_path / "x", outside=2)).read()
    counts, summary = clean_counts(raw, id="s", role="spatial", technology="Visium", source="x")
    assert list(counts.cells) == bundles.BARCODES[:3]
    assert (summary["n_cells_in"], summary["n_cells"]) == (5, 3)
    dropped = next(step for step in summary["steps"] if step["step"] == "outside of the tissue")
    assert dropped["n"] == 2 and dropped["examples"] == bundles.BARCODES[3:]


def test_cells_that_one_side_lacks(tmp_path):
    folder = bundles.merscope(tmp_path / "x")
    cells = pd.read_csv(folder / "cell_metadata.csv", dtype=str)
    cells.iloc[1:].to_csv(folder / "cell_metadata.csv", index=False)
    data = open_source(folder).read()
    assert list(data.obs_names) == bundles.MERSCOPE_CELLS[:4]
    np.testing.assert_allclose(data.obsm["spatial"], XY[:4])
    assert data.uns["read_steps"][0]["examples"] == ["12"]

    cells["EntityID"] = cells["EntityID"].replace("12", "13")
    cells.to_csv(folder / "cell_metadata.csv", index=False)
    message = "1 of 5 cells with counts have no row here .first: '12'., and 1 of 5 rows have no counts .first: '13'."
    with pytest.raises(InputError, match=message):
        open_source(folder).read()

    counts = pd.read_csv(folder / "cell_by_gene.csv", dtype=str)
    counts.iloc[:4].to_csv(folder / "cell_by_gene.csv", index=False)
    assert "1 of 5 cells of cell_metadata.csv have no counts" in open_source(folder).read().uns["read_warnings"][0]


@pytest.mark.parametrize(
    "write, missing, message",
    [
        (bundles.xenium, "cells.parquet", r"needs cells.parquet or cells.csv.\.gz., which is missing; found"),
        (bundles.xenium, "cell_feature_matrix.h5", "needs cell_feature_matrix.h5 .*found cells.parquet, experiment"),
        (bundles.merscope, "cell_metadata.csv", "MERSCOPE folder needs cell_metadata.csv.*found cell_by_gene.csv"),
        (bundles.merscope, "cell_by_gene.csv", "MERSCOPE folder needs cell_by_gene.csv"),
        (bundles.cosmx, "Brain_S1_metadata_file.csv.gz", r"needs \*metadata_file.csv.*Brain_S1_exprMat_file.csv.gz"),
        (bundles.cosmx, "Brain_S1_exprMat_file.csv.gz", r"needs \*exprMat_file.csv"),
        (bundles.visium, "spatial/tissue_positions.csv", "needs spatial/tissue_positions.parquet or .*name filtered"),
        (bundles.visium, "filtered_feature_bc_matrix.h5", "Visium folder needs .*filtered_feature_bc_matrix.h5"),
        (bundles.starmap_plus, "well05_spatial.csv", r"STARmap PLUS folder needs \*spatial.csv"),
    ],
)
def test_half_a_folder(tmp_path, write, missing, message):
    folder = write(tmp_path / "x")
    (folder / missing).unlink()
    for look in ("header", "read"):
        with pytest.raises(InputError, match=message):
            getattr(open_source(folder), look)()


def test_two_runs_in_one_folder(tmp_path):
    folder = bundles.cosmx(tmp_path / "x")
    (folder / "._Brain_S1_exprMat_file.csv.gz").write_text("a Mac's own")
    assert open_source(folder).header().coordinates
    (folder / "Brain_S2_exprMat_file.csv.gz").write_text("")
    with pytest.raises(InputError, match="expected one .*found Brain_S1_exprMat_file.csv.gz, Brain_S2"):
        open_source(folder).header()


def test_visium_hd_needs_a_bin_size(tmp_path):
    bin_ = bundles.visium(tmp_path / "x" / "binned_outputs" / "square_008um", "tissue_positions.parquet")
    with pytest.raises(InputError, match="several bin sizes; name the folder of one, .*square_008um"):
        open_source(tmp_path / "x").header()
    assert open_source(bin_).read().uns["technologies"] == ("Visium HD",)


def test_visium_without_a_scale_stays_in_pixels(tmp_path):
    folder = bundles.visium(tmp_path / "x")
    (folder / "spatial" / "scalefactors_json.json").unlink()
    data = open_source(folder).read()
    assert data.uns["coordinate_unit"] == "px" and "stay in pixels" in data.uns["read_warnings"][0]
    np.testing.assert_allclose(data.obsm["spatial"], XY / bundles.PIXEL_UM)


@pytest.mark.parametrize(
    "write, name, content, message",
    [
        (bundles.xenium, "cells.parquet", b"no parquet", "damaged or no parquet file"),
        (bundles.xenium, "cell_feature_matrix.h5", b"\x89HDF\r\n\x1a\nhalf", "damaged or truncated HDF5"),
        (bundles.xenium, "cell_feature_matrix.h5", b"", "expected a 10x matrix, found no HDF5 file; export or copy"),
        (bundles.merscope, "cell_metadata.csv", b"EntityID,fov\n12,1\n", "no column center_x, center_y, which a MERSC"),
        (bundles.merscope, "cell_metadata.csv", b"", "expected a header line"),
        (bundles.visium, "spatial/scalefactors_json.json", b"{", "cannot be read as JSON"),
        (bundles.visium, "spatial/scalefactors_json.json", b'{"spot_diameter_fullres": 0}', "expected a positive num"),
        (bundles.visium, "spatial/tissue_positions.csv", b"barcode,x,y\na,1,2\n", "no column in_tissue"),
    ],
)
def test_damage_that_the_header_shows(tmp_path, write, name, content, message):
    folder = write(tmp_path / "x")
    (folder / name).write_bytes(content)
    for look in ("header", "read"):
        with pytest.raises(InputError, match=message):
            getattr(open_source(folder), look)()


@pytest.mark.parametrize(
    "write, name, content, message",
    [
        (bundles.merscope, "cell_metadata.csv", "id,center_x,center_y\n12,1,2\n12,1,2\n", "cell '12' has several rows"),
        (bundles.merscope, "cell_metadata.csv", "id,center_x,center_y\n", "no cells"),
        (bundles.merscope, "cell_metadata.csv", "id,center_x,center_y\n12,1,2\n7,here,3\n", "row 3, column 'center_x'"),
        (bundles.merscope, "cell_by_gene.csv", "cell,Gad1\n12,1\n7,many\n8,2\n", "row 3, column 'Gad1': found 'many'"),
        (
            lambda folder: bundles.cosmx(folder, gz=False),
            "Brain_S1_metadata_file.csv",
            "fov,cell_ID,CenterX_global_px,CenterY_global_px\n1,one,2,3\n",
            "row 2, column 'cell_ID': found 'one', expected a whole number",
        ),
    ],
)
def test_damage_that_reading_shows(tmp_path, write, name, content, message):
    folder = write(tmp_path / "x")
    (folder / name).write_text(content)
    with pytest.raises(InputError, match=message):
        open_source(folder).read()


@pytest.mark.filterwarnings("ignore:zarr v3 autosharding")
def test_stores_that_cannot_be_read(tmp_path):
    folder = bundles.spatialdata(tmp_path / "x.zarr", version=2)
    array = folder / "tables" / "table" / "obs" / "kind" / ".zarray"
    about = json.loads(array.read_text())
    array.write_text(json.dumps({**about, "filters": [{"id": "pickle"}]}))
    with pytest.raises(InputError, match="stored as pickle, which may run any code"):
        open_source(folder).read()
    array.write_text(json.dumps({**about, "chunks": [10**9]}))
    with pytest.raises(InputError, match="claims chunks .1000000000. of shape .5."):
        open_source(folder).read()
    array.write_text(json.dumps({**about, "shape": [10**12]}))
    with pytest.raises(InputError, match="claims shape .1000000000000., but holds"):
        open_source(folder).read()
    array.write_text(json.dumps(about))
    assert open_source(folder).read().n_obs == 5
    about = folder / "tables" / "table" / ".zattrs"
    about.write_text(json.dumps({**json.loads(about.read_text()), "region": ".."}))
    with pytest.raises(InputError, match="no name of an element"):
        open_source(folder).files()


@pytest.mark.filterwarnings("ignore:zarr v3 autosharding")
def test_codecs_that_are_not_known_to_be_harmless(tmp_path):
    folder = bundles.spatialdata(tmp_path / "x.zarr", version=3)
    array = folder / "tables" / "table" / "obs" / "kind" / "zarr.json"
    about = json.loads(array.read_text())
    shard = {"name": "sharding_indexed", "configuration": {"codecs": ["bytes", {"name": "numcodecs.pickle"}]}}
    for codec in ("numcodecs.pickle", {"name": "json2"}, shard):
        array.write_text(json.dumps({**about, "codecs": [*about["codecs"], codec]}))
        with pytest.raises(InputError, match="stored as (pickle|json2), which may run any code"):
            open_source(folder).read()


@pytest.mark.parametrize(
    "part", ["tables", "tables/table", "tables/table/obsm/spatial", "tables/table/X/data/zarr.json", "shapes"]
)
@pytest.mark.filterwarnings("ignore:zarr v3 autosharding")
def test_links_within_a_store_are_not_followed(tmp_path, part):
    folder = bundles.spatialdata(tmp_path / "x.zarr", circles=part == "shapes")
    (tmp_path / "linked.zarr").symlink_to(folder)
    assert open_source(tmp_path / "linked.zarr").read().n_obs == 5
    (folder / part).rename(tmp_path / "outside")
    (folder / part).symlink_to(tmp_path / "outside")
    for look in ("files", "header", "read"):
        with pytest.raises(InputError, match=f"{part.split('/')[-1]}.*: a link or a pipe, which is not followed"):
            getattr(open_source(folder), look)()


@pytest.mark.filterwarnings("ignore:zarr v3 autosharding")
def test_stores_without_places(tmp_path):
    folder = bundles.spatialdata(tmp_path / "x.zarr", circles=True)
    shapes = folder / "shapes" / "cells" / "shapes.parquet"
    table = pd.read_parquet(shapes)
    table.iloc[1:].to_parquet(shapes)
    assert np.isnan(open_source(folder).read().obsm["spatial"]).any(axis=1).tolist() == [False] * 4 + [True]
    table.set_axis([f"other-{i}" for i in range(5)]).to_parquet(shapes)
    with pytest.raises(InputError, match="no shape for cell 'cell-0' .nor for any other of 5"):
        open_source(folder).read()
    table.assign(geometry=[b"\x01\x03\x00\x00\x00" + 20 * b"\x00"] * 5).to_parquet(shapes)
    with pytest.raises(InputError, match="the shapes are not circles, points or polygons .*; store their centroids"):
        open_source(folder).read()
    shapes.unlink()
    assert not open_source(folder).header().coordinates
    with pytest.raises(InputError, match="no coordinates: neither obsm"):
        open_source(folder).read()


def test_a_text_of_many_rows_is_held_once(tmp_path):
    """A parquet file of 100 kB whose texts would take 400 MB."""
    text = pa.DictionaryArray.from_arrays(pa.array([0] * 400, pa.int32()), ["x" * 1_000_000])
    ids = [f"c{i}" for i in range(400)]
    table = pa.table({"cell_id": ids, "note": text, "Mean.DAPI": [1.5] * 400, "nested": [["x"]] * 400})
    pq.write_table(table, tmp_path / "cells.parquet", store_schema=False)
    pool = pa.default_memory_pool()
    before = pool.max_memory()
    cells = read_cells(tmp_path / "cells.parquet", ids=("cell_id",))
    assert pool.max_memory() <= max(before, 50 << 20)
    assert list(cells["cell_id"]) == ids and list(cells) == ["cell_id", "note", "Mean.DAPI"]
    assert len(set(map(id, cells["note"]))) == 1


@pytest.mark.filterwarnings("ignore:zarr v3 autosharding")
def test_tables_of_cells_and_shapes_are_held_against_the_memory(tmp_path, monkeypatch):
    cells = bundles.xenium(tmp_path / "x") / "cells.parquet"
    store = bundles.spatialdata(tmp_path / "x.zarr", circles=True)
    monkeypatch.setattr(guard, "available_memory", lambda: 300)
    with pytest.raises(MemoryError, match="the content of .*cells.parquet"):
        read_cells(cells)
    with pytest.raises(MemoryError, match="the content of .*shapes.parquet"):
        _read_points(store / "shapes" / "cells" / "shapes.parquet")


def test_a_folder_of_no_known_kind(tmp_path):
    with pytest.raises(InputError, match="a folder of no known kind; expected a 10x matrix .*Xenium.*found an empty"):
        open_source(tmp_path).header()


def test_only_what_is_read_enters_the_digest(tmp_path):
    folder = bundles.xenium(tmp_path / "x")
    assert [path.name for path in open_source(folder).files()] == ["cell_feature_matrix.h5", "cells.parquet"]
    matrix = folder / "cell_feature_matrix.h5"
    assert open_source(matrix).files() == [matrix]


def test_another_vendors_folder_gives_one_warning(tmp_path):
    raw = open_source(bundles.xenium(tmp_path / "x")).read()
    _, summary = clean_counts(raw, id="s", role="spatial", technology="CosMx", source="x")
    assert summary["warnings"] == [other_instrument("CosMx", ("Xenium",))]
    assert summary["technology"] == "CosMx" and "CosMx is kept" in summary["warnings"][0]
    assert other_instrument("MERFISH", ("MERSCOPE", "MERFISH")) is None and other_instrument("other", ("Xe",)) is None
