"""What the check says of two sides by their names: genes in rows, molecules, two species, unknown columns."""

import anndata as ad
import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
from spatialimpute.check.both_sides import BothSides

RNG = np.random.default_rng(0)
GENES = "Gad1 Sst Vip Pvalb Reln Plp1 Mbp Aqp4 Rorb Cux2 Lamp5 Npy".split()
MORE = [*GENES, *"Actb Malat1 Sox2 Tubb3 Olig1 Olig2 Snap25 Sncg".split()]
CELLS, OTHERS = [f"cell{i}" for i in range(30)], [f"r{i}" for i in range(40)]


def counts(genes=GENES, cells=CELLS) -> pd.DataFrame:
    return pd.DataFrame(RNG.poisson(2, (len(cells), len(genes))), index=cells, columns=genes)


def write(path, frame: pd.DataFrame, **options) -> str:
    if path.suffix == ".h5ad":
        data = ad.AnnData(sp.csr_matrix(frame.to_numpy().astype(np.float32)), var=pd.DataFrame(index=frame.columns))
        data.obs_names, data.var = frame.index, data.var.assign(**options)
        data.write_h5ad(path)
    else:
        frame.to_csv(path, sep="," if path.suffix == ".csv" else "\t", **options)
    return str(path)


def sample(spatial: str, *references: str) -> dict:
    return {"sample": "s", "spatial": [spatial], "reference": [{"files": [path]} for path in references]}


def problems(spatial: str, reference: str) -> list[str]:
    return BothSides({}).shared_problems(sample(spatial, reference), 10)


@pytest.mark.parametrize("suffix", [".csv", ".tsv", ".h5ad"])
@pytest.mark.parametrize("turned", ["spatial", "reference", "both"])
def test_genes_in_rows_are_told_by_the_other_sides_genes(tmp_path, suffix, turned):
    spatial, reference = counts(), counts(MORE, OTHERS)
    if turned != "reference":
        spatial = spatial.T
    if turned != "spatial":
        reference = reference.T
    found = problems(write(tmp_path / f"a{suffix}", spatial), write(tmp_path / f"b{suffix}", reference))
    named = {"spatial": ["a"], "reference": ["b"], "both": ["a", "b"]}[turned]
    assert len(found) == len(named)
    for text, name in zip(found, named, strict=True):
        assert f"{name}{suffix} has genes in rows" in text and "transpose" in text and "gene_aliases" not in text
        assert ".T." in text


def test_genes_in_rows_of_an_instruments_table(tmp_path):
    turned = counts().T
    (tmp_path / "run").mkdir()
    turned.to_csv(tmp_path / "run" / "cell_by_gene.csv")  # the header of its first column is empty
    cells = pd.DataFrame({"center_x": range(30), "center_y": range(30)}, index=pd.Index(CELLS, name="EntityID"))
    cells.to_csv(tmp_path / "run" / "cell_metadata.csv")
    (text,) = problems(str(tmp_path / "run"), write(tmp_path / "b.csv", counts(MORE, OTHERS)))
    assert "cell_by_gene.csv has genes in rows" in text and "gene_aliases" not in text
    assert text.endswith("and put it in place of cell_by_gene.csv")
    turned.T.to_csv(tmp_path / "run" / "cell_by_gene.csv")
    assert problems(str(tmp_path / "run"), str(tmp_path / "b.csv")) == []


def test_what_is_right_or_named_otherwise_is_not_called_turned(tmp_path):
    spatial, reference = write(tmp_path / "a.csv", counts()), write(tmp_path / "b.csv", counts(MORE, OTHERS))
    assert problems(spatial, reference) == []
    # The same cells on both sides, as of a multi-omics kit, and genes of two kinds of names.
    barcodes = ["".join(RNG.choice(list("ACGT"), 16)) + "-1" for _ in CELLS]
    for cells in (barcodes, CELLS, [str(i) for i in range(30)]):
        spatial = write(tmp_path / "a.csv", counts(cells=cells))
        reference = write(tmp_path / "b.csv", counts([f"ENSMUSG{i:011d}" for i in range(20)], cells))
        assert len(found := problems(spatial, reference)) == 1 and "gene_aliases" in found[0]


@pytest.mark.parametrize("header", [True, False])
def test_tables_of_molecules_are_told_by_the_genes_that_recur(tmp_path, header):
    molecules = pd.DataFrame(RNG.uniform(0, 100, (300, 2)).round(2), columns=["east", "north"])
    molecules["call"] = RNG.choice(GENES, 300)
    molecules.to_csv(tmp_path / "a.csv", index=False, header=header)
    found = problems(str(tmp_path / "a.csv"), write(tmp_path / "b.h5ad", counts(MORE, OTHERS)))
    assert len(found) == 1 and "its rows are molecules" in found[0] and "crosstab" in found[0]


def test_columns_that_no_reference_has(tmp_path):
    spatial = write(tmp_path / "a.csv", counts().assign(Region=1, x=2.5), index_label="cell_id")
    reference = write(tmp_path / "b.csv", counts(MORE, OTHERS))
    assert BothSides({}).others(sample(spatial, reference)) == ["Region", "cell_id", "x"]
    assert BothSides({}).others(sample(spatial, "s3://far/away.h5ad")) is None
    unlike = write(tmp_path / "c.csv", counts([gene[::-1] for gene in MORE], OTHERS))
    assert BothSides({}).others(sample(spatial, unlike)) is None


def test_two_species_by_their_ids(tmp_path):
    mouse = {"gene_ids": [f"ENSMUSG{i:011d}.2" for i in range(len(GENES))]}
    human = {"gene_ids": [f"ENSG{i:011d}" for i in range(len(GENES))]}
    spatial = write(tmp_path / "a.h5ad", counts(), **mouse)
    other = write(tmp_path / "b.h5ad", counts([gene.upper() for gene in GENES], OTHERS), **human)
    same = write(tmp_path / "c.h5ad", counts(GENES, OTHERS), **mouse)
    warnings = BothSides({}).warnings(sample(spatial, same, other))
    assert len(warnings) == 1 and "two species" in warnings[0]
    assert "of mouse, those of b.h5ad of human" in warnings[0]
