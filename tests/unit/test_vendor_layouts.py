"""Instruments' folders under the names and in the variants that people have: of repositories, prototypes, new cells."""

import gzip
import struct

import h5py
import numpy as np
import pandas as pd
import pytest
import vendor_bundles as bundles
from spatialimpute.errors import InputError
from spatialimpute.qc.clean import clean_counts
from spatialimpute.sources import open_source
from spatialimpute.sources.polygons import center
from spatialimpute.sources.wkb import places
from vendor_bundles import COUNTS, GENES, SQUARE, XY


@pytest.mark.parametrize(
    "changes, um_per_pixel",
    [
        ({"Area.um2": 3037 * 0.18**2}, 0.18),
        ({"Area.um2": 3037 * 0.12028**2, "CenterX_local_px": 5000}, 0.120280945),
        ({"Area": None, "CenterX_local_px": [10, 5400, 30, 40, 50], "CenterY_local_px": 3000}, 0.18),
        ({"Area": None, "CenterX_local_px": 3000, "CenterY_local_px": [10, 5400, 30, 40, 50]}, 0.18),
        ({"Area": None, "CenterX_local_px": 4200, "CenterY_local_px": 4100}, 0.120280945),
        ({"Area": None, "CenterX_local_px": 3000, "CenterY_local_px": 3000}, None),
        ({"Area": None, "CenterX_local_px": 9000, "CenterY_local_px": 3000}, None),
        ({"Area": None, "CenterX_local_px": None}, None),
        ({"Area.um2": 3037 * 0.3**2}, None),
    ],
)
def test_the_pixel_of_a_cosmx_is_told_or_stays_one(tmp_path, changes, um_per_pixel):
    folder = bundles.cosmx(tmp_path / "x", gz=False)
    path = folder / "Brain_S1_metadata_file.csv"
    cells = pd.read_csv(path)
    for name, value in changes.items():
        cells = cells.drop(columns=name) if value is None else cells.assign(**{name: value})
    cells.to_csv(path, index=False)
    data = open_source(folder).read()
    np.testing.assert_allclose(data.obsm["spatial"], XY * 10 * (um_per_pixel or 1))
    assert data.uns["coordinate_unit"] == ("px" if um_per_pixel is None else "um")
    warned = any("does not tell the size of a pixel" in text for text in data.uns["read_warnings"])
    assert warned == (um_per_pixel is None)


def rename(folder, names):
    for old, new in names.items():
        (folder / new).parent.mkdir(exist_ok=True)
        (folder / old).rename(folder / new)
    return folder


def pack(folder, *names):
    for name in names:
        with gzip.open(folder / f"{name}.gz", "wb") as file:
            file.write((folder / name).read_bytes())
        (folder / name).unlink()
    return folder


def geo_visium(folder):
    bundles.visium(folder, "tissue_positions_list.csv")
    names = {"filtered_feature_bc_matrix.h5": "GSM1_filtered_feature_bc_matrix.h5"}
    names |= {f"spatial/{name}": f"GSM1_{name}" for name in ("tissue_positions_list.csv", "scalefactors_json.json")}
    rename(folder, names)
    (folder / "spatial").rmdir()
    return pack(folder, "GSM1_tissue_positions_list.csv", "GSM1_scalefactors_json.json")


def matrix_beside_places(folder):
    bundles.visium(folder, mtx=True)
    inner = folder / "filtered_feature_bc_matrix"
    rename(folder, {f"{inner.name}/{path.name}": path.name for path in inner.iterdir()})
    inner.rmdir()
    return folder


def cut_header(folder):
    bundles.visium(folder)
    path = folder / "spatial" / "tissue_positions.csv"
    path.write_text(path.read_text().partition("\n")[2])
    return folder


MERSCOPE = {"cell_by_gene.csv": "{}cell_by_gene{}.csv", "cell_metadata.csv": "{}cell_metadata{}.csv"}


def named_merscope(*affixes):
    return lambda folder: rename(bundles.merscope(folder), {old: new.format(*affixes) for old, new in MERSCOPE.items()})


