"""Files that cannot be read: missing parts, another type behind the name, damage, traps."""

import os

import scipy.sparse as sp
import vendor_bundles
from corpus import case, spatial
from good_files import CELLS, COUNTS, table, write_gz, write_mtx


def written(name: str, content: bytes, *says: str, command: str = "check_inputs", label: str = "") -> None:
    """A case of a file's bytes."""

    @spatial(f"file: {label or name}", name, *says, command=command)
    def write(folder):
        (folder / name).write_bytes(content)
        return name


def table_holding(folder, value) -> str:
    """Write a table of counts, one of which is this; its name."""
    frame = table().astype({"Gene1": object})
    frame.iloc[2, 1] = value
    frame.to_csv(folder / "x.csv")
    return "x.csv"


written("x.h5ad", b"", "the file is empty; copy it again", label="empty")
written("x.h5ad", b"hello\n", "not an HDF5 file, though its name says so", label="text named h5ad")
written("x.h5ad", b"\x80\x04\x95\x10\x00", "not an HDF5 file", "export or copy it again", label="pickle named h5ad")
written("x.rds", b"RDX3\n", "an object of R; write its counts as h5ad", "10x folder", label="R object")
written("x.csv", b"\x89PNG\r\n\x1a\n\0\0", "not a text table in UTF-8", "export it again", label="picture named csv")
written(
    "x.csv.gz", b"id,x,y,A\n", "cannot be unpacked or read (Not a gzipped file", "copy it again", label="csv named gz"
)
written("x.csv", b"id;x;y;A\na;1;2;3\n", "separated by semicolons, expected commas", label="csv with semicolons")
written("x.tsv", b"id,x,y,A\na,1,2,3\n", "separated by commas, expected tabs", label="tsv with commas")
written("x.csv", b"nothing\n", "expected a header line with gene names", label="csv of one column")
written("x.csv", b"id,x,y,A\n", "no cells: the table has a header and no rows", command="qc", label="csv without rows")
written("x.csv", b"gene,a,b\nA,1,2\n", "transpose the table", command="qc", label="csv with genes in rows")
written("x.csv", b"id,x,y,A\na,1,2,3\nb,1,2,3,4\n", "another number of columns", command="qc", label="ragged csv")
written("x.csv", b"id,x,y,A\na,1,2,3\nb,1,2,\xff\n", "utf-8", command="qc", label="csv that turns binary")
written("x.csv", b"id,A,B\na,1,2\n", "holds no coordinates", "x.coords.csv beside it", label="csv without coordinates")


@spatial("file: csv with text among counts", "row 4, column 'Gene1': found 'many', expected a count", command="qc")
def text_among_counts(folder):
    return table_holding(folder, "many")


@spatial("file: csv with empty cells", "gene 'Gene1', cell 'cell2' holds nan, not a number", command="qc")
def empty_cells(folder):
    return table_holding(folder, None)


HUGE = "40.1e991363691613"


@spatial("file: csv with an exponent of twelve digits", "gene 'Gene1', cell 'cell2' holds inf", command="qc")
def huge_count(folder):
    return table_holding(folder, HUGE)


@spatial("file: second file with an exponent of twelve digits", "cell 'cell0' has coordinates", command="qc")
def huge_place(folder):
    (folder / "x.coords.csv").write_text("cell_id,x,y\n" + "".join(f"cell{i},{HUGE},2\n" for i in range(12)))
    table().drop(columns=["x", "y"]).to_csv(folder / "x.csv")
    return "x.csv"


