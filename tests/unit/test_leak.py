"""A held-out gene leaves no trace: noise in its spatial counts changes no bit of what is predicted for it."""

import json
import os
import pickle
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
import torch
from samples import package_methods, write_sample
from spatialimpute.ensemble import Recipe
from spatialimpute.evaluation.choice import KappaChoice
from spatialimpute.evaluation.evaluate import evaluate
from spatialimpute.evaluation.fold_graphs import FoldGraphs
from spatialimpute.evaluation.recipe import GRID
from spatialimpute.evaluation.truth import Truth
from spatialimpute.files.counts import write_counts
from spatialimpute.files.predictions import open_folder, write_predictions
from spatialimpute.folds import fold_of
from spatialimpute.methods.base import SpatialView
from spatialimpute.methods.gimvi.data import Member, TrainingData
from spatialimpute.methods.gimvi.method import GimVI
from spatialimpute.methods.gimvi.posterior import held_out_predictions
from spatialimpute.methods.gimvi.training import train
from tissue import PAPER, SMALL, draw, with_noise

SCRIPT = Path(__file__).resolve().parents[2] / "bin" / "select_genes.py"
FOLD = "1"
SETTINGS = {
    "default": SMALL,
    "separate encoder": replace(SMALL, encoder="separate"),
    "paper": PAPER,
    "zinb, batches": replace(SMALL, spatial_likelihood="zinb"),
    "many steps": replace(SMALL, max_steps=200),
}
MEMBERS = [Member(fold, 2.0, seed) for fold in ("0", FOLD) for seed in (0, 1)] + [Member(FOLD, 0.0, 0, 8)]


def tissue(case):
    """Before and after: only the held-out genes' spatial counts differ, in number, place and size."""
    references, spatial, gene_sets = draw(batches=(2, 3) if "batches" in case else (1, 1), depths=(60, 12))
    noisy = with_noise(spatial, gene_sets.folds[FOLD])
    changed = (spatial.X != noisy.X).nnz
    assert changed > 0.4 * len(spatial.cells) * len(gene_sets.folds[FOLD])
    in_use = fold_of(gene_sets, FOLD).in_use
    assert (spatial.select(in_use) != noisy.select(in_use)).nnz == 0
    # Some cells have counts on the held-out genes alone.
    assert (np.asarray(spatial.select(in_use).sum(1)).ravel() == 0).any()
    return references, spatial, noisy, gene_sets


def same_bits(a: np.ndarray, b: np.ndarray) -> bool:
    return a.dtype == b.dtype and a.shape == b.shape and a.tobytes() == b.tobytes()


@pytest.mark.parametrize("case", SETTINGS)
def test_gimvi_predicts_a_fold_without_its_counts(case):
    references, spatial, noisy, gene_sets = tissue(case)
    results = []
    for counts in (spatial, noisy):
        stacks = train(TrainingData(references, counts, gene_sets, SETTINGS[case]), MEMBERS)
        cells = np.arange(len(counts.cells))
        results.append((stacks, held_out_predictions(stacks, counts, cells, gene_sets, "s", 5, 0)))
    (stacks_before, before), (stacks_after, after) = results
    for old, new in zip(before, after, strict=True):
        of_fold = old.fold == FOLD
        assert np.isfinite(old.mean[:, of_fold]).any()
        assert same_bits(old.mean[:, of_fold], new.mean[:, of_fold])
        assert same_bits(old.sd[:, of_fold], new.sd[:, of_fold])
    # Noise is seen by the other folds' models: the test can tell.
    other = before[-1].fold == "0"
    assert not same_bits(before[-1].mean[:, other], after[-1].mean[:, other])
    for old, new in zip(stacks_before, stacks_after, strict=True):
        for m, member in enumerate(old.members):
            unseen = [torch.equal(a[m], b[m]) for a, b in zip(old.model.buffers(), new.model.buffers(), strict=True)]
            assert all(unseen) == (member.fold == FOLD)
            # What is recorded, and what early stopping looks at.
            rows = [stack.history[stack.history["member"] == m].reset_index(drop=True) for stack in (old, new)]
            common = min(map(len, rows))  # a stack goes on until its last member has stopped
            assert rows[0][:common].equals(rows[1][:common]) == (member.fold == FOLD), member