@pytest.mark.parametrize(
    "write, kind",
    [
        (named_merscope("cellpose_", ""), "MERSCOPE folder"),
        (named_merscope("datasets_brain_Slice1_", "_S1R1"), "MERSCOPE folder"),
        (lambda f: pack(named_merscope("GSM1_", "")(f), "GSM1_cell_by_gene.csv"), "MERSCOPE folder"),
        (lambda f: rename(bundles.merscope(f), {"cell_metadata.csv": "cell_metadata_v2.csv"}), "MERSCOPE folder"),
        (
            lambda f: rename(
                bundles.xenium(f, "cells.csv.gz"),
                {name: f"GSM1_{name}" for name in ("cell_feature_matrix.h5", "cells.csv.gz")},
            ),
            "Xenium folder",
        ),
        (lambda f: pack(bundles.cosmx(f, gz=False), "Brain_S1_exprMat_file.csv"), "CosMx folder"),
        (geo_visium, "Visium folder"),
        (matrix_beside_places, "Visium folder"),
        (cut_header, "Visium folder"),
        (lambda f: pack(bundles.visium(f), "spatial/tissue_positions.csv"), "Visium folder"),
        (
            lambda f: rename(bundles.visium(f), {"filtered_feature_bc_matrix.h5": "raw_feature_bc_matrix.h5"}),
            "Visium folder",
        ),
        (
            lambda f: rename(bundles.visium(f, mtx=True), {"filtered_feature_bc_matrix": "raw_feature_bc_matrix"}),
            "Visium folder",
        ),
    ],
)
def test_names_that_files_go_by(tmp_path, write, kind):
    source = open_source(write(tmp_path / "x"))
    assert source.kind == kind and source.header().coordinates
    assert set(GENES) <= set(source.gene_columns()["index"])
    data = source.read()
    np.testing.assert_array_equal(data[:, GENES].X.toarray(), COUNTS)
    places = data.obsm["spatial"] / (10 * 0.120280945 if kind == "CosMx folder" else 1)
    np.testing.assert_allclose(places, XY, rtol=1e-6)
    assert data.uns["coordinate_unit"] == "um"


def test_filtered_counts_come_before_raw_ones(tmp_path):
    folder = bundles.visium(tmp_path / "x")
    bundles.write_10x_h5(folder / "raw_feature_bc_matrix.h5", bundles.BARCODES, "", COUNTS + 1)
    np.testing.assert_array_equal(open_source(folder).read().X.toarray(), COUNTS)


def test_a_second_segmentation_in_a_merscope_folder(tmp_path):
    folder = bundles.merscope(tmp_path / "x")
    for name in MERSCOPE:
        (folder / f"cellpose_{name}").write_bytes((folder / name).read_bytes())
    assert (
        "cell_by_gene.csv is read; cellpose_cell_by_gene.csv is not"
        in open_source(folder).read().uns["read_warnings"][0]
    )
    (folder / "cell_metadata.csv").unlink()
    (folder / "cellpose2_cell_metadata.csv").write_text("")
    with pytest.raises(InputError, match="needs cell_metadata.csv..gz. beside cell_by_gene.csv, which is missing"):
        open_source(folder).header()


def small(ring):
    """A tenth of the square around its center."""
    return (np.mean(ring[:4], axis=0) + SQUARE / 10).tolist()


@pytest.mark.parametrize(
    "arguments",
    [
        {},
        {"number": lambda i: f"cellid_{i + 1:09d}-1"},
        {"number": lambda i: float(i + 1)},
        {"shape": lambda ring: ("Polygon", [ring[::-1]])},
        {"shape": lambda ring: ("MultiPolygon", [[ring]])},
        {"shape": lambda ring: ("Polygon", [ring, small(ring)])},
    ],
)
def test_segmented_cells_are_at_the_centers_of_their_outlines(tmp_path, arguments):
    source = open_source(bundles.visium_cells(tmp_path / "x", **arguments))
    assert source.kind == "Visium HD folder of segmented cells" and source.header().coordinates
    data = source.read()
    np.testing.assert_array_equal(data.X.toarray(), COUNTS)
    np.testing.assert_allclose(data.obsm["spatial"], XY)
    assert data.uns["technologies"] == ("Visium HD",) and data.uns["coordinate_unit"] == "um"
    assert "1 of 6 cells of cell_segmentations.geojson have no counts" in data.uns["read_warnings"][0]


@pytest.mark.parametrize(
    "text, message",
    [
        ("{", "cannot be read as GeoJSON"),
        ('{"features": []}', "no outlines"),
        ('{"features": [{"properties": {}, "geometry": null}]}', "outline 1 has no cell_id"),
        ('{"features": [{"properties": {"cell_id": 1}, "geometry": {"type": "Polygon"}}]}', "cannot be read as"),
        ('{"features": [{"properties": {"cell_id": 1}, "geometry": {"type": "Point"}}]}', "is no polygon"),
    ],
)
def test_outlines_that_are_none(tmp_path, text, message):
    folder = bundles.visium_cells(tmp_path / "x")
    (folder / "cell_segmentations.geojson").write_text(text)
    with pytest.raises(InputError, match=message):
        open_source(folder).read()


