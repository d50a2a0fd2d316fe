"""What spreadsheets, R and other tools do to tables, names and ids: read as meant, or said."""

import csv

import anndata as ad
import h5py
import numpy as np
import pandas as pd
import pytest
import scipy.io
import scipy.sparse as sp
from format_files import CELLS, COUNTS, GENES, XY, data
from spatialimpute.check.both_sides import BothSides
from spatialimpute.errors import InputError
from spatialimpute.qc.clean import clean_counts
from spatialimpute.sources import open_source
from spatialimpute.sources.coordinates import find_sidecar
from spatialimpute.sources.gene_columns import ensembl_id, plain_names

IDS = [f"ENSMUSG{i:011d}" for i in range(12)]


def table(cells=CELLS, genes=GENES, places=True) -> pd.DataFrame:
    frame = pd.DataFrame(COUNTS.astype(int), index=pd.Index(cells, name="cell_id"), columns=genes)
    return frame.assign(x=XY[:, 0], y=XY[:, 1]) if places else frame


def read(path, **options):
    raw = open_source(path).read(coords=find_sidecar(path), others=options.get("others"))
    return clean_counts(raw, id="s", role="spatial", technology="other", source=path.name, **options)


def check(counts, genes=GENES, kept=slice(None)):
    assert list(counts.genes) == list(genes)
    np.testing.assert_array_equal(counts.X.toarray(), COUNTS[kept])
    np.testing.assert_allclose(counts.coords, XY[kept])


def two(spatial, reference) -> dict:
    return {"sample": "s", "spatial": [str(spatial)], "reference": [{"files": [str(reference)]}]}


# ------------------------------------------------------------------------------------- metadata on both sides


@pytest.mark.parametrize("suffix", [".csv", ".h5ad"])
def test_metadata_in_both_sides_tables_is_no_gene(tmp_path, suffix):
    extra = {"leiden": np.arange(40) % 7, "n_counts": COUNTS.sum(axis=1), "fov": np.repeat([1, 2], 20)}
    for name in ("a", "b"):
        frame = table(places=suffix == ".csv").assign(**extra)
        if suffix == ".csv":
            frame.to_csv(tmp_path / f"{name}.csv")
        else:
            found = ad.AnnData(sp.csr_matrix(frame.to_numpy(np.float32)), frame[[]], pd.DataFrame(index=frame.columns))
            found.obsm["spatial"] = XY
            found.write_h5ad(tmp_path / f"{name}.h5ad")
    spatial = tmp_path / f"a{suffix}"
    others = BothSides({}).others(two(spatial, tmp_path / f"b{suffix}"))
    assert {"leiden", "n_counts", "fov"} <= set(others)
    check(read(spatial, others=others)[0])


def test_a_catalog_of_genes_vouches_for_any_name(tmp_path):
    genes = [*GENES[:-1], "region"]
    table(genes=genes).to_csv(tmp_path / "a.csv")
    data(genes=genes, gene_ids=IDS).write_h5ad(tmp_path / "b.h5ad")
    others = BothSides({}).others(two(tmp_path / "a.csv", tmp_path / "b.h5ad"))
    assert "region" not in others
    check(read(tmp_path / "a.csv", others=others)[0], genes)


def test_the_sum_of_all_columns_is_no_gene(tmp_path):
    table().assign(Tiefe=COUNTS.sum(axis=1).astype(int)).to_csv(tmp_path / "a.csv")
    counts, summary = read(tmp_path / "a.csv")
    check(counts)
    assert "'Tiefe' (it rises and falls with all other columns" in summary["warnings"][0]
    counts, summary = read(tmp_path / "a.csv", others=["x", "y", "cell_id"])  # the other side has it as well
    assert "Tiefe" in counts.genes and "remove them on both if they are none" in summary["warnings"][0]


# ------------------------------------------------------------------------------------- places and ids