@spatial("file: gz cut short", "x.csv.gz", "Compressed file ended", "copy it again", command="qc")
def cut_gz(folder):
    write_gz(folder / "x.csv.gz", table().to_csv().encode() * 50)
    whole = (folder / "x.csv.gz").read_bytes()
    (folder / "x.csv.gz").write_bytes(whole[: len(whole) // 2])
    return "x.csv.gz"


@spatial("file: gz that unpacks to one endless line", "a line of more than 64 MB", command="check_inputs")
def endless_line(folder):
    write_gz(folder / "x.csv.gz", *[b"0" * (1 << 20)] * 70)
    return "x.csv.gz"


@spatial("file: header of a million odd columns", "x.csv", "export", command="check_inputs")
def endless_field(folder):
    (folder / "x.csv").write_bytes(b"id," + b"A" * 200_000 + b",x,y\na,1,2,3\n")
    return "x.csv"


@spatial("file: a line of commas", "more than 1,000,000 columns", "transpose the table", command="check_inputs")
def commas(folder):
    (folder / "x.csv").write_bytes(b"," * (60 << 20))
    return "x.csv"


@spatial("file: folder without a matrix", "a folder of no known kind", "found an empty folder", command="check_inputs")
def folder_without_matrix(folder):
    (folder / "run").mkdir()
    return "run"


@spatial("file: pipe", "neither a file nor a folder; give a file", command="check_inputs")
def pipe(folder):
    os.mkfifo(folder / "x.csv")
    return "x.csv"


@spatial("file: link to itself", "no such file; correct the path", command="check_inputs")
def link_to_itself(folder):
    (folder / "x.csv").symlink_to("x.csv")
    return "x.csv"


# ----------------------------------------------------------------------------- 10x matrix folders


def mtx(name: str, *says: str, command: str = "qc"):
    """Register a function that spoils a 10x matrix folder."""

    def register(spoil):
        def write(folder):
            write_mtx(folder / "run")
            spoil(folder / "run")
            return "run"

        spatial(f"mtx: {name}", *says, command=command)(write)
        return spoil

    return register


@mtx("without barcodes", "barcodes.tsv[.gz] is missing beside matrix.mtx", command="check_inputs")
def without_barcodes(run):
    (run / "barcodes.tsv").unlink()


@mtx("indices shifted by one", "entry 1 is of gene 0, expected 1 to 11", "export it again")
def shifted(run):
    lines = (run / "matrix.mtx").read_text().splitlines()
    at = next(i for i, line in enumerate(lines) if not line.startswith("%"))
    entries = [" ".join([*(str(int(n) - 1) for n in line.split()[:2]), line.split()[2]]) for line in lines[at + 1 :]]
    (run / "matrix.mtx").write_text("\n".join([*lines[: at + 1], *entries]) + "\n")


@mtx("transposed", "12 rows and 11 columns, but features.tsv names 11 genes", "transpose it")
def transposed(run):
    import scipy.io

    scipy.io.mmwrite(run / "matrix.mtx", sp.coo_matrix(COUNTS.astype(int)))


@mtx("one barcode too few", "names 11 genes and barcodes.tsv 11 cells", "export the three files again")
def too_few(run):
    (run / "barcodes.tsv").write_text("\n".join(CELLS[:-1]))


@mtx("cut short", "its header claims 130 entries", "it was cut short: copy it again")
def cut_mtx(run):
    lines = (run / "matrix.mtx").read_text().splitlines()
    (run / "matrix.mtx").write_text("\n".join(lines[:-20]) + "\n")


@mtx("with a zero byte", "cannot be read as 10x mtx", "export or copy the file again")
def zero_byte(run):
    whole = (run / "matrix.mtx").read_bytes()
    at = whole.rindex(b"\n", 0, len(whole) // 2)
    (run / "matrix.mtx").write_bytes(whole[:at] + b"\0" + whole[at + 1 :])


@mtx("with an exponent of twelve digits", "cannot be read as 10x mtx", "export or copy the file again")
def huge_entry(run):
    (run / "matrix.mtx").write_text(f"%%MatrixMarket matrix coordinate real general\n11 12 1\n1 1 {HUGE}\n")


@mtx("claims 10^12 entries", "its header claims 1,000,000,000,000 entries", "copy it again")
def claims_entries(run):
    head = "%%MatrixMarket matrix coordinate integer general\n11 12 1000000000000\n"
    (run / "matrix.mtx").write_text(head + "1 1 1\n")


@mtx("packed, claims a billion entries", "its header claims 1,000,000,000 entries", "copy it again")
def packed_claim(run):
    (run / "matrix.mtx").unlink()
    head = b"%%MatrixMarket matrix coordinate integer general\n11 12 1000000000\n"
    write_gz(run / "matrix.mtx.gz", head, *[b"1 1 1\n" * 100_000] * 20)


@mtx("claims 10^12 cells", "11 rows and 1,000,000,000,000 columns, but features.tsv names 11 genes")
def claims_cells(run):
    (run / "matrix.mtx").write_text("%%MatrixMarket matrix coordinate integer general\n11 1000000000000 1\n1 1 1\n")


@mtx("dense", "a matrix of kind 'array real general'", "export counts")
def dense(run):
    (run / "matrix.mtx").write_text("%%MatrixMarket matrix array real general\n11 12\n")


@mtx("no matrix at all", "expected '%%MatrixMarket matrix'; export it again")
def no_matrix(run):
    (run / "matrix.mtx").write_text("hello\n")


@case("file: second file of other cells", "no coordinates for cell 'cell0' (12 of 12 cells", "same id", command="qc")
def other_cells(folder):
    (folder / "x.coords.csv").write_text("cell_id,x,y\na,1,2\nb,3,4\n")
    table().drop(columns=["x", "y"]).to_csv(folder / "x.csv")
    return ["--input", "x.csv"]


@case("file: second file with repeated cells", "cell 'cell0' has several rows; keep one", command="qc")
def repeated_cells(folder):
    (folder / "x.coords.csv").write_text("cell_id,x,y\ncell0,1,2\ncell0,3,4\n")
    table().drop(columns=["x", "y"]).to_csv(folder / "x.csv")
    return ["--input", "x.csv"]


@case("file: second file for cells of one name", "x.csv: cell 'cell1' has several rows", "in front", command="qc")
def places_of_cells_of_one_name(folder):
    table()[["x", "y"]].to_csv(folder / "x.coords.csv")
    table().drop(columns=["x", "y"]).rename(index={"cell0": "cell1"}).to_csv(folder / "x.csv")
    return ["--input", "x.csv"]


@case("file: second file with a longer row", "x.coords.csv: row 4 has 4 fields", "header's 3", command="qc")
def longer_row(folder):
    (folder / "x.coords.csv").write_text("cell_id,x,y\ncell0,1,2\ncell1,3,4\ncell2,5,6,7\n")
    table().drop(columns=["x", "y"]).to_csv(folder / "x.csv")
    return ["--input", "x.csv"]


@spatial(
    "file: genes in rows, without a word that says so",
    "x.csv has genes in rows",
    "transpose",
    ".T.",
    command="check_inputs",
)
def genes_in_rows(folder):
    table()[["x", "y"]].to_csv(folder / "x.coords.csv")
    table().drop(columns=["x", "y"]).T.rename_axis("Row").to_csv(folder / "x.csv")
    return "x.csv"


@spatial("file: a row per molecule", "its rows are molecules, not cells", "count the molecules", command="check_inputs")
def molecules(folder):
    (folder / "x.csv").write_text("transcript_id,feature_name,x_location,y_location\n" + "1,Gene1,2,3\n" * 9)
    return "x.csv"


@spatial(
    "file: second file without coordinates", "whose second file is wrong", "name them x and y", command="check_inputs"
)
def no_places(folder):
    (folder / "x.coords.csv").write_text("cell_id,left\na,1\n")
    table().drop(columns=["x", "y"]).to_csv(folder / "x.csv")
    return "x.csv"


# ------------------------------------------------------------------------------ instruments' folders


def deep_json(name: str, write, part: str) -> None:
    """A case of nested brackets in a JSON file of a folder."""

    @spatial(f"folder: nested brackets in {name}", part, "cannot be read as JSON (too deep)", command="check_inputs")
    def spoil(folder):
        write(folder / "run")
        (folder / "run" / part).write_text("[" * 200_000)
        return "run"


deep_json("scale factors", vendor_bundles.visium, "spatial/scalefactors_json.json")
deep_json("a zarr store", vendor_bundles.spatialdata, "tables/table/zarr.json")
deep_json("an old zarr store", lambda path: vendor_bundles.spatialdata(path, version=2), "tables/table/.zattrs")


@spatial("folder: JSON of 20 MB", "more than 16 MB, too large for its kind", command="check_inputs")
def large_json(folder):
    vendor_bundles.visium(folder / "run")
    (folder / "run/spatial/scalefactors_json.json").write_text(f'{{"x": "{"x" * (20 << 20)}"}}')
    return "run"