def test_the_outputs_of_visium_hd_name_bins_and_cells(tmp_path):
    bundles.visium(tmp_path / "x" / "binned_outputs" / "square_008um", "tissue_positions.parquet")
    bundles.visium_cells(tmp_path / "x" / "segmented_outputs")
    with pytest.raises(InputError, match="name the folder of one, .*square_008um or, for cells, segmented_outputs"):
        open_source(tmp_path / "x").header()


def test_the_center_of_an_outline_is_that_of_its_area():
    corner = [[0, 0], [2, 0], [2, 1], [1, 1], [1, 2], [0, 2], [0, 0]]  # an L of three squares
    assert center([corner]) == pytest.approx((2.5 / 3, 2.5 / 3))
    moved = (np.array(corner) + 1e6).tolist()
    assert center([moved]) == pytest.approx((1e6 + 2.5 / 3, 1e6 + 2.5 / 3), abs=1e-6)
    assert center([[[0, 0], [1, 0], [0.2, 0], [0, 0]]]) == pytest.approx((0.3, 0))  # of no area


def test_probes_are_all_that_a_visium_folder_holds(tmp_path):
    folder = bundles.visium(tmp_path / "x", outside=1)
    (folder / "filtered_feature_bc_matrix.h5").unlink()
    bundles.write_10x_h5(folder / "raw_probe_bc_matrix.h5", bundles.BARCODES, "", np.hstack([COUNTS, COUNTS]))
    with h5py.File(folder / "raw_probe_bc_matrix.h5", "a") as file:
        features = file["matrix/features"]
        for name in ("id", "name", "feature_type", "genome"):
            del features[name]
        names = [f"{gene}|00000{k}{i}" for k in "ab" for i, gene in enumerate(GENES)]
        features["name"], features["id"] = np.array(names, "S"), np.array(names, "S")
        features["feature_type"] = np.array(["Gene Expression"] * 6, "S")
        features["filtered_probes"] = np.ones(6, bool)
    counts, summary = clean_counts(open_source(folder).read(), id="s", role="spatial", technology="Visium", source="x")
    assert list(counts.genes) == GENES
    np.testing.assert_array_equal(counts.X.toarray(), 2 * COUNTS[:4])
    assert summary["coordinate_unit"] == "um"


def test_what_has_to_be_unpacked_is_named(tmp_path):
    folder = pack(bundles.xenium(tmp_path / "x"), "cell_feature_matrix.h5")
    with pytest.raises(InputError, match="needs cell_feature_matrix.h5 .*: unpack cell_feature_matrix.h5.gz"):
        open_source(folder).header()


def wkb(*rings, several=1):
    body = b"\x01" + struct.pack("<II", 3, len(rings))
    body += b"".join(struct.pack("<I", len(ring)) + np.asarray(ring, "<f8").tobytes() for ring in rings)
    return body if several == 1 else b"\x01" + struct.pack("<II", 6, several) + several * body


@pytest.mark.filterwarnings("ignore:zarr v3 autosharding")
@pytest.mark.parametrize(
    "outline",
    [
        lambda i, ring: wkb(ring),
        lambda i, ring: wkb(ring[::-1]),
        lambda i, ring: wkb(ring, small(ring)),
        lambda i, ring: wkb(ring, several=2),
        lambda i, ring: wkb(ring) if i % 2 else wkb([*ring[:3], *ring[2:]]),
    ],
)
def test_cells_of_a_store_are_at_the_centers_of_their_outlines(tmp_path, outline):
    folder = bundles.spatialdata(tmp_path / "x.zarr", circles=True)
    path = folder / "shapes" / "cells" / "shapes.parquet"
    shapes = pd.read_parquet(path).iloc[::-1]
    shapes["geometry"] = [outline(i, (SQUARE + place).tolist()) for i, place in enumerate(XY)]
    shapes.to_parquet(path)
    np.testing.assert_allclose(open_source(folder).read().obsm["spatial"], XY)


@pytest.mark.parametrize(
    "shape", [b"", b"\x01", wkb(), wkb([]), wkb(SQUARE)[:-3], wkb(several=0), b"\x00" + wkb(SQUARE)[1:], b"\x01" * 40]
)
def test_shapes_that_are_none(shape):
    with pytest.raises(ValueError):
        places([wkb(SQUARE), shape])