@pytest.mark.parametrize("order", [["x", "y"], ["y", "x"], ["region", "y_centroid", "x_centroid"]])
def test_places_in_a_table_of_obsm_are_taken_by_name(tmp_path, order):
    by_letter = {"x": XY[:, 0], "y": XY[:, 1], "r": np.arange(40)}
    found = data()
    found.obsm["spatial"] = pd.DataFrame({name: by_letter[name[0]] for name in order}, index=CELLS)
    found.write_h5ad(tmp_path / "a.h5ad")
    counts, summary = read(tmp_path / "a.h5ad")
    check(counts)
    assert summary["coordinate_unit"] == ("um" if len(order) == 3 else "unknown")


@pytest.mark.parametrize("values", [[0] * 8 + [1] * 32, [False] * 8 + [True] * 32, ["0"] * 8 + ["1"] * 32])
def test_spots_outside_of_the_tissue_go_from_any_file(tmp_path, values):
    found = data()
    found.obs["in_tissue"] = values
    found.write_h5ad(tmp_path / "a.h5ad")
    counts, summary = read(tmp_path / "a.h5ad")
    check(counts, kept=slice(8, None))
    assert summary["dropped" if "dropped" in summary else "steps"][0]["step"] == "outside of the tissue"
    table(places=False).to_csv(tmp_path / "b.csv")
    pd.DataFrame({"barcode": CELLS, "in_tissue": values, "x": XY[:, 0], "y": XY[:, 1]}).to_csv(
        tmp_path / "b.coords.csv", index=False
    )
    check(read(tmp_path / "b.csv")[0], kept=slice(8, None))
    found.obs["in_tissue"] = 0  # says nothing
    found.write_h5ad(tmp_path / "a.h5ad")
    check(read(tmp_path / "a.h5ad")[0])


@pytest.mark.parametrize(
    "change, says",
    [
        (lambda cell: f"{cell}-1", "their ending, such as '-1'"),
        (lambda cell: f"S1_{cell}", "in front of them, such as a sample's name"),
        (lambda cell: f"{cell}_S1", "what is behind them|their ending"),
        (lambda cell: cell.replace("-", "."), "'.' in place of '-'"),
        (lambda cell: f"{cell} ", "spaces or quotes"),
        (str.lower, "upper and lower case"),
    ],
)
def test_ids_that_a_tool_changed_are_refused_with_the_difference(tmp_path, change, says):
    cells = [f"ACG-T{i}A" for i in range(40)]
    table([change(cell) for cell in cells], places=False).to_csv(tmp_path / "a.csv")
    pd.DataFrame(XY, cells, ["x", "y"]).to_csv(tmp_path / "a.coords.csv", index_label="cell")
    with pytest.raises(InputError, match=f"they differ by .*({says}).*: write the ids alike in both files"):
        read(tmp_path / "a.csv")


def test_ids_in_another_column_than_the_first(tmp_path):
    table(places=False).to_csv(tmp_path / "a.csv")
    places = pd.DataFrame({"Spot": CELLS, "x": XY[:, 0], "y": XY[:, 1]}).sample(frac=1, random_state=0)
    places.reset_index(drop=True).to_csv(tmp_path / "a.coords.csv")
    check(read(tmp_path / "a.csv")[0])


def test_ids_that_a_spreadsheet_shortened(tmp_path):
    table(["1.10883E+38"] * 40, places=False).to_csv(tmp_path / "a.csv")
    pd.DataFrame(XY, CELLS, ["x", "y"]).to_csv(tmp_path / "a.coords.csv", index_label="cell")
    with pytest.raises(InputError, match="which a spreadsheet has shortened"):
        read(tmp_path / "a.csv")


def test_a_second_file_without_a_header(tmp_path):
    table(places=False).to_csv(tmp_path / "a.csv")
    pd.DataFrame(XY, CELLS).to_csv(tmp_path / "a.coords.csv", header=False)
    with pytest.raises(InputError, match="its first line holds values .c0, .* such as cell_id,x,y"):
        read(tmp_path / "a.csv")


