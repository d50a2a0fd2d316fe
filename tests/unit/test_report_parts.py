"""Small parts of the report: escaping, numbers, ids, subsets."""

import json
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from sklearn.decomposition import PCA
from sklearn.neighbors import NearestNeighbors
from spatialimpute.report.accuracy_sections import score_boxes
from spatialimpute.report.content import SectionWriter, number
from spatialimpute.report.inputs import read_table
from spatialimpute.report.latent import balanced_subset, umap


def test_numbers_without_value_are_left_out():
    assert number(np.float32(0.123456)) == 0.1235
    assert number(np.int64(3)) == 3 and number(np.bool_(True)) == 1
    assert [number(value) for value in (np.nan, np.inf, None, "text")] == [None] * 4


def test_section_ids_are_clean_and_apart(tmp_path):
    ids = {SectionWriter(name, tmp_path).own("maps") for name in ("a.b", "a_b", "a b", "a-b")}
    assert len(ids) == 4
    assert all(set(found) <= set("abcdefghijklmnopqrstuvwxyz0123456789_-") for found in ids)


def test_section_headings_are_escaped(tmp_path):
    path = SectionWriter("s", tmp_path).write("x", "table", {"a": {"b": 1}}, name="<b>", shared=False)
    content = json.loads(path.read_text())
    assert content["section_name"] == "&lt;b&gt;" and content["pconfig"]["title"] == "&lt;b&gt;"
    assert content["id"] == "x-s" and "parent_id" not in content


def test_a_gene_called_na_keeps_its_name(tmp_path):
    path = tmp_path / "genes.tsv"
    path.write_text("gene\tscore\nNA\t0.5\nB\t\n")
    table = read_table(path, {"gene"})
    assert list(table["gene"]) == ["NA", "B"] and np.isnan(table["score"][1])


def test_subset_is_balanced_seeded_and_complete_when_small():
    dataset = np.repeat(["spatial", "reference", "rare"], [1000, 500, 10])
    chosen = balanced_subset(dataset, 210)
    names, sizes = np.unique(dataset[chosen], return_counts=True)
    assert dict(zip(names, sizes, strict=True)) == {"rare": 10, "reference": 100, "spatial": 100}
    assert np.array_equal(chosen, balanced_subset(dataset, 210))
    assert len(balanced_subset(dataset, 10_000)) == len(dataset)


def test_umap_keeps_clusters_together_and_apart():
    """Eight clusters that two principal components, where the layout begins, cannot tell apart."""
    labels = np.repeat(np.arange(8), 50)
    latent = 6 * np.eye(8)[labels] + np.random.default_rng(0).normal(0, 1, (400, 8))

    def purity(xy):
        _, index = NearestNeighbors(n_neighbors=10).fit(xy).kneighbors()
        return (labels[index] == labels[:, None]).mean()

    xy = umap(latent)
    assert purity(PCA(2).fit_transform(latent)) < 0.8 and purity(xy) > 0.98
    assert np.array_equal(xy, umap(latent))


@pytest.mark.parametrize(
    "latent", [np.zeros((30, 5)), np.eye(2), np.arange(40.0)[:, None]], ids=["same", "two", "line"]
)
def test_umap_of_a_poor_latent_space(latent):
    xy = umap(latent)
    assert xy.shape == (len(latent), 2) and np.isfinite(xy).all()
    assert np.array_equal(xy, umap(latent))


def test_score_boxes_average_the_members_of_one_kappa():
    scores = pd.DataFrame(
        {
            "method": ["gimvi", "gimvi", "spatialimpute", "total"],
            "kappa": [1.0, 1.0, np.nan, np.nan],
            "gene": ["A"] * 4,
            "spearman_partial": [0.2, 0.4, 0.5, 0.0],
        }
    )
    sample = SimpleNamespace(scores=scores, method_labels={"gimvi": "gimVI"})
    assert score_boxes(sample, "spearman_partial") == {
        "spatialimpute (chosen prediction)": [0.5],
        "gimVI members, κ = 1": [0.3],
    }
