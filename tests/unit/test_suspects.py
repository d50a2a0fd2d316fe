"""Panel genes that do not measure what they say, on simulated tissue with a gene spoiled."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
from samples import write_sample
from spatialimpute.evaluation.gene_table import gene_table
from spatialimpute.evaluation.metrics import promised, score_genes
from spatialimpute.evaluation.suspects import suspects
from spatialimpute.evaluation.truth import Truth
from spatialimpute.files.counts import Counts
from spatialimpute.files.gene_sets import GeneSets
from spatialimpute.genes import draw_folds
from spatialimpute.methods.registry import find_method
from spatialimpute.simulation.tissue import Tissue


def judged(folder, spatial: Counts, reference: Counts) -> pd.DataFrame:
    """The gene table, with the nearest reference cells' predictions as the final ones."""
    shared = spatial.genes.tolist()
    gene_sets = GeneSets(shared, shared, [], shared, draw_folds(shared, [reference], 5, 0))
    inputs = write_sample(folder, [reference], spatial, gene_sets)
    (prediction,) = find_method("knn")().predict_folds(inputs, "s")
    truth, tables = Truth(inputs), []
    for name in truth.folds:
        of_fold = truth.of(name)
        mean = prediction.mean[of_fold.known][:, truth.fold == name]
        scored = score_genes(of_fold.counts, mean, of_fold.total)
        tables.append(scored.assign(gene=of_fold.genes, fold=name))
    return gene_table(inputs.gene_facts, pd.concat(tables), 0.2, 0.1).set_index("gene")


@pytest.fixture(scope="module", params=[0, 1])
def sides(request):
    tissue, counts = Tissue(300, 80, seed=request.param), {}
    for i, (side, share) in enumerate({"spatial": tissue.share, "reference": tissue.reference_share}.items()):
        rng = np.random.default_rng(i)
        cells = tissue.cells(900, rng, share, 900)
        X = tissue.spatial_counts(cells, rng)[:, :80] if side == "spatial" else tissue.reference_counts(cells, rng)
        names = np.array([f"{side}{c}" for c in range(900)])
        genes = tissue.genes[tissue.panel] if side == "spatial" else tissue.genes
        coords = cells.coords if side == "spatial" else None
        counts[side] = Counts(sp.csr_matrix(X, dtype=np.float32), genes, names, pd.DataFrame(index=names), coords)
    return counts["spatial"], counts["reference"]


@pytest.fixture(scope="module")
def intact(sides, tmp_path_factory):
    return judged(tmp_path_factory.mktemp("intact") / "inputs", *sides)


def spoiled(sides, tmp_path, gene: str, counts) -> pd.DataFrame:
    spatial, reference = sides
    X = spatial.X.toarray()
    X[:, spatial.genes == gene] = counts(X[:, spatial.genes == gene][:, 0], X)[:, None]
    return judged(tmp_path / "inputs", replace(spatial, X=sp.csr_matrix(X, dtype=np.float32)), reference)


def well_predicted(intact, n=3) -> list[str]:
    """Genes that many cells have and that can be predicted."""
    return intact[intact["detected_fraction"] > 0.15].sort_values("score").index[-n:].tolist()


def test_no_gene_of_an_intact_panel_is_suspect(intact):
    assert (intact["suspect"] != "").sum() <= 1, intact.loc[intact["suspect"] != "", "suspect"].tolist()
    assert intact["score_expected"].corr(intact["score"]) > 0.7


def test_permuted_counts(sides, intact, tmp_path):
    """A probe that binds whatever there is, as often as the gene was found."""
    rng = np.random.default_rng(0)
    for gene in well_predicted(intact):
        found = spoiled(sides, tmp_path / gene, gene, lambda own, X: rng.permutation(own))
        assert found["suspect"][gene].startswith("not what is predicted"), (gene, found.loc[gene])
        assert "off-target" in found["suspect"][gene] and found["score"][gene] < 0.1 < found["score_expected"][gene]
        assert (found["suspect"] != "").sum() <= 2