# ------------------------------------------------------------------------------------- text


@pytest.mark.parametrize("encoding", ["utf-16", "utf-8-sig"])
@pytest.mark.parametrize("name", ["a.csv", "a.tsv"])
def test_text_as_spreadsheets_write_it(tmp_path, encoding, name):
    sep = "," if name.endswith("csv") else "\t"
    table(places=False).to_csv(tmp_path / name, sep=sep, encoding=encoding, quoting=csv.QUOTE_ALL)
    pd.DataFrame(XY, CELLS, ["x", "y"]).to_csv(tmp_path / "a.coords.csv", index_label="cell", encoding=encoding)
    check(read(tmp_path / name)[0])


def test_text_that_is_no_unicode(tmp_path):
    (tmp_path / "a.csv").write_bytes(table().assign(Région=1).to_csv().encode("latin-1"))
    with pytest.raises(InputError, match="CSV UTF-8"):
        open_source(tmp_path / "a.csv").header()


@pytest.mark.parametrize("text", ["sep=,", "# written by a tool", "# written by a tool, version 2", "#1.2"])
def test_lines_above_the_header(tmp_path, text):
    (tmp_path / "a.csv").write_text(f"{text}\n{table().to_csv()}")
    with pytest.raises(InputError, match=f"its first line is '{text}', no header; remove all lines above"):
        open_source(tmp_path / "a.csv").header()
    (tmp_path / "a.csv").write_text(f"#{table().to_csv()}")
    check(read(tmp_path / "a.csv")[0])


@pytest.mark.parametrize("column", ["Gene3", "x"])
@pytest.mark.parametrize("change", ["{:.0f},0", "1.{:03.0f},5", "1 {:03.0f}"])
def test_numbers_of_other_languages_are_refused(tmp_path, column, change):
    frame = table().astype(object)
    frame[column] = [change.format(float(value)) for value in frame[column]]
    frame.to_csv(tmp_path / "a.csv")
    with pytest.raises(InputError, match=r"found '.*write numbers with a point for decimals"):
        read(tmp_path / "a.csv")
    table(places=False).to_csv(tmp_path / "b.csv")
    if column == "x":
        frame[["x", "y"]].to_csv(tmp_path / "b.coords.csv")
        with pytest.raises(InputError, match=r"row 2, column 'x'.*write numbers with a point"):
            read(tmp_path / "b.csv")


def test_a_table_of_one_count_per_row_is_summed_by_the_line_that_is_given(tmp_path):
    long = table(places=False).stack().reset_index().set_axis(["cell", "gene", "count"], axis=1)
    long.sample(frac=1, random_state=0).to_csv(tmp_path / "a.csv", index=False)
    data().write_h5ad(tmp_path / "b.h5ad")
    [text] = BothSides({}).shared_problems(two(tmp_path / "a.csv", tmp_path / "b.h5ad"), 10)
    line = text.split("in Python: ")[1].split(".to_csv(")[0].replace("'a.csv'", repr(str(tmp_path / "a.csv")))
    first, second = line.split("; ")
    names = {"pandas": pd}
    exec(first, names)
    counts = eval(second, names)
    np.testing.assert_array_equal(counts.loc[CELLS, GENES], COUNTS)
    long.assign(fov=1).to_csv(tmp_path / "a.csv", index=False)
    [text] = BothSides({}).shared_problems(two(tmp_path / "a.csv", tmp_path / "b.h5ad"), 10)
    assert "table['fov'].astype(str) + '_' + table['cell'].astype(str)" in text


# ------------------------------------------------------------------------------------- names of genes


