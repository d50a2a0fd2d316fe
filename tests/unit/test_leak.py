"""A held-out gene leaves no trace: noise in its spatial counts changes no bit of what is predicted for it."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from spatialimpute.genes import select_genes
from spatialimpute.methods.gimvi.data import Member, TrainingData
from spatialimpute.methods.gimvi.posterior import held_out_predictions
from spatialimpute.methods.gimvi.training import train
from spatialimpute.methods.registry import METHODS, predict_folds
from tissue import PAPER, SMALL, draw, with_noise

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
    assert (spatial.select(gene_sets.genes_in_use(FOLD)) != noisy.select(gene_sets.genes_in_use(FOLD))).nnz == 0
    # Some cells have counts on the held-out genes alone.
    in_use = np.asarray(spatial.select(gene_sets.genes_in_use(FOLD)).sum(1)).ravel()
    assert (in_use == 0).any()
    return references, spatial, noisy, gene_sets


def same_bits(a: np.ndarray, b: np.ndarray) -> bool:
    return a.dtype == b.dtype and a.shape == b.shape and a.tobytes() == b.tobytes()


@pytest.mark.parametrize("case", SETTINGS)
def test_gimvi_predicts_a_fold_without_its_counts(case):
    references, spatial, noisy, gene_sets = tissue(case)
    results = []
    for counts in (spatial, noisy):
        stacks = train(TrainingData(references, counts, gene_sets, SETTINGS[case]), MEMBERS)
        results.append((stacks, held_out_predictions(stacks, counts, gene_sets, "s", 5, 0)))
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


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("labels", [True, False], ids=["labels", "no labels"])
def test_baselines_predict_a_fold_without_its_counts(method, labels):
    references, spatial, noisy, gene_sets = tissue("default")
    if not labels:
        references = [replace(reference, obs=pd.DataFrame(index=reference.cells)) for reference in references]
    before, after = (predict_folds(METHODS[method](), references, s, gene_sets, "s") for s in (spatial, noisy))
    of_fold = before.fold == FOLD
    assert same_bits(before.mean[:, of_fold], after.mean[:, of_fold])


def test_no_gene_is_chosen_by_spatial_counts():
    """Gene selection is given names only; that the same names give the same panel is all there is to test."""
    references, spatial, noisy, _ = tissue("default")
    panels = []
    for counts in (spatial, noisy):
        gene_sets, _ = select_genes(
            "s", counts.genes.tolist(), references, cv_folds=3, max_shared_genes=12, n_top_genes=18
        )
        panels.append(gene_sets)
    assert panels[0] == panels[1]
    assert len(panels[0].shared) == 12