def test_counts_of_another_gene_added(sides, intact, tmp_path):
    """A probe that binds another gene as well, of other cells and with more counts; what is left of its own may do."""
    spatial, _ = sides
    logs, mean = np.log1p(spatial.X.toarray()), spatial.X.mean(axis=0).A1
    texts = []
    for gene in well_predicted(intact):
        correlation = np.corrcoef(logs.T)[:, spatial.genes == gene][:, 0]
        other = np.argmax(np.where(correlation < 0, mean, 0))
        found = spoiled(sides, tmp_path / gene, gene, lambda own, X, other=other: own + 3 * X[:, other])
        texts.append(found["suspect"][gene])
    assert sum("off-target" in text for text in texts) >= 2, texts


def test_a_dead_probe(sides, intact, tmp_path):
    rng = np.random.default_rng(0)
    gene = well_predicted(intact, 1)[0]
    found = spoiled(sides, tmp_path, gene, lambda own, X: rng.binomial(own.astype(int), 0.01))
    assert found["suspect"][gene].startswith("hardly measured; detected in") and "dead probe" in found["suspect"][gene]
    none = spoiled(sides, tmp_path / "none", gene, lambda own, X: 0 * own)
    assert "detected in 0.00% of the cells" in none["suspect"][gene]


def facts(n=40, seed=0) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    detected = rng.uniform(0.02, 0.6, n)
    table = pd.DataFrame({"measured": True, "detected_fraction": detected}, index=[f"g{i}" for i in range(n)])
    table["reference_detected_fraction"] = np.clip(detected * rng.lognormal(0, 0.3, n), 0.01, 0.95)
    return table.assign(score=0.1 + 0.1 * np.log(detected / 0.02) + rng.normal(0, 0.03, n))


def found_in(table: pd.DataFrame) -> pd.DataFrame:
    return suspects(table, pd.Series(0.5, table.index))


def test_by_facts_alone():
    table = facts()
    assert (found_in(table)["suspect"] == "").all()
    table.loc["g3", ["detected_fraction", "score"]] = 0.5, 0.0
    found = found_in(table)
    assert found.index[found["suspect"] != ""].tolist() == ["g3"] and found["score_expected"]["g3"] > 0.3
    assert (
        "score 0.00, expected 0.3" in found["suspect"]["g3"]
        and "detected in 50.00% of the cells" in found["suspect"]["g3"]
    )


def test_where_nothing_can_be_told():
    few = facts(15)
    few.loc["g3", "score"] = -0.5
    assert (found_in(few)["suspect"] == "").all() and found_in(few)["score_expected"].isna().all()
    unscored = facts().assign(score=np.nan)
    unscored.loc["g5", "detected_fraction"] = 0.0
    unscored.loc["g5", "reference_detected_fraction"] = 0.5
    found = found_in(unscored)
    assert found["score_expected"].isna().all() and found.index[found["suspect"] != ""].tolist() == ["g5"]
    unmeasured = facts().assign(measured=False)
    unmeasured.loc["g3", "score"] = -0.5
    assert (found_in(unmeasured)["suspect"] == "").all()
    same = facts().assign(detected_fraction=0.5, reference_detected_fraction=0.5, score=0.3)
    assert (found_in(same)["suspect"] == "").all()


def test_promise_of_a_prediction():
    rng = np.random.default_rng(0)
    n = 20_000
    total, rho = rng.lognormal(4, 0.3, n), rng.gamma(1, 1, (n, 1)) * [[0.05, 0.002]]
    expected = rho * total[:, None]
    counts = rng.poisson(0.3 * expected)
    rest = [values - np.polyval(np.polyfit(total, values, 1), total) for values in (counts[:, 0], expected[:, 0])]
    found = promised(counts, expected, total)
    assert found[0] == pytest.approx(np.corrcoef(*rest)[0, 1], abs=0.02) and found[1] < found[0]
    flat = promised(counts, np.outer(total, [0.1, 0.2]), total)
    assert flat == pytest.approx([0, 0], abs=1e-6)
    assert promised(0 * counts, 0 * expected, total).tolist() == [0, 0]