@pytest.mark.parametrize(
    "names, plain, ids",
    [
        (["Gad1_ENSMUSG00000000001", "Sst_ENSMUSG00000000002.3"], ["Gad1", "Sst"], True),
        (["ENSMUSG00000000001|Gad1", "ENSMUSG00000000002.3-H2-Ab1"], ["Gad1", "H2-Ab1"], True),
        (["ENSMUSG00000000001.7", "ENSMUSG00000000002"], ["ENSMUSG00000000001", "ENSMUSG00000000002"], True),
        (["mm10_Gad1", "mm10___H2-Ab1"], ["Gad1", "H2-Ab1"], False),
        (["GRCh38-GAD1", "GRCh38-HLA-A"], ["GAD1", "HLA-A"], False),
        (["mm10_Gad1", "hg19_GAD1"], ["mm10_Gad1", "hg19_GAD1"], False),
        (["H2-Ab1", "AC012345.1", "mt-Nd1", "ENSA", "Mm10"], ["H2-Ab1", "AC012345.1", "mt-Nd1", "ENSA", "Mm10"], False),
    ],
)
def test_names_that_hold_more_than_a_symbol(names, plain, ids):
    assert plain_names(names) == plain
    assert [ensembl_id(name) for name in names] == ([IDS[1], IDS[2]] if ids else [""] * len(names))


@pytest.mark.parametrize("write", ["{gene}_{id}", "{id}.4|{gene}", "mm10_{gene}"])
def test_such_names_match_the_other_side(tmp_path, write):
    names = [write.format(gene=gene, id=id) for gene, id in zip(GENES, IDS, strict=True)]
    table(genes=names).to_csv(tmp_path / "a.csv")
    data().write_h5ad(tmp_path / "b.h5ad")
    assert BothSides({}).shared_problems(two(tmp_path / "a.csv", tmp_path / "b.h5ad"), 10) == []
    counts, summary = read(tmp_path / "a.csv")
    check(counts)
    assert counts.gene_ids is None or list(counts.gene_ids) == IDS
    assert {step["step"]: step["n"] for step in summary["steps"]}["gene names"] == 12


def test_names_that_a_spreadsheet_made_dates_of_are_said(tmp_path):
    table(genes=["1-Mar", "Sep-02", *GENES[2:]]).to_csv(tmp_path / "a.csv")
    assert "genes '1-Mar', 'Sep-02': dates" in read(tmp_path / "a.csv")[1]["warnings"][0]
    aliases = {"1-Mar": "Marchf1", "Sep-02": "Septin2"}
    assert read(tmp_path / "a.csv", aliases=aliases)[1]["warnings"] == []


def test_names_that_r_changed_are_said(tmp_path):
    table(genes=["H2.Ab1", "X1700001C02Rik", *GENES[2:]]).to_csv(tmp_path / "a.csv")
    data(genes=["H2-Ab1", "1700001C02Rik", *GENES[2:]]).write_h5ad(tmp_path / "b.h5ad")
    [text] = BothSides({}).warnings(two(tmp_path / "a.csv", tmp_path / "b.h5ad"))
    assert "2 genes differ" in text and "H2.Ab1 (H2-Ab1)" in text and "X1700001C02Rik (1700001C02Rik)" in text
    aliases = {"H2.Ab1": "H2-Ab1", "X1700001C02Rik": "1700001C02Rik"}
    assert BothSides(aliases).warnings(two(tmp_path / "a.csv", tmp_path / "b.h5ad")) == []


# ------------------------------------------------------------------------------------- counts and folders


def test_whole_numbers_that_were_rounded_are_said(tmp_path):
    for x, says in (
        (np.round(COUNTS / COUNTS.sum(axis=1, keepdims=True) * 1e4), "nearly the same number of counts (10000)"),
        (np.round(np.log1p(COUNTS * (COUNTS > 3) * 400)), "hardly any value is 1"),
    ):
        data(x).write_h5ad(tmp_path / "a.h5ad")
        assert says in read(tmp_path / "a.h5ad")[1]["warnings"][0]
    data().write_h5ad(tmp_path / "a.h5ad")
    assert read(tmp_path / "a.h5ad")[1]["warnings"] == []


