"""Bad samplesheets, and bad cells of them."""

from corpus import GOOD_SHEET, HEADER, ROW, case, cell, sheet

sheet("empty", "", "empty; expected a header with sample, spatial")
sheet("white space alone", "\n \n\t\n", "empty; expected a header")
sheet("header alone", f"{HEADER}\n", "no samples; expected one row per sample")
sheet("semicolons", GOOD_SHEET.replace(",", ";"), "separated by semicolons, expected commas")
sheet("tabs", GOOD_SHEET.replace(",", "\t"), "separated by tabs, expected commas")
sheet("bars", GOOD_SHEET.replace(",", "|"), "separated by bars, expected commas")
sheet("misspelled column", GOOD_SHEET.replace("reference,", "refrence,", 1), "'refrence'", "did you mean 'reference'?")
sheet("unknown column", f"{HEADER},note\n{ROW},x\n", "'note', which is not known; known are sample, spatial")
sheet("column missing", "sample,spatial,reference\ns1,a,b\n", "column 'technology' is missing; add it")
sheet("column twice", f"sample,{HEADER}\ns1,{ROW}\n", "column 'sample' appears 2 times; keep one")
sheet("no header", f"{ROW}\n", "column 'sample' is missing")
sheet("sample twice", f"{GOOD_SHEET}{ROW}\n", "row 3, column 'sample'", "the same name; give every sample its own")
sheet("samples that differ in case", f"{GOOD_SHEET}S{ROW[1:]}\n", "row 3", "differs in case alone")
sheet("Latin-1", f"{HEADER}\n\xe4{ROW}\n".encode("latin-1"), "not UTF-8 text (byte 36)", "save it as CSV in UTF-8")
sheet("UTF-16", GOOD_SHEET.encode("utf-16"), "not UTF-8 text", "save it as CSV in UTF-8")
sheet("a workbook", b"PK\x03\x04\x14\0\0\0\x08\0", "not a text file; save it as CSV")
sheet("NUL bytes", f"{HEADER}\n\0{ROW}\n", "not a text file; save it as CSV")
sheet("open quote", f'{HEADER}\ns1,"spatial.h5ad,reference.h5ad,MERFISH\n', "row 2 is not CSV", "check its quotes")
sheet("ragged rows", f"{GOOD_SHEET}s2,spatial.h5ad,reference.h5ad\n", "row 3: found 3 fields, expected 4")
sheet("a novel", f"{GOOD_SHEET}{'x' * 200_000},a,b,c\n", "row 3 is not CSV", "check its quotes")
sheet("5 MB", GOOD_SHEET + f"{ROW}\n" * 150_000, "5 MB, too large for a samplesheet")
cell("space in a name", "sample", "s 1", "found 's 1'", "rename the sample")
cell("formula", "sample", "=1+1", "found '=1+1'", "rename the sample")
cell("command", "sample", "$(reboot)", "found '$(reboot)'", "rename the sample")
cell("path as a name", "sample", "../../etc/passwd", "rename the sample")
cell("hidden name", "sample", ".ssh", "rename the sample")
cell("option as a name", "sample", "-rf", "rename the sample")
cell("name of a results folder", "sample", "multiqc", "rename the sample")
cell("name too long", "sample", "s" * 300, "at most 100 letters", "rename the sample")
cell("letters of another script", "sample", "пример", "found 'пример'", "rename the sample")
cell("no value", "technology", "", "found '', expected a value")
cell("unknown technology", "technology", "Zenium", "expected one of", "did you mean 'Xenium'?")
cell("shell signs in a path", "spatial", "$(touch owned).h5ad", "without quotes, wildcards or shell signs")
cell("wildcard", "spatial", "*.h5ad", "without quotes, wildcards or shell signs")
cell("line break in a path", "spatial", '"a\nb.h5ad"', "without quotes, wildcards or shell signs")
cell("name of a file too long", "spatial", f"{'x' * 300}.h5ad", "cannot be read (File name too long); correct the path")
cell("missing file", "spatial", "gone.h5ad", "found 'gone.h5ad', no such file; correct the path")
cell("path too long", "spatial", "d/" * 300 + "x" * 300, "no such file; correct the path")
cell("system file", "spatial", "/etc/passwd", "unknown format; expected h5ad, h5mu, loom")
cell("device", "spatial", "/dev/zero", "neither a file nor a folder")
cell("missing reference", "reference", "gone.h5ad", "no such file; correct the path")
cell("one of several references missing", "reference", "reference.h5ad;gone.h5ad", "found 'gone.h5ad', no such file")
cell("reference is the spatial file", "reference", "spatial.h5ad", "expected a single-cell reference")
cell("reference twice", "reference", "reference.h5ad;./reference.h5ad", "name each reference once")
cell("no such batch column", "spatial_batch_key", "slice", "no such column of the cells in spatial.h5ad (it has: kind)")
cell("misspelled batch column", "reference_batch_key", "donnor", "did you mean 'donor'?")
cell("no such cell type column", "celltype_key", "kinds", "did you mean 'kind'?")
cell("missing gene list", "genes", "lists/genes.txt", "no such file; correct the path, or name genes")
cell(
    "unknown gene", "genes", "Gene1;Gene999", "1 of 2 genes are not in reference.h5ad: 'Gene999'", "nearest names: Gene"
)


@case("sheet: a folder", "(Is a directory); correct the path")
def folder(folder):
    (folder / "sheet.csv").mkdir()
    return []


@case("sheet: missing", "(No such file or directory); correct the path")
def missing(_folder):
    return []


@case("sheet: rows that disagree on a shared reference", "row 2 has 'kind' for the same reference", "use one column")
def disagree(folder):
    rows = ["s1,spatial.h5ad,reference.h5ad,MERFISH,kind", "s2,spatial.h5ad,reference.h5ad,MERFISH,donor"]
    (folder / "sheet.csv").write_text("\n".join([f"{HEADER},reference_batch_key", *rows]))
    return []
