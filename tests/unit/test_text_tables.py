"""Tables as people write them: row names without a header, metadata among genes, cells without a place."""

import csv
import gzip

import anndata as ad
import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
import vendor_bundles as bundles
from spatialimpute.errors import InputError
from spatialimpute.qc.clean import clean_counts
from spatialimpute.qc.not_genes import find_suspects
from spatialimpute.sources import open_source
from spatialimpute.sources.coordinates import find_sidecar
from spatialimpute.sources.metadata_names import is_metadata
from spatialimpute.sources.text import table_header

N = 200
GENES = ["Gad1", "Sst", "Vip", "Pvalb", "Reln", "Plp1"]
RNG = np.random.default_rng(3)
COUNTS = RNG.poisson(RNG.gamma(0.5, 2, (N, len(GENES))))
COUNTS[:, 0] += RNG.integers(0, 2, N)
COUNTS[COUNTS.sum(axis=1) == 0, 1] = 1
XY = RNG.uniform(0, 1000, (N, 2)).round(3)
CELLS = [f"c{i}" for i in range(N)]


def table(**extra) -> pd.DataFrame:
    return pd.DataFrame(COUNTS, index=CELLS, columns=GENES).assign(**extra)


def places(index=CELLS) -> pd.DataFrame:
    return pd.DataFrame(XY, index=index, columns=["x", "y"])


def as_r_writes(frame: pd.DataFrame, **options) -> str:
    """`write.table(x, sep=",")`: the header has no field above the row names."""
    return frame.to_csv(quoting=csv.QUOTE_NONNUMERIC, **options).split(",", 1)[1]


def read(path, role="spatial", others=None, keys=()):
    """Source and QC as the command runs them; counts and summary."""
    raw = open_source(path).read(keys, find_sidecar(path) if role == "spatial" else None, others)
    return clean_counts(raw, id="s", role=role, technology="MERFISH", source=path.name, others=others)


def check(counts, kept=slice(None), coords=XY) -> None:
    order = [list(counts.genes).index(gene) for gene in GENES]
    assert len(counts.genes) == len(GENES)
    np.testing.assert_array_equal(counts.X.toarray()[:, order], COUNTS[kept])
    assert list(counts.cells) == list(np.array(CELLS)[kept])
    if coords is not None:
        np.testing.assert_allclose(counts.coords, coords[kept])


# ------------------------------------------------------------------------------------- rows and their header


def test_row_names_without_a_header_as_r_writes_them(tmp_path):
    (tmp_path / "x.csv").write_text(as_r_writes(table(x=XY[:, 0], y=XY[:, 1])))
    check(read(tmp_path / "x.csv")[0])
    (tmp_path / "y.csv").write_text(as_r_writes(table()))
    (tmp_path / "y.coords.csv").write_text(as_r_writes(places().iloc[::-1]))
    check(read(tmp_path / "y.csv")[0])
    (tmp_path / "y.coords.csv").unlink()
    (tmp_path / "y.coords.tsv").write_text(as_r_writes(places(), lineterminator="\r\n").replace(",", "\t"))
    check(read(tmp_path / "y.csv")[0])


def test_row_numbers_of_r_in_front_of_the_cells_ids(tmp_path):
    numbered = table(x=XY[:, 0], y=XY[:, 1]).reset_index(names="cell_id").set_axis(range(1, N + 1))
    (tmp_path / "x.csv").write_text(as_r_writes(numbered))
    check(read(tmp_path / "x.csv")[0])


