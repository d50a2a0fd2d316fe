"""Small folders in the layouts that the vendors document, written by their names and types, not by our readers."""

import gzip
import json
import struct
from pathlib import Path

import anndata as ad
import h5py
import numpy as np
import pandas as pd
import scipy.io
import scipy.sparse as sp

COUNTS = np.array([[4, 0, 3], [0, 2, 1], [5, 0, 0], [1, 1, 7], [2, 6, 0]])
GENES = ["Gad1", "Sst", "Vip"]
CONTROLS = np.array([[0], [1], [0], [0], [2]])
XY = np.array([[10.0, 1.5], [22.0, 3.0], [34.5, 5.0], [46.0, 7.25], [58.0, 9.0]])


def write_10x_h5(path: Path, cells: list[str], control_type: str, counts=None) -> None:
    """A 10x matrix: features in rows, compressed by cell, texts as bytes; the last feature is a control."""
    counts = np.hstack([COUNTS, CONTROLS]) if counts is None else counts
    x = sp.csc_matrix(counts.T.astype(np.int32))
    n = x.shape[0] - len(GENES)
    with h5py.File(path, "w") as file:
        group = file.create_group("matrix")
        for name in ("data", "indices", "indptr"):
            group[name] = getattr(x, name)
        group["shape"], group["barcodes"] = np.array(x.shape, "int32"), np.array(cells, "S")
        features = group.create_group("features")
        names = GENES + ["NegControlProbe_00042"] * n
        features["id"] = np.array([f"ENSMUSG{i:011d}" for i in range(len(GENES))] + ["NegControlProbe_00042"] * n, "S")
        features["name"] = np.array(names, "S")
        features["feature_type"] = np.array(["Gene Expression"] * len(GENES) + [control_type] * n, "S")
        features["genome"] = np.array(["mm10"] * len(names), "S")


XENIUM_CELLS = ["aaaaaaab-1", "aaaaaabc-1", "aaaaaacd-1", "aaaaaade-1", "aaaaaaef-1"]


def xenium(folder: Path, cells: str = "cells.parquet", ids=XENIUM_CELLS) -> Path:
    """`ids` are text in recent outputs, bytes in the first parquet files, numbers before that."""
    folder.mkdir()
    write_10x_h5(folder / "cell_feature_matrix.h5", [str(getattr(i, "decode", lambda i=i: i)()) for i in ids],
                 "Negative Control Probe")  # fmt: skip
    table = pd.DataFrame(
        {
            "cell_id": ids,
            "x_centroid": XY[:, 0],
            "y_centroid": XY[:, 1],
            "transcript_counts": COUNTS.sum(axis=1),
            "control_probe_counts": CONTROLS[:, 0],
            "genomic_control_counts": 0,
            "control_codeword_counts": 0,
            "unassigned_codeword_counts": 0,
            "deprecated_codeword_counts": 0,
            "total_counts": COUNTS.sum(axis=1) + CONTROLS[:, 0],
            "cell_area": 60.5,
            "nucleus_area": 20.25,
            "nucleus_count": 1,
            "segmentation_method": "Segmented by boundary stain",
        }
    )
    table.to_parquet(folder / cells) if cells.endswith("parquet") else table.to_csv(folder / cells, index=False)
    (folder / "experiment.xenium").write_text(json.dumps({"pixel_size": 0.2125, "analysis_sw_version": "xenium-3.0"}))
    (folder / "morphology.ome.tif").write_bytes(b"II*\0")
    return folder


MERSCOPE_CELLS = ["1100883500016100002", "1100883500016100003", "1100883500016100104", "0007", "12"]


def merscope(folder: Path, key: str = "EntityID") -> Path:
    """The rows of the two tables are in different orders."""
    folder.mkdir()
    counts = pd.DataFrame(np.hstack([COUNTS, CONTROLS]), columns=[*GENES, "Blank-1"])
    counts.insert(0, "cell", MERSCOPE_CELLS)
    counts.to_csv(folder / "cell_by_gene.csv", index=False)
    cells = pd.DataFrame({key: MERSCOPE_CELLS, "fov": 3, "volume": 812.5, "center_x": XY[:, 0], "center_y": XY[:, 1]})
    cells = cells.assign(min_x=XY[:, 0] - 4, min_y=XY[:, 1] - 4, max_x=XY[:, 0] + 4, max_y=XY[:, 1] + 4, anisotropy=1.2)
    cells.iloc[::-1].to_csv(folder / "cell_metadata.csv", index=False)
    return folder


