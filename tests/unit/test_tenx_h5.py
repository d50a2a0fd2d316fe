"""10x matrices in HDF5: whole numbers of any type, several genomes, probes."""

import h5py
import numpy as np
import pandas as pd
import pytest
from format_files import CELLS, COUNTS, GENES, XY, clean, data, write_10x
from spatialimpute.errors import InputError
from spatialimpute.sources import open_source


@pytest.mark.parametrize("whole", ["<f8", "<f4", "<u8", "<i8"])
def test_10x_numbers_of_any_kind(tmp_path, whole):
    path = write_10x(tmp_path / "x.h5", GENES, whole=whole, id=GENES, feature_type=["Gene Expression"] * 12)
    read = open_source(path).read()
    np.testing.assert_array_equal(read.X.toarray(), COUNTS)
    assert list(read.obs_names) == CELLS and list(read.var_names) == GENES
    assert list(read.var["gene_ids"]) == GENES


def test_10x_numbers_that_are_not_whole(tmp_path):
    path = write_10x(tmp_path / "x.h5", GENES, whole="<f8", id=GENES)
    with h5py.File(path, "a") as file:
        file["matrix/indices"][3] = 1.5
    with pytest.raises(InputError, match="'/?indices' holds 1.5, expected whole numbers"):
        open_source(path).read()


def test_genomes_in_groups_of_their_own(tmp_path):
    path = write_10x(tmp_path / "x.h5", GENES, group="mm10")
    assert open_source(path).read().n_vars == 12
    write_10x(path, [name.upper() for name in GENES], group="hg19", x=COUNTS[:, ::-1])
    for look in ("header", "read", "gene_columns"):
        with pytest.raises(InputError, match="several genomes: hg19, mm10; .*such as x.h5/hg19"):
            getattr(open_source(path), look)()
    with pytest.raises(InputError, match="no group or genome 'mm9'; it holds hg19, mm10"):
        open_source(path / "mm9").header()
    np.testing.assert_array_equal(open_source(path / "mm10").read().X.toarray(), COUNTS)
    assert open_source(path / "hg19").gene_columns()["index"][0] == "GENE0"


def test_genomes_as_prefixes(tmp_path):
    names = [f"{genome}_{name}" for genome, name in zip(["GRCh38", "mm10___"] * 6, GENES, strict=True)]
    genomes = ["GRCh38", "mm10"] * 6
    names = [name.replace("____", "___") for name in names]
    path = write_10x(tmp_path / "x.h5", names, id=names, genome=genomes, feature_type=["Gene Expression"] * 12)
    with pytest.raises(InputError, match="several genomes: GRCh38, mm10"):
        open_source(path).header()
    source = open_source(path / "mm10")
    assert source.gene_columns()["index"] == GENES[1::2]
    read = source.read()
    assert list(read.var_names) == list(read.var["gene_ids"]) == GENES[1::2]
    np.testing.assert_array_equal(read.X.toarray(), COUNTS[:, 1::2])
    assert "most of their counts in another genome than mm10" in read.uns["read_warnings"][0]


def test_several_genomes_whose_genes_bear_no_prefix_are_one_matrix(tmp_path):
    path = write_10x(tmp_path / "x.h5", GENES, id=GENES, genome=["mm10"] * 11 + ["construct"])
    assert open_source(path).read().n_vars == 12


PROBES = [f"Gene{i // 2}|0a1b2c{i:x}" for i in range(12)]


def check_probes(source, passed):
    counts, summary = clean(source)
    assert list(counts.genes) == list(dict.fromkeys(f"Gene{i // 2}" for i in passed))
    expected = pd.DataFrame(COUNTS[:, passed].T).groupby(np.array(passed) // 2).sum().T
    np.testing.assert_array_equal(counts.X.toarray(), expected.loc[[CELLS.index(cell) for cell in counts.cells]])
    steps = {step["step"]: step["n"] for step in summary["steps"]}
    assert steps.get("filtered probes", 0) == 12 - len(passed)
    return counts, steps


@pytest.mark.parametrize("with_columns", [True, False])
def test_probes_that_pass_are_summed_by_gene(tmp_path, with_columns):
    passed = [i for i in range(12) if i != 3]
    mask = np.isin(range(12), passed)
    ids = [f"{'' if i in passed else 'DEPRECATED_'}ENSG{i // 2:011d}|{name}" for i, name in enumerate(PROBES)]
    columns = {"id": ids, "feature_type": ["Gene Expression"] * 12}
    if with_columns:
        columns |= {"filtered_probes": mask, "gene_name": [f"Gene{i // 2}" for i in range(12)]}
        columns |= {"gene_id": [f"ENSG{i // 2:011d}" for i in range(12)]}
    names = PROBES if with_columns else [f"{'' if i in passed else 'DEPRECATED_'}{n}" for i, n in enumerate(PROBES)]
    path = write_10x(tmp_path / "raw_probe_bc_matrix.h5", names, **columns)
    with h5py.File(path, "a") as file:
        file["matrix/filtered_barcodes"] = np.arange(40) > 4
    (path.parent / "raw_probe_bc_matrix.coords.csv").write_text("")
    source = open_source(path)
    source_read = source.read
    source.read = lambda: with_places(source_read())
    counts, steps = check_probes(source, passed)
    assert steps["outside of cells"] == 5 and "c4" not in counts.cells
    assert list(counts.gene_ids) == [f"ENSG{i:011d}" for i in range(6)]


def with_places(read):
    read.obsm["spatial"] = XY[[CELLS.index(cell) for cell in read.obs_names]]
    return read


def test_probes_in_an_h5ad(tmp_path):
    data(genes=PROBES, filtered_probes=[True] * 12).write_h5ad(tmp_path / "x.h5ad")
    check_probes(open_source(tmp_path / "x.h5ad"), list(range(12)))


def test_probes_that_are_told_by_their_columns_alone(tmp_path):
    names = [f"probe{i}" for i in range(12)]
    columns = {"filtered_probes": [True] * 12, "gene_name": [f"Gene{i // 2}" for i in range(12)]}
    data(genes=names, **columns).write_h5ad(tmp_path / "x.h5ad")
    check_probes(open_source(tmp_path / "x.h5ad"), list(range(12)))