def test_row_names_in_the_tables_of_instruments(tmp_path):
    folder = bundles.merscope(tmp_path / "merscope")
    before = open_source(folder).read()
    for name in ("cell_by_gene.csv", "cell_metadata.csv"):
        frame = pd.read_csv(folder / name, dtype=str)
        (folder / name).write_text(as_r_writes(frame.set_index(frame.columns[0])))
    after = open_source(folder).read()
    assert list(after.obs_names) == list(before.obs_names) and list(after.var_names) == list(before.var_names)
    np.testing.assert_array_equal(after.X.toarray(), before.X.toarray())
    np.testing.assert_array_equal(after.obsm["spatial"], before.obsm["spatial"])

    for name in ("cell_by_gene.csv", "cell_metadata.csv"):
        frame = pd.read_csv(folder / name, dtype=str).reset_index(names="EntityID")
        frame.iloc[:: 1 if "meta" in name else -1].reset_index(drop=True).to_csv(folder / name)
    after = open_source(folder).read()
    assert list(after.obs_names) == list(before.obs_names)[::-1]
    np.testing.assert_array_equal(after.obsm["spatial"], before.obsm["spatial"][::-1])

    folder = bundles.starmap_plus(tmp_path / "starmap")
    before, path = open_source(folder).read(), next(folder.glob("*raw_expression_pd.csv"))
    (folder / path.name).write_text(as_r_writes(pd.read_csv(path, index_col=0)))
    np.testing.assert_array_equal(open_source(folder).read().X.toarray(), before.X.toarray())


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("where", ["rows", "all", "some"])
def test_a_separator_too_many_at_the_end(tmp_path, where, end):
    header, *rows = table(x=XY[:, 0], y=XY[:, 1]).to_csv().splitlines()
    rows = [row + "," * (where != "some" or i % 3 == 1) for i, row in enumerate(rows)]
    (tmp_path / "x.csv").write_text(end.join([header + "," * (where == "all"), *rows, "", ""]), newline="")
    check(read(tmp_path / "x.csv")[0])


@pytest.mark.parametrize(
    "text, message",
    [
        ("id,x,y,A\na,1,2,3\nb,1,2\n", "row 3 has 3 fields, another number of columns than the header's 4"),
        ("id,x,y,A\na,1,2,3\nb,1,2,3,4\n", "row 3 has 5 fields"),
        ("id,x,y,A\na,1,2,3,4,5\nb,1,2,3,4,5\n", "row 2 has 6 fields"),
        ("x,y,A\na,1,2,3\nb,1,2,3\nc,1,2\n", "row 4 has 3 fields.*header's 4 .the first of which holds row names"),
        ("id,x,y,A\n" + "a,1,2,3\n" * 40 + "b,1,2\n", "row 42 has 3 fields"),
        ('id,x,y,A\n"a\nb",1,2,3\n\nb,1,2\n', "row 5 has 3 fields"),
        ('id,x,y,A\n"a,1,2,3\nb,1,2\n', "row 2: a text in quotes does not end"),
    ],
)
def test_rows_of_other_lengths_are_refused(tmp_path, text, message):
    for name in ("x.csv", "x.csv.gz"):
        with (gzip.open if name.endswith("gz") else open)(tmp_path / name, "wt") as file:
            file.write(text)
        with pytest.raises(InputError, match=message):
            open_source(tmp_path / name).read()
    (tmp_path / "z.csv").write_text("id,A\na,1\nb,2\n")
    (tmp_path / "z.coords.csv").write_text(text)
    with pytest.raises(InputError, match=message):
        open_source(tmp_path / "z.csv").read(coords=tmp_path / "z.coords.csv")