@pytest.mark.parametrize("reweight", [True, False])
def test_nothing_that_training_starts_from_sees_them(reweight):
    """Cells, sampling weights, depth and scaling of the input."""
    references, spatial, noisy, gene_sets = tissue("default")
    settings = replace(SMALL, reweight=reweight)
    views = [TrainingData(references, counts, gene_sets, settings).view(FOLD) for counts in (spatial, noisy)]
    assert views[0].depth == views[1].depth
    for name in ("in_use", "mean", "sd"):
        assert same_bits(getattr(views[0], name), getattr(views[1], name))
    for old, new in zip(views[0].cells, views[1].cells, strict=True):
        assert same_bits(old, new)
    for old, new in zip(views[0].weights, views[1].weights, strict=True):
        assert (old is None and new is None) or same_bits(old, new)
    assert (views[0].weights[0] is None) == (not reweight)
    everything = [TrainingData(references, counts, gene_sets, settings).view(None) for counts in (spatial, noisy)]
    assert everything[0].depth != everything[1].depth


def both_predictions(tmp_path, tissue_before_and_after, method):
    """What a method makes of each, as its step calls it."""
    references, spatial, noisy, gene_sets = tissue_before_and_after
    for name, counts in (("before", spatial), ("after", noisy)):
        yield method().predict_folds(write_sample(tmp_path / name, references, counts, gene_sets), "s")


def assert_no_trace(before, after):
    """The fold's predictions are the same bytes; other folds', which see the noise, are not: the test can tell."""
    assert len(before) == len(after) > 0
    for old, new in zip(before, after, strict=True):
        of_fold = old.fold == FOLD
        assert np.isfinite(old.mean[:, of_fold]).any() and np.isnan(old.mean[:, of_fold]).any()
        assert same_bits(old.mean[:, of_fold], new.mean[:, of_fold])
        assert same_bits(old.mean_frequency[of_fold], new.mean_frequency[of_fold])
        if old.sd is not None:
            assert same_bits(old.sd[:, of_fold], new.sd[:, of_fold])


def sees_other_folds(before, after) -> bool:
    return any(
        not same_bits(old.mean[:, old.fold == "0"], new.mean[:, old.fold == "0"])
        for old, new in zip(before, after, strict=True)
    )


@pytest.mark.parametrize("name", package_methods())
@pytest.mark.parametrize("labels", [True, False], ids=["labels", "no labels"])
def test_every_method_predicts_a_fold_without_its_counts(name, labels, tmp_path):
    references, spatial, noisy, gene_sets = tissue("default")
    if not labels:
        references = [replace(reference, obs=pd.DataFrame(index=reference.cells)) for reference in references]
    before, after = both_predictions(tmp_path, (references, spatial, noisy, gene_sets), package_methods()[name])
    assert_no_trace(before, after)
    # Even the total, which predicts the same for every cell, shows in other folds which cells have one.
    assert sees_other_folds(before, after)


def test_gimvi_predicts_a_fold_without_its_counts_as_its_step_calls_it(tmp_path):
    """With kappa chosen from what the first place predicts, which no choice here looks at."""
    chosen = KappaChoice(2.0, {"0": 0.0, FOLD: 2.0, "2": 2.0}, pd.DataFrame())
    settings = replace(SMALL, max_steps=10)
    before, after = both_predictions(tmp_path, tissue("default"), lambda: GimVI(settings, [0.0, 2.0], lambda _: chosen))
    # Both kappas are chosen for some fold, so every place has every fold at both.
    assert sorted((one.kappa, one.place) for one in before) == [(0.0, 0), (0.0, 1), (2.0, 0), (2.0, 1)]
    assert_no_trace(before, after)
    assert sees_other_folds(before, after)


# ---- the graph of cells, and what is made with it ----


def both_samples(tmp_path, only: bool):
    """The sample before and after; with `only`, its panel has two more genes, which the reference lacks."""
    references, spatial, noisy, gene_sets = tissue("default")
    for name, counts in (("before", spatial), ("after", noisy)):
        if only:
            more = sp.csr_matrix(np.random.default_rng(5).poisson(2, (len(counts.cells), 2)), dtype=np.float32)
            X = sp.hstack([counts.X, more], format="csr")
            counts = replace(counts, X=X, genes=np.array([*counts.genes, "only1", "only2"]))
        sets = replace(gene_sets, measured_only=["only1", "only2"] if only else [])
        yield write_sample(tmp_path / name / "inputs", references, counts, sets)


@pytest.mark.parametrize("only", [False, True], ids=["shared genes", "panel-only genes"])
def test_the_graph_of_a_fold_sees_nothing_of_its_genes(only, tmp_path):
    graphs = [FoldGraphs(inputs) for inputs in both_samples(tmp_path, only)]

    def same_graph(fold):
        before, after = (one.of(fold) for one in graphs)
        return all(
            same_bits(getattr(before, name), getattr(after, name)) for name in ("anchors", "neighbors", "around")
        )

    assert same_graph(FOLD)
    assert not same_graph("0") and not same_graph("2")
    graph = graphs[0].of(FOLD)
    assert (graph.neighbors == -1).any() and (graph.neighbors >= 0).any()