COSMX_CELLS = [(1, 1), (1, 2), (1, 3), (2, 1), (2, 10)]


def cosmx(folder: Path, run: str = "Brain_S1", gz: bool = True, fov_after: bool = False) -> Path:
    """AtoMx: gzipped, with system controls and further columns. The rows of cell_ID 0 are outside of cells."""
    folder.mkdir()
    end = "csv.gz" if gz else "csv"
    counts = pd.DataFrame(np.hstack([COUNTS, CONTROLS, 0 * CONTROLS]), columns=[*GENES, "Negative1", "SystemControl7"])
    counts.insert(0, "fov", [fov for fov, _ in COSMX_CELLS])
    counts.insert(0 if fov_after else 1, "cell_ID", [cell for _, cell in COSMX_CELLS])
    background = pd.DataFrame([{**dict.fromkeys(counts.columns, 90), "fov": fov, "cell_ID": 0} for fov in (1, 2)])
    pd.concat([background, counts]).to_csv(folder / f"{run}_exprMat_file.{end}", index=False)
    cells = pd.DataFrame(
        {
            "fov": counts["fov"],
            "Area": 3037,
            "AspectRatio": 0.67,
            "CenterX_local_px": 100,
            "CenterY_local_px": 25,
            "Mean.DAPI": 92,
            "cell_id": [f"c_1_{fov}_{cell}" for fov, cell in COSMX_CELLS],
            "assay_type": "RNA",
            "CenterX_global_px": XY[:, 0] * 10,
            "CenterY_global_px": XY[:, 1] * 10,
            "cell_ID": counts["cell_ID"],
            "Area.um2": 43.9,
            "cell": [f"c_1_{fov}_{cell}" for fov, cell in COSMX_CELLS],
        }
    )
    cells.to_csv(folder / f"{run}_metadata_file.{end}", index=False)
    positions = "FOV,x_global_px,y_global_px,x_global_mm,y_global_mm\n1,0,29791,0.0,3.58341\n"
    (folder / f"{run}_fov_positions_file.csv").write_text(positions)
    return folder


BARCODES = [f"{'ACGT' * 4}-1"[i:] + "" for i in range(5)]
PIXEL_UM = 0.7267575965  # 65 um / 89.43834961 px, the example of the vendor's documentation


def visium(folder: Path, positions: str = "tissue_positions.csv", mtx: bool = False, outside: int = 0) -> Path:
    """Positions are of all spots of the slide, counts of those in the tissue; x is the column, y the row."""
    (folder / "spatial").mkdir(parents=True)
    if mtx:
        matrix = folder / "filtered_feature_bc_matrix"
        matrix.mkdir()
        with gzip.open(matrix / "matrix.mtx.gz", "wb") as file:
            scipy.io.mmwrite(file, sp.coo_matrix(COUNTS.T))
        features = "".join(f"ENSMUSG{i:011d}\t{gene}\tGene Expression\n" for i, gene in enumerate(GENES))
        for name, text in (("features.tsv.gz", features), ("barcodes.tsv.gz", "\n".join(BARCODES) + "\n")):
            with gzip.open(matrix / name, "wt") as file:
                file.write(text)
    else:
        write_10x_h5(folder / "filtered_feature_bc_matrix.h5", BARCODES, "", COUNTS)
    table = pd.DataFrame(
        {
            "barcode": [*BARCODES, "TTTTTTTTTTTTTTTT-1"],
            "in_tissue": [1] * (5 - outside) + [0] * (outside + 1),
            "array_row": range(6),
            "array_col": range(6),
            "pxl_row_in_fullres": [*(XY[:, 1] / PIXEL_UM), 3.0],
            "pxl_col_in_fullres": [*(XY[:, 0] / PIXEL_UM), 4.0],
        }
    ).iloc[::-1]
    path = folder / "spatial" / positions
    if positions.endswith(".parquet"):
        table.to_parquet(path, index=False)
        factors = {"bin_size_um": 8.0, "microns_per_pixel": PIXEL_UM, "spot_diameter_fullres": 8 / PIXEL_UM}
    else:
        table.to_csv(path, index=False, header="_list" not in positions)
        factors = {"spot_diameter_fullres": 89.43834961021503, "fiducial_diameter_fullres": 144.4773339857}
    factors |= {"tissue_hires_scalef": 0.17011142, "tissue_lowres_scalef": 0.051033426}
    (folder / "spatial" / "scalefactors_json.json").write_text(json.dumps(factors))
    return folder