def test_texts_in_quotes_may_hold_separators_and_lines(tmp_path):
    kinds = ["a, b", 'say "c"', "two\nlines", "5' end"] * (N // 4)
    table(x=XY[:, 0], y=XY[:, 1], kind=kinds).to_csv(tmp_path / "x.csv")
    data = open_source(tmp_path / "x.csv").read()
    assert list(data.obs["kind"]) == kinds and table_header(tmp_path / "x.csv")[0] == ""


# ------------------------------------------------------------------------------------- cells and their places


def test_repeated_names_have_no_place_in_a_second_file(tmp_path):
    table().set_axis(CELLS[: N // 2] * 2).to_csv(tmp_path / "x.csv")
    places().to_csv(tmp_path / "x.coords.csv")
    with pytest.raises(InputError, match=r"x.csv: cell 'c0' has several rows; .*200 of 200 counts share their id"):
        read(tmp_path / "x.csv")


@pytest.mark.parametrize("kind", ["second file", "NaN in second file", "table", "h5ad", "h5ad columns"])
def test_cells_without_a_place_are_left_out_and_counted(tmp_path, kind):
    path = tmp_path / ("x.h5ad" if "h5ad" in kind else "x.csv")
    xy = places().astype(object if kind == "h5ad columns" else float)
    xy.iloc[[3, 50]] = "NA" if kind == "h5ad columns" else np.nan
    if kind == "second file":
        table().to_csv(path)
        xy.dropna().to_csv(tmp_path / "x.coords.csv")
    elif kind == "NaN in second file":
        table().to_csv(path)
        xy.to_csv(tmp_path / "x.coords.csv")
    elif kind == "table":
        table(x=xy["x"], y=xy["y"]).to_csv(path)
    else:
        obs = xy.astype(str) if kind == "h5ad columns" else pd.DataFrame(index=CELLS)
        data = ad.AnnData(sp.csr_matrix(COUNTS.astype(np.float32)), obs, pd.DataFrame(index=GENES))
        if kind == "h5ad":
            data.obsm["spatial"] = xy.to_numpy()
        data.write_h5ad(path)
    counts, summary = read(path)
    kept = np.setdiff1d(np.arange(N), [3, 50])
    check(counts, kept)
    left_out = next(step for step in summary["steps"] if step["step"] == "cells without a place")
    assert left_out["n"] == 2 and left_out["examples"] == ["c3", "c50"]
    assert (summary["n_cells_in"], summary["n_cells"]) == (N, N - 2)


def test_cells_without_a_place_in_a_folder(tmp_path):
    folder = bundles.merscope(tmp_path / "x")
    cells = pd.read_csv(folder / "cell_metadata.csv", dtype=str)
    cells.loc[1, "center_x"] = np.nan
    cells.to_csv(folder / "cell_metadata.csv", index=False)
    raw = open_source(folder).read()
    counts, summary = clean_counts(raw, id="s", role="spatial", technology="MERSCOPE", source="x")
    assert len(counts.cells) == 4 and cells.iloc[1, 0] not in counts.cells
    assert [step["n"] for step in summary["steps"] if step["step"] == "cells without a place"] == [1]


def test_second_files_of_other_cells_are_refused(tmp_path):
    table().set_axis([str(i) for i in range(N)]).to_csv(tmp_path / "x.csv")
    places([str(i + 1) for i in range(N)]).to_csv(tmp_path / "x.coords.csv")
    with pytest.raises(InputError, match="1 of 200 cells with counts have no row here .first: '0'"):
        read(tmp_path / "x.csv")
    table().to_csv(tmp_path / "x.csv")
    places([f"c{i + 2}" for i in range(N)]).to_csv(tmp_path / "x.coords.csv")
    with pytest.raises(InputError, match="cells numbered alike"):
        read(tmp_path / "x.csv")
    places([f"b{i}" for i in range(N)]).to_csv(tmp_path / "x.coords.csv")
    with pytest.raises(InputError, match="200 of 200 cells with counts have no row"):
        read(tmp_path / "x.csv")


def test_cells_that_each_side_lacks_where_ids_cannot_agree_by_chance(tmp_path):
    barcodes = np.array(["".join(RNG.choice(list("ACGT"), 14)) for _ in range(N)])
    table().set_axis(barcodes).iloc[:190].to_csv(tmp_path / "x.csv")
    places(barcodes).iloc[10:].to_csv(tmp_path / "x.coords.csv")
    counts, summary = read(tmp_path / "x.csv")
    assert list(counts.cells) == list(barcodes[10:190])
    np.testing.assert_allclose(counts.coords, XY[10:190])
    assert any("10 of 190 cells of x.coords.csv have no counts" in text for text in summary["warnings"])


# ------------------------------------------------------------------------------------- columns that are no genes

NO_GENES = {
    "louvain": np.arange(N) % 9, "Field of View": np.arange(N) // 40, "Cell ID": np.arange(N) + 1,
    "orig.ident": 1, "percent.mt": 0.25, "nCount_RNA": COUNTS.sum(axis=1), "RNA_snn_res.0.8": np.arange(N) % 4,
    "n_genes_by_counts": 3, "leiden": np.arange(N) % 5, "array_row": np.arange(N), "Bregma": -0.29, "Animal_ID": 7,
    "Neuron_cluster_ID": "I-1", "CenterX_local_px": 3.5, "Area": 40, "AspectRatio": 0.9, "Mean.PanCK": 12,
    "perimeter_area_ratio": 0.4, "DAPI_raw": 900, "transcript_counts": 3, "nucleus_area": 2.5, "nr_feats": 9,
    "cell_area": 12, "slide_ID_numeric": 2, "AnimalID": 4, "seurat_clusters": np.arange(N) % 3,
}  # fmt: skip


def test_names_that_tools_give_to_columns_of_the_cells():
    assert [name for name in NO_GENES if not is_metadata(name)] == []
    genes = [
        "x",
        "y",
        "z",
        "run",
        "row",
        "mask",
        "HLA-A",
        "MT-CO1",
        "H2-K1",
        "Su(H)",
        "E(spl)m8-HLH",
        "nkx2.1",
        "PCA3",
    ]
    assert [name for name in [*GENES, *genes] if is_metadata(name)] == []


@pytest.mark.parametrize("kind", ["csv", "h5ad"])
def test_known_metadata_is_no_gene(tmp_path, kind):
    numeric = {name: values for name, values in NO_GENES.items() if not isinstance(values, str)}
    frame = table(**numeric)[[*numeric, *GENES]]
    if kind == "csv":
        frame.assign(x=XY[:, 0], y=XY[:, 1]).to_csv(tmp_path / "x.csv")
    else:  # as sc.read_csv(...).write_h5ad leaves it
        data = ad.AnnData(frame.astype(np.float32))
        data.obsm["spatial"] = XY
        data.write_h5ad(tmp_path / "x.h5ad")
    check(read(tmp_path / f"x.{kind}")[0])


FEW = RNG.integers(0, 3, N)
CODES = {
    "Hemi": (np.ones(N), "the same number in all cells"),
    "Zelle": (np.arange(N) + 4000, "numbers the cells"),
    "Within": (np.arange(N) % 50 + 1, "numbers the cells"),
    "Sektion": (np.arange(N) // 50, "one number for many cells"),
    "Ebene": ((RNG.uniform(0, 3, N) - 1).round(2), "not whole numbers"),
    "Summe": (COUNTS.sum(axis=1) * 3, "as their sum does"),
    "Tiefe": (COUNTS.sum(axis=1), "as their sum does"),
}


@pytest.mark.parametrize("name", CODES)
def test_unknown_columns_are_judged_by_what_they_hold(tmp_path, name):
    values, reason = CODES[name]
    table(**{name: values}, x=XY[:, 0], y=XY[:, 1]).to_csv(tmp_path / "x.csv")
    counts, summary = read(tmp_path / "x.csv")
    check(counts)
    assert [text for text in summary["warnings"] if repr(name) in text and reason in text], summary["warnings"]
    if name != "Ebene":
        counts, summary = read(tmp_path / "x.csv", others=["", "x", "y"])  # the reference has a gene of this name
        assert name in counts.genes


@pytest.mark.parametrize(
    "name, values",
    [
        ("Doubt", RNG.integers(1, 6, N)),
        ("Doubt", RNG.integers(0, 7, N)),
        ("Doubt", np.where(COUNTS.sum(axis=1) % 3, 0, 200)),
        ("Big one", FEW),
    ],
)
def test_columns_in_doubt_are_named_and_dropped_only_where_no_reference_has_them(tmp_path, name, values):
    table(**{name: values}, x=XY[:, 0], y=XY[:, 1]).to_csv(tmp_path / "x.csv")
    counts, summary = read(tmp_path / "x.csv")
    assert name in counts.genes and repr(name) in summary["warnings"][0]
    counts, summary = read(tmp_path / "x.csv", others=[name, "x", "y", ""])
    check(counts)
    assert repr(name) in summary["warnings"][0] and "not taken for genes" in summary["warnings"][0]
    counts, summary = read(tmp_path / "x.csv", others=["x", "y", ""])
    assert name in counts.genes and summary["warnings"] == []


FLY = RNG.poisson(0.8, (N, 3))


@pytest.mark.parametrize("places_in", ["columns", "second file", "upper case"])
@pytest.mark.parametrize("known", [True, False])
def test_genes_named_like_coordinates(tmp_path, places_in, known):
    genes = dict(zip("zyx", FLY.T, strict=True))
    frame = table(**genes)
    if places_in == "second file":
        places().to_csv(tmp_path / "x.coords.csv")
    else:
        names = ("center_x", "center_y") if places_in == "columns" else ("X", "Y")
        frame = frame.assign(**dict(zip(names, XY.T, strict=True)))
    frame.to_csv(tmp_path / "x.csv")
    counts, _ = read(tmp_path / "x.csv", others=["", *(set(frame) - set(GENES) - set("xyz"))] if known else None)
    assert set(counts.genes) == {*GENES, *"xyz"}
    for name, values in genes.items():
        np.testing.assert_array_equal(counts.X[:, list(counts.genes).index(name)].toarray().ravel(), values)
    np.testing.assert_allclose(counts.coords, XY)


def test_genes_named_like_coordinates_in_references_and_instruments_tables(tmp_path):
    table(**dict(zip("xyz", FLY.T, strict=True))).to_csv(tmp_path / "r.csv")
    assert set(read(tmp_path / "r.csv", role="reference")[0].genes) == {*GENES, *"xyz"}
    folder = bundles.merscope(tmp_path / "x")
    frame = pd.read_csv(folder / "cell_by_gene.csv", dtype=str).assign(z="2")
    frame.to_csv(folder / "cell_by_gene.csv", index=False)
    data = open_source(folder).read()
    assert data[:, "z"].X.toarray().ravel().tolist() == [2.0] * 5 and data.obsm["spatial"].shape[1] == 2


def test_a_third_coordinate_is_a_gene_only_where_the_reference_has_it(tmp_path):
    table(x=XY[:, 0], y=XY[:, 1], z=FLY[:, 0]).to_csv(tmp_path / "x.csv")
    assert read(tmp_path / "x.csv")[0].coords.shape[1] == 3
    assert read(tmp_path / "x.csv", others=["", "x", "y", "z"])[0].coords.shape[1] == 3
    counts, _ = read(tmp_path / "x.csv", others=["", "x", "y"])
    assert counts.coords.shape[1] == 2 and "z" in counts.genes


@pytest.mark.parametrize(
    "header", ["transcript_id,cell_id,feature_name,x_location,y_location", "gene,x,y", "x,y,geneID"]
)
def test_tables_of_molecules_are_told_by_their_header(tmp_path, header):
    (tmp_path / "x.csv").write_text(header + "\n" + ",".join("1" * header.count(",") + "G") + "\n")
    with pytest.raises(InputError, match="its rows are molecules, not cells .*crosstab"):
        open_source(tmp_path / "x.csv").header()


@pytest.mark.parametrize("mean", [0.01, 0.3, 1, 3, 20, 200])
@pytest.mark.parametrize("shape", [0.3, 2, 1e6])
def test_counts_of_every_mean_and_dispersion_are_in_no_doubt(mean, shape):
    rng = np.random.default_rng(int(100 * mean))
    x = sp.csr_matrix(rng.poisson(rng.gamma(shape, mean / shape, (1000, 60))).astype(np.float32))
    names = np.array([f"Gene{i}" for i in range(60)])
    suspects = find_suspects(x, names, np.ones(60, bool))
    assert not suspects.certain and not suspects.doubtful