def final_prediction(inputs, folder: Path, monkeypatch):
    """What EVALUATE makes of all methods, a graph and choices that are given."""
    settings, shares = replace(SMALL, max_steps=10), Recipe({"knn": 0.2, "linear": 0.1, "celltype": 0.1}, 0.4, 0.1)
    gimvi = GimVI(settings, [2.0], lambda first: KappaChoice(2.0, dict.fromkeys("012", 2.0), pd.DataFrame()))
    others = [package_methods()[name]() for name in GRID]
    for method in [gimvi, *others]:
        for i, one in enumerate(method.predict_folds(inputs, "s")):
            write_predictions(folder / f"{one.method}.{i}.h5ad", one)
    truth = Truth(inputs)
    files = open_folder(folder, truth.cells, truth.genes)
    choices = (shares, dict.fromkeys("012", shares))
    monkeypatch.setattr("spatialimpute.evaluation.evaluate.choose_recipes", lambda *given: choices)
    return evaluate(files, 2.0, dict.fromkeys("012", 2.0), truth, tuple(GRID), FoldGraphs(inputs).of).prediction


def test_the_final_prediction_of_a_fold_is_made_without_its_counts(tmp_path, monkeypatch):
    """All members, shares of all other methods and of the graph, given the same choices."""
    before, after = (
        final_prediction(inputs, inputs.folder.parent, monkeypatch) for inputs in both_samples(tmp_path, True)
    )
    of_fold, other = before.fold == FOLD, before.fold == "0"
    assert np.isfinite(before.mean[:, of_fold]).any() and np.isnan(before.mean[:, of_fold]).any()
    for name in ("mean", "sd"):
        old, new = getattr(before, name), getattr(after, name)
        assert same_bits(old[:, of_fold], new[:, of_fold])
        assert not same_bits(old[:, other], new[:, other])


# ---- what is handed to methods, and what is chosen before ----


def test_a_view_holds_nothing_of_a_held_out_gene():
    _, spatial, noisy, gene_sets = tissue("default")
    fold = fold_of(gene_sets, FOLD)
    (view, known), (other, also_known) = (SpatialView.of(counts, fold) for counts in (spatial, noisy))
    assert view.genes == fold.in_use and not set(view.genes) & set(fold.held_out)
    assert view.counts.shape == (len(known), len(fold.in_use))
    assert not np.shares_memory(view.counts.data, spatial.X.data)
    assert pickle.dumps(view) == pickle.dumps(other)
    # Which cells it has follows from the genes in use alone.
    assert same_bits(known, also_known) and len(known) < len(spatial.cells)
    everything = [pickle.dumps(SpatialView.of(counts, fold_of(gene_sets, None))[0]) for counts in (spatial, noisy)]
    assert everything[0] != everything[1]


def selected(folder: Path, counts, *flags) -> dict:
    """The gene sets that the step chooses; without its warnings, which are for people, and the file's digest."""
    folder.mkdir()
    write_counts(folder / "spatial.h5ad", counts)
    command = [sys.executable, SCRIPT, "--sample", "s", "--spatial", "spatial.h5ad"]
    command += ["--reference", "../reference.h5ad", "--cv-folds", "3", "--score-cells", "40", *flags]
    done = subprocess.run(command, cwd=folder, env=os.environ, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    content = json.loads((folder / "inputs" / "gene_sets.json").read_text())
    return {name: value for name, value in content.items() if name not in ("warnings", "sha256")}


def test_neither_genes_nor_scored_cells_are_chosen_by_spatial_counts(tmp_path):
    (reference,), spatial, _, gene_sets = tissue("default")
    write_counts(tmp_path / "reference.h5ad", reference)
    flags = ("--max-shared-genes", "12", "--n-top-genes", "18")
    # Noise in place of every count of the section, so that depth, detection and variability all differ.
    noisy = with_noise(spatial, gene_sets.shared)
    before = selected(tmp_path / "before", spatial, *flags)
    assert selected(tmp_path / "after", noisy, *flags) == before
    assert len(before["scored_cells"]) == 40 and before["shared"] and before["folds"]
    # The test can tell: with another seed the file is another.
    assert selected(tmp_path / "seed", spatial, *flags, "--seed", "1") != before