SQUARE = np.array([[-10, -10], [10, -10], [10, 10], [-10, 10], [-10, -10]])


def visium_cells(folder: Path, number=lambda i: i + 1, shape=lambda ring: ("Polygon", [ring])) -> Path:
    """Space Ranger 4: outlines of all cells in pixels, of which one has no counts; no positions of spots."""
    (folder / "spatial").mkdir(parents=True)
    cells = [f"cellid_{i + 1:09d}-1" for i in range(5)]
    write_10x_h5(folder / "filtered_feature_cell_matrix.h5", cells, "", COUNTS)
    features = []
    for i, place in enumerate([*XY / PIXEL_UM, (3, 4)]):
        kind, coordinates = shape((SQUARE + place).tolist())
        geometry = {"type": kind, "coordinates": coordinates}
        features.append({"type": "Feature", "properties": {"cell_id": number(i)}, "geometry": geometry})
    text = json.dumps({"features": features[::-1], "type": "FeatureCollection"})
    for name in ("cell", "nucleus", "graphclust_annotated_cell"):
        (folder / f"{name}_segmentations.geojson").write_text(text)
    factors = {"microns_per_pixel": PIXEL_UM, "tissue_hires_scalef": 0.1}
    (folder / "spatial" / "scalefactors_json.json").write_text(json.dumps(factors))
    return folder


def starmap_plus(folder: Path, well: str = "well05") -> Path:
    folder.mkdir()
    cells = [f"{well}_{i}" for i in range(5)]
    counts = pd.DataFrame(COUNTS.T.astype(float), index=pd.Index(GENES, name="GENE"), columns=cells)
    counts.to_csv(folder / f"{well}raw_expression_pd.csv")
    lines = ["NAME,X,Y,Z,Main_molecular_cell_type", "TYPE,numeric,numeric,numeric,group"]
    lines += [f"{cell},{x},{y},0.5,GABA" for cell, (x, y) in zip(cells, XY, strict=True)]
    (folder / f"{well}_spatial.csv").write_text("\n".join(lines) + "\n")
    return folder


def polygon(ring) -> bytes:
    """Well-known binary of a polygon without holes."""
    return b"\x01" + struct.pack("<III", 3, 1, len(ring)) + np.asarray(ring, "<f8").tobytes()


def anndata_zarr(folder: Path, version: int = 2) -> Path:
    """AnnData as a store of its own."""
    import zarr

    table = ad.AnnData(sp.csr_matrix(COUNTS.astype(np.float32)), var=pd.DataFrame({"symbol": GENES}, index=GENES))
    table.obsm["spatial"] = XY
    ad.io.write_elem(zarr.open_group(str(folder), mode="w", zarr_format=version), "/", table)
    return folder


def spatialdata(
    folder: Path, version: int = 3, circles: bool = False, name: str = "table", outlines: bool = False
) -> Path:
    """A store as spatialdata writes it: AnnData's own elements, and what the table annotates in its attributes."""
    import zarr

    ids = [f"cell-{i}" for i in range(5)]
    obs = pd.DataFrame({"region": pd.Categorical(["cells"] * 5), "instance_id": ids, "kind": "n"}, index=ids)
    table = ad.AnnData(sp.csr_matrix(COUNTS.astype(np.float32)), obs=obs, var=pd.DataFrame(index=GENES))
    if not circles and not outlines:
        table.obsm["spatial"] = XY
    root = zarr.open_group(str(folder), mode="w", zarr_format=version)
    ad.io.write_elem(root.require_group("tables"), name, table)
    about = {"spatialdata-encoding-type": "ngff:regions_table", "version": "0.2", "instance_key": "instance_id"}
    root[f"tables/{name}"].attrs.update({**about, "region": "cells", "region_key": "region"})
    if circles or outlines:
        root.require_group("shapes/cells").attrs["encoding-type"] = "ngff:shapes"
        points = [b"\x01\x01\x00\x00\x00" + place.tobytes() for place in XY.astype("<f8")]
        points = [polygon(SQUARE + place) for place in XY] if outlines else points
        shapes = pd.DataFrame({"radius": 3.0, "geometry": points}, index=pd.Index(ids, name="cell")).iloc[::-1]
        shapes.to_parquet(folder / "shapes" / "cells" / "shapes.parquet")
    return folder
