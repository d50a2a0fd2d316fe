"""Averages along the graph leave the simulated cortex its layers: the result changes at a border as the truth does."""

import anndata as ad
import numpy as np
import pytest
from scipy.spatial import cKDTree

SIZE = ("--n-spatial", 1500, "--n-reference", 1000, "--n-panel", 120, "--n-genes", 500)
#: Cells this near to a border are at it; genes that differ this much between the layers beside it are looked at.
STRIP, DIFFERENCE = 0.05, 0.5


@pytest.fixture(scope="module")
def layers(step, tmp_path_factory):
    """Truth, imputed frequencies and places of the same cells, unmeasured genes, from the file to the result."""
    folder = tmp_path_factory.mktemp("layers")

    def run(name, *words):
        result = step(folder, name, *words)
        assert result.code == 0, result.stderr

    run("simulate", "--out-dir", "raw", *SIZE)
    sides = {}
    for role, technology in (("spatial", "MERFISH"), ("reference", "scRNA-seq")):
        run("qc", "--id", role, "--role", role, "--technology", technology, "--input", f"raw/{role}.h5ad")
        sides[role] = (folder / "counts.h5ad").rename(folder / f"{role}.h5ad")
    counts = [word for role, file in sides.items() for word in (f"--{role}", file)]
    run("select_genes", "--sample", "s", *counts, "--cv-folds", 0, "--n-top-genes", 480)
    run("train", "--sample", "s", "--inputs", "inputs", "--max-steps", 250)
    words = ("--layers", "none", "--imputed-format", "h5ad", "--n-samples", 10)
    run("impute", "--sample", "s", "--inputs", "inputs", "--models", "models", *words)
    imputed, truth = ad.read_h5ad(folder / "imputed.h5ad"), ad.read_h5ad(folder / "raw" / "truth.h5ad")
    imputed = imputed[imputed.obs_names.isin(truth.obs_names), ~imputed.var["measured"].to_numpy(bool)]
    truth = truth[imputed.obs_names, imputed.var_names]
    assert imputed.uns["spatialimpute"]["recipe"]["alpha"] == 0.4
    frequency = np.asarray(imputed.X) / imputed.obs["panel_total"].to_numpy()[:, None]
    return truth.obs, np.asarray(truth.X), frequency, imputed.obsm["spatial"]


def sharpness(obs, truth, values):
    """The step at a border in units of the whole layers' difference, median over borders and genes, over the truth's.

    Of genes that differ between the layers in truth, and in the values alike.
    """
    depth, layer, found = obs["depth"].to_numpy(), obs["layer"].to_numpy(), []
    names = list(obs.groupby("layer", observed=True)["depth"].mean().sort_values().index)
    for upper, lower in zip(names, names[1:], strict=False):
        above, below = layer == upper, layer == lower
        near = np.abs(depth - (depth[above].max() + depth[below].min()) / 2) < STRIP
        at, whole = (
            [x[above & where].mean(0) - x[below & where].mean(0) for x in (truth, values)] for where in (near, True)
        )
        smaller = np.minimum(truth[above].mean(0), truth[below].mean(0))
        genes = (np.abs(whole[0]) > DIFFERENCE * smaller) & (whole[0] * whole[1] > 0)
        found.append([(a / w)[genes] for a, w in zip(at, whole, strict=True)])
    of_truth, of_values = (np.concatenate(parts) for parts in zip(*found, strict=True))
    assert len(of_truth) > 100
    return np.median(of_values) / np.median(of_truth)


def test_what_is_imputed_changes_at_a_border_as_the_truth_does(layers):
    obs, truth, imputed, _ = layers
    assert sharpness(obs, truth, imputed) > 0.9


def test_an_average_over_places_would_blur_the_borders(layers):
    """So the test can tell."""
    obs, truth, imputed, places = layers
    around = cKDTree(places).query(places, k=21)[1][:, 1:]
    assert sharpness(obs, truth, imputed[around].mean(axis=1)) < 0.8