def test_counts_of_more_genes_in_raw_are_said(tmp_path):
    found = data()
    found.raw = found
    found[:, :5].write_h5ad(tmp_path / "a.h5ad")
    counts, summary = read(tmp_path / "a.h5ad")
    assert len(counts.genes) == 5 and "raw has counts of 12" in summary["warnings"][0]


def test_10x_folders_as_r_writes_them(tmp_path):
    folder = tmp_path / "r"
    folder.mkdir()
    scipy.io.mmwrite(folder / "matrix.mtx", sp.coo_matrix(COUNTS.T.astype(int)))
    scipy.io.mmwrite(folder / "UniqueAndMult-EM.mtx", sp.coo_matrix(COUNTS.T * 0.3))  # by STARsolo
    for form in ('"{n}"\t"{name}"\n', '"{name}"\n', "{name}\n"):
        for file, names in (("genes.tsv", GENES), ("barcodes.tsv", CELLS)):
            rows = (form.format(n=i, name=name) for i, name in enumerate(names, start=1))
            (folder / file).write_text("".join(rows))
        source = open_source(folder)
        raw = source.read()
        assert source.gene_columns()["index"] == GENES == list(raw.var_names) and list(raw.obs_names) == CELLS
        assert source.labels()[""] == CELLS
        np.testing.assert_array_equal(raw.X.toarray(), COUNTS)
    for file in ("genes.tsv", "barcodes.tsv"):
        (folder / file).write_text("x\n" + (folder / file).read_text())
    with pytest.raises(InputError, match="remove the first line of genes.tsv and of barcodes.tsv"):
        open_source(folder).read()


def test_folders_that_hold_folders_or_molecules(tmp_path):
    for name in ("R1", "R2"):
        (tmp_path / "run" / name).mkdir(parents=True)
        (tmp_path / "run" / name / "experiment.xenium").write_text("{}")
    with pytest.raises(InputError, match=r"several folders of counts: R1 .a Xenium folder., .* name one: run/R1"):
        open_source(tmp_path / "run")
    (tmp_path / "molecules").mkdir()
    (tmp_path / "molecules" / "transcripts.parquet").write_bytes(b"x")
    with pytest.raises(InputError, match="holds molecules .transcripts.parquet. without the counts of cells"):
        open_source(tmp_path / "molecules")


def test_own_results_are_told_from_own_counts(tmp_path):
    found = data()
    found.uns["spatialimpute"] = {"version": "1"}
    found.write_h5ad(tmp_path / "counts.h5ad")
    check(read(tmp_path / "counts.h5ad")[0])
    found.obsm["X_gimvi"] = XY
    found.write_h5ad(tmp_path / "imputed.h5ad")
    found.write_zarr(tmp_path / "imputed.zarr")
    for name in ("imputed.h5ad", "imputed.zarr"):
        with pytest.raises(InputError, match="values that this pipeline imputed"):
            open_source(tmp_path / name).header()


def test_records_in_a_loom_file_are_left_out(tmp_path):
    """As SCENIC and SCope store embeddings of cells and regulons of genes."""
    record = np.dtype([("_X", "f4"), ("_Y", "f4")])
    with h5py.File(tmp_path / "a.loom", "w") as file:
        file["matrix"] = COUNTS.T
        file["row_attrs/Gene"], file["col_attrs/CellID"] = np.array(GENES, "S"), np.array(CELLS, "S")
        file["row_attrs/Regulons"], file["col_attrs/Embedding"] = np.zeros(12, record), np.zeros(40, record)
        file["col_attrs/X"], file["col_attrs/Y"] = XY.T
        for name in ("layers", "row_graphs", "col_graphs", "attrs"):
            file.create_group(name)
    assert "Embedding" not in open_source(tmp_path / "a.loom").header().columns
    counts, summary = read(tmp_path / "a.loom")
    check(counts)
    assert [step["examples"] for step in summary["steps"]][:2] == [["Embedding"], ["Regulons"]]
