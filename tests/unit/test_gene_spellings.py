"""Which column names the genes of each file, by what the files of a sample share."""

import anndata as ad
import numpy as np
import pandas as pd
import pytest
from spatialimpute.check.gene_spellings import choose_gene_columns, gene_columns
from spatialimpute.qc.clean import clean_counts
from spatialimpute.qc.gene_names import canonical_names, naming_column
from spatialimpute.sources import open_source
from spatialimpute.sources.gene_columns import INDEX, usual_column

SYMBOLS = [f"Sym{chr(97 + i)}" for i in range(20)]
NUMBERS = [str(100 + i) for i in range(20)]
FLYBASE = [f"FBgn{i:07d}" for i in range(20)]
REFSEQ = [f"NM_{100000 + i}.2" for i in range(20)]
ENSEMBL = [f"ENSMUSG{i:011d}" for i in range(20)]
PROBES = [f"probe set {i}" for i in range(20)]


@pytest.fixture
def write(tmp_path):
    def write(name, index, **columns):
        x = np.random.default_rng(0).poisson(3, (30, len(index))).astype(np.float32)
        data = ad.AnnData(
            x, obs=pd.DataFrame(index=[f"c{i}" for i in range(30)]), var=pd.DataFrame(columns, index=index)
        )
        data.obsm["spatial"] = np.random.default_rng(1).random((30, 2))
        path = tmp_path / f"{name}.h5ad"
        data.write_h5ad(path)
        return str(path)

    return write


def choose(spatial, *references, aliases=None, samples=1):
    found = [
        {"sample": f"s{i}", "spatial": [spatial], "reference": [{"files": [path]} for path in references]}
        for i in range(samples)
    ]
    said = choose_gene_columns(found, aliases or {})
    return [found[0]["spatial_gene_column"], *(entry["gene_column"] for entry in found[0]["reference"])], said


@pytest.mark.parametrize("index", [NUMBERS, FLYBASE, REFSEQ, PROBES, ENSEMBL])
@pytest.mark.parametrize("column", ["real_gene_name", "feature_name", "gene_short_name", "Symbol of the vendor"])
@pytest.mark.parametrize("side", [0, 1])
def test_symbols_beside_any_index(write, index, column, side):
    odd = write("odd", index, **{column: SYMBOLS, "chromosome": ["1"] * 20, "length": range(20)})
    plain = write("plain", SYMBOLS)
    chosen, said = choose(*((odd, plain) if side == 0 else (plain, odd)))
    raw = open_source(odd).read()
    counts, summary = clean_counts(
        raw, id="s", role="spatial", technology="other", source="x", gene_column=chosen[side]
    )
    assert sorted(counts.genes) == SYMBOLS and summary["gene_names_from"] == column
    assert chosen[1 - side] is None
    assert len(said) == 1 and f"odd.h5ad: genes are named by its column {column!r}" in said[0]
    renamed = next(step for step in summary["steps"] if step["step"] == "gene names")
    assert renamed["n"] == 20 and renamed["examples"][0].endswith(f"-> {SYMBOLS[0]}")


def test_identifiers_where_the_other_side_has_nothing_else(write):
    assert choose(write("a", SYMBOLS, flybase=FLYBASE), write("b", FLYBASE))[0] == ["flybase", None]
    assert choose(write("c", FLYBASE, gene_symbol=SYMBOLS), write("d", FLYBASE))[0] == [INDEX, None]
    # Ensembl ids are matched whatever the names are.
    assert choose(write("e", SYMBOLS, gene_ids=ENSEMBL), write("f", ENSEMBL))[0] == [None, None]
    assert choose(write("g", ENSEMBL, gene_name=SYMBOLS), write("h", ENSEMBL))[0] == [None, None]


def test_symbols_of_both_sides_beside_identifiers(write):
    chosen, said = choose(write("a", NUMBERS, my_symbols=SYMBOLS), write("b", FLYBASE, their_symbols=SYMBOLS))
    assert chosen == ["my_symbols", "their_symbols"] and len(said) == 2


def test_the_index_stays_where_another_column_shares_hardly_more(write):
    updated = [*SYMBOLS[:-1], "New"]
    reference = write("b", updated)
    assert choose(write("a", SYMBOLS, updated=updated), reference)[0] == [None, None]
    assert choose(write("c", SYMBOLS, family=["Sym"] * 20), reference)[0] == [None, None]
    many = [*SYMBOLS[:10], *(f"New{i}" for i in range(10))]
    assert choose(write("d", SYMBOLS, updated=many), write("e", many))[0] == ["updated", None]


def test_all_references_have_to_share_the_names(write):
    spatial = write("a", SYMBOLS, ids=FLYBASE)
    both = write("b", FLYBASE, symbol_column=SYMBOLS)
    assert choose(spatial, both, write("c", SYMBOLS))[0] == [None, "symbol_column", None]
    assert choose(spatial, both, write("d", FLYBASE))[0] == ["ids", None, None]


def test_a_reference_of_several_samples_is_named_once(write):
    reference = write("r", FLYBASE, symbol_column=SYMBOLS)
    samples = [
        {"sample": name, "spatial": [path], "reference": [{"files": [reference]}]}
        for name, path in (("a", write("a", SYMBOLS)), ("b", write("b", NUMBERS, fly=FLYBASE, words=SYMBOLS)))
    ]
    said = choose_gene_columns(samples, {})
    assert [sample["spatial_gene_column"] for sample in samples] == [None, "words"]
    assert [sample["reference"][0]["gene_column"] for sample in samples] == ["symbol_column"] * 2
    assert len(said) == 2


def test_aliases_count_and_addresses_are_left_to_qc(write):
    spatial = write("a", NUMBERS, old=[f"Old{i}" for i in range(20)])
    aliases = {f"Old{i}": symbol for i, symbol in enumerate(SYMBOLS)}
    assert choose(spatial, write("b", SYMBOLS), aliases=aliases)[0] == ["old", None]
    assert choose(spatial, "s3://bucket/x.h5ad")[0] == [None, None]


def test_columns_that_are_categories_or_of_raw(write, tmp_path):
    path = write("a", NUMBERS, kind=pd.Categorical(["x"] * 20))
    assert gene_columns(path) == {INDEX: NUMBERS, "kind": ["x"]}
    data = ad.read_h5ad(path)
    data.raw = data
    data = data[:, :5].copy()
    data.raw.var["symbols"] = SYMBOLS
    data.write_h5ad(tmp_path / "b.h5ad")
    columns = gene_columns(str(tmp_path / "b.h5ad"))
    assert columns["symbols"] == SYMBOLS and columns[INDEX] == NUMBERS[:5] + NUMBERS


def test_a_column_that_the_counts_do_not_have_is_not_missed():
    var = pd.DataFrame({"gene_name": ["Gad1", "Sst"]}, index=["1", "2"])
    assert naming_column(var, "absent") == "gene_name" and naming_column(var, INDEX) == INDEX
    assert list(canonical_names(var, INDEX)[0]) == ["1", "2"]


def test_what_is_usual():
    assert usual_column({INDEX: ["Gad1", "Sst"], "gene_name": ["a", "b"]}) == INDEX
    assert usual_column({INDEX: ENSEMBL, "symbol": ENSEMBL, "name": SYMBOLS}) == "name"
    assert usual_column({INDEX: ENSEMBL, "symbol": ["", "nan"]}) == INDEX
    assert usual_column({INDEX: NUMBERS, "gene_short_name": SYMBOLS}) == "gene_short_name"
    assert usual_column({INDEX: ["Gad1", *NUMBERS[:1]], "gene_name": ["x", "y"]}) == INDEX
