"""The gene selection step as a command."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
from spatialimpute.files.counts import Counts, read_counts, write_counts
from spatialimpute.files.inputs import DEPTH, SampleInputs

SCRIPT = Path(__file__).resolve().parents[2] / "bin" / "select_genes.py"
GENES = [f"Gene{i}" for i in range(30)]


def write(path, genes, n, seed, **obs):
    X = np.random.default_rng(seed).poisson(1.0, (n, len(genes)))
    cells = np.array([f"c{i}" for i in range(n)])
    counts = Counts(
        sp.csr_matrix(X, dtype=np.float32),
        np.array(genes),
        cells,
        pd.DataFrame(obs, index=cells),
        info={"id": path.stem},
    )
    write_counts(path, counts)


@pytest.fixture
def folder(tmp_path):
    write(tmp_path / "spatial.in.h5ad", GENES[:15] + ["Alone"], 20, 0)
    write(tmp_path / "upper.h5ad", [gene.upper() for gene in GENES[:15]] + ["Alone"], 20, 0)
    write(tmp_path / "reference.h5ad", GENES, 50, 1)
    return tmp_path


@pytest.fixture
def run(folder, step):
    """`run("--flag", …)` is how the step ends in the folder."""
    return lambda *flags, spatial="spatial.in.h5ad": step(folder, "select_genes", *command(spatial), *flags)


def command(spatial):
    return ["--sample", "s1", "--spatial", spatial, "--reference", "reference.h5ad"]


@pytest.fixture
def selected(folder, run):
    """`selected("--flag", …)` is what it writes, where it ends well."""

    def select(*flags, **options):
        result = run(*flags, **options)
        assert result.code == 0, result.stderr
        return SampleInputs(folder / "inputs")

    return select


def test_inputs(folder, selected):
    inputs = selected("--genes", "gene20,Gene21", "--cv-folds", "3")
    gene_sets = inputs.gene_sets
    assert gene_sets.shared == GENES[:15]
    assert gene_sets.measured_only == ["Alone"]
    assert [len(fold) for fold in gene_sets.folds.values()] == [5, 5, 5]
    assert gene_sets.scored_cells is None and set(gene_sets.how) == {"shared", "targets", "folds", "measured_only"}
    assert {path.name for path in folder.iterdir()} == {
        "inputs", "reference.h5ad", "spatial.in.h5ad", "upper.h5ad"
    }  # fmt: skip
    assert inputs.n_cells == 20 and inputs.spatial().genes.tolist() == GENES[:15]
    before, (reference,) = read_counts(folder / "reference.h5ad"), inputs.references()
    assert reference.genes.tolist() == gene_sets.genes
    np.testing.assert_array_equal(reference.X.toarray(), before.select(gene_sets.genes).toarray())
    np.testing.assert_array_equal(reference.obs[DEPTH], before.X.toarray().sum(1))
    facts = inputs.gene_facts
    assert facts.index.tolist() == gene_sets.targets
    assert facts["measured"].sum() == 15 and facts["reference_mean"].notna().all()


def test_every_reference_is_compared_and_alternatives_are_not_used(folder, run):
    write(folder / "other.h5ad", [gene.upper() for gene in GENES[:12]] + GENES[12:20], 40, 3)
    write(folder / "far.h5ad", GENES[:2] + ["X1", "X2"], 40, 4)
    result = run("--alternative", "other.h5ad", "--alternative", "far.h5ad")
    assert result.code == 0, result.stderr
    inputs = SampleInputs(folder / "inputs")
    assert [path.name for path in inputs.reference_paths] == ["reference1.h5ad"]
    table = inputs.agreement.set_index("reference")
    assert table.index.tolist() == ["reference", "other", "far"] and table["used"].tolist() == [True, False, False]
    assert table["n_panel"].tolist() == [16] * 3 and table["n_shared"].tolist() == [15, 15, 2]
    assert table["n_by_case"].tolist() == [0, 12, 0]
    assert "match by letter case alone" in table["warnings"]["other"]
    assert "far: it has only 2 of 16 panel genes" in result.stderr
    assert not any("letter case" in text for text in inputs.gene_sets.warnings)


def test_a_reference_that_does_not_fit_is_in_the_headlines_warnings(folder, selected):
    rng = np.random.default_rng(0)
    for name, n, genes in (("spatial.in.h5ad", 400, GENES[:20]), ("reference.h5ad", 500, GENES)):
        X = rng.poisson(3 * np.exp(rng.normal(0, 1, (n, 3)) @ rng.normal(0, 1, (3, len(genes)))))
        cells = np.array([f"c{i}" for i in range(n)])
        counts = Counts(sp.csr_matrix(X, dtype=np.float32), np.array(genes), cells, pd.DataFrame(index=cells))
        write_counts(folder / name, counts)
    found = selected()
    assert found.agreement["verdict"].tolist() == ["poor"]
    assert any("genes vary together otherwise than in the sample" in text for text in found.gene_sets.warnings)


def test_names_of_another_case_are_the_references_in_all_that_follows(folder, selected):
    exact, inputs = selected().spatial(), selected(spatial="upper.h5ad")
    assert inputs.gene_sets.shared == GENES[:15]
    before, after = read_counts(folder / "upper.h5ad"), inputs.spatial()
    assert after.genes.tolist() == GENES[:15]
    assert (before.X[:, :15] != after.X).nnz == 0 and (exact.X != after.X).nnz == 0
    assert before.info == after.info
    assert inputs.gene_facts["measured"].sum() == 15


def test_cells_are_scored_by_their_share_of_each_batch(folder, selected):
    batch = np.repeat(["a", "b"], [60, 20])
    write(folder / "spatial.in.h5ad", GENES[:15], 80, 0, batch=pd.Categorical(batch))
    chosen = selected("--score-cells", "40").gene_sets.scored_cells
    assert len(set(chosen)) == 40 and chosen == sorted(chosen)
    assert np.unique(batch[chosen], return_counts=True)[1].tolist() == [30, 10]
    assert selected("--score-cells", "40", "--seed", "1").gene_sets.scored_cells != chosen
    # Where there are no more, where all are asked for, and where nothing is scored, the file names none.
    for flags in (["--score-cells", "80"], ["--score-cells", "0"], ["--score-cells", "40", "--cv-folds", "0"]):
        assert selected(*flags).gene_sets.scored_cells is None


def test_gene_folds(folder, selected):
    (folder / "folds.json").write_text(json.dumps({"s1": [["Gene0"], ["Gene1", "Gene2"]]}))
    found = selected("--gene-folds", "folds.json").gene_sets.folds
    assert found == {"0": ["Gene0"], "1": ["Gene1", "Gene2"]}
    (folder / "folds.json").write_text(json.dumps({"another": [["Gene0"]]}))
    assert len(selected("--gene-folds", "folds.json").gene_sets.folds) == 5


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("[[", "not valid JSON"),
        ("[]", "found a list"),
        ('{"s1": {"folds": [["Gene0"]]}}', "for sample 's1'"),
        ('{"s1": []}', "for sample 's1'"),
        ('{"s1": [[1]]}', "for sample 's1'"),
        ('{"s1": [["Gene29"]]}', "gene_folds names 1 genes that are not among the 15 shared genes"),
    ],
)
def test_bad_gene_folds_are_input_errors(folder, run, content, message):
    (folder / "folds.json").write_text(content)
    result = run("--gene-folds", "folds.json")
    assert result.code == 65
    assert message in result.stderr
    assert "Traceback" not in result.stderr


def test_too_few_shared_genes(folder):
    """As a process of its own."""
    script = [sys.executable, SCRIPT, *command("spatial.in.h5ad"), "--min-shared-genes", "16"]
    result = subprocess.run(script, cwd=folder, capture_output=True, text=True, check=False)
    assert result.returncode == 65
    assert "15 genes are shared" in result.stderr and "Traceback" not in result.stderr
    assert not (folder / "inputs").exists()
