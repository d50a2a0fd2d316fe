"""Training: members' independence, determinism, schedules, several datasets and batches."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from spatialimpute.ensemble import Recipe, fit_blend
from spatialimpute.errors import InputError
from spatialimpute.folds import fold_of
from spatialimpute.imputation.blocks import Posterior
from spatialimpute.imputation.reducers import Summarize
from spatialimpute.methods.gimvi import training
from spatialimpute.methods.gimvi.data import Member, TrainingData, member_seed
from spatialimpute.methods.gimvi.posterior import held_out_predictions, mean_frequencies
from spatialimpute.methods.gimvi.settings import PRESETS
from spatialimpute.methods.gimvi.training import ensemble, n_steps, train
from tissue import ADVERSARIAL, MEMBERS, PAPER, SMALL, data, draw, same, weights, with_noise

HISTORY = [
    "member", "fold", "kappa", "place", "step", "epoch", "loss", "reconstruction", "kl_z", "kl_library",
    "held_out_loss", "disc_accuracy", "learning_rate",
]  # fmt: skip


# ---- members and stacks ----


def test_members_of_an_ensemble():
    members = ensemble(PRESETS["default"], {"0": 0.0, "1": 5.0}, range(4))
    assert [(m.fold, m.kappa, m.place, m.decoder_hidden) for m in members] == [
        (fold, kappa, *rest)
        for fold, kappa in (("0", 0.0), ("1", 5.0))
        for rest in ((0, 0), (1, 0), (2, 128), (3, 0))  # decoders begin anew where places outnumber them
    ]
    assert len({member.name for member in members}) == len(members)


def test_seeds_are_the_members_own_whatever_kappa():
    seeds = {member_seed(member, 0) for member in MEMBERS}
    assert len(seeds) == 3
    assert seeds == {member_seed(member, 0) for member in ADVERSARIAL}
    assert not seeds & {member_seed(member, 1) for member in MEMBERS}


@pytest.mark.parametrize("members", [MEMBERS, ADVERSARIAL], ids=["kappa 0", "kappa 5"])
@pytest.mark.parametrize("settings", [SMALL, PAPER], ids=["default", "paper"])
def test_a_member_is_the_same_alone_and_in_a_stack(settings, members):
    """To floating-point order: matrix products of a stack are summed in another order than those of one model.

    Biases before a batch normalization are left out: their gradient is zero but for rounding, which Adam scales up,
    and the normalization takes them out again.
    """
    tissue = data(settings)
    (stack,) = train(tissue, members)
    (reordered,) = train(tissue, members[1:])
    for m, member in enumerate(members):
        (alone,) = train(tissue, [member])
        for other, k in ((alone, 0), (reordered, m - 1)):
            if k < 0:
                continue
            for name, value in weights(other, k).items():
                if not name.endswith(("linear.bias", "norm.mean")):
                    torch.testing.assert_close(weights(stack, m)[name], value, rtol=2e-4, atol=2e-5)
            ours = stack.history[stack.history["member"] == m]
            theirs = other.history[other.history["member"] == k]
            for column in ("loss", "reconstruction", "kl_z", "kl_library"):
                np.testing.assert_allclose(ours[column], theirs[column], rtol=1e-4, atol=1e-5)
            # Running means lag behind those biases, so in evaluation these are not quite taken out.
            np.testing.assert_allclose(ours["held_out_loss"], theirs["held_out_loss"], rtol=2e-3)


@pytest.mark.parametrize("settings, members", [(SMALL, MEMBERS), (PAPER, ADVERSARIAL)], ids=["default", "paper"])
def test_same_seed_same_bits(settings, members):
    (first,), (again,), (other,) = train(data(settings), members), train(data(settings), members), train(
        data(settings), members, seed=1
    )  # fmt: skip
    assert same(weights(first), weights(again))
    assert first.history.equals(again.history)
    assert not torch.equal(first.model.decoder.rho.weight, other.model.decoder.rho.weight)


def test_the_adversary_matters_and_is_recorded():
    tissue = data(replace(SMALL, max_steps=50, early_stopping=False))
    (plain,), (adversarial,) = train(tissue, MEMBERS[:1]), train(tissue, ADVERSARIAL[:1])
    assert plain.history["disc_accuracy"].isna().all()
    assert adversarial.history["disc_accuracy"].between(0, 1).all()
    assert not torch.equal(plain.model.encoder.mean.weight, adversarial.model.encoder.mean.weight)


# ---- the loop ----


def test_number_of_steps():
    settings = replace(SMALL, epochs=10, min_steps=50, max_steps=400, batch_size=128)
    assert n_steps(settings, 100) == 50
    assert n_steps(settings, 129 * 10) == 110  # a last, smaller batch counts
    assert n_steps(settings, 10**6) == 400
    assert n_steps(PRESETS["paper"], 4530) == 200 * 36
    assert n_steps(replace(PRESETS["paper"], max_steps=7), 4530) == 7


def test_history_and_schedules(monkeypatch):
    kl_weights = []
    update = training.update

    def spy(state, minibatches, learning_rate, kl_weight):
        kl_weights.append(kl_weight)
        update(state, minibatches, learning_rate, kl_weight)

    monkeypatch.setattr(training, "update", spy)
    settings = replace(SMALL, max_steps=110, early_stopping=False)
    (stack,) = train(data(settings), MEMBERS[:2])
    history = stack.history
    assert list(history.columns) == HISTORY
    steps = [*range(4, 110, 4), 110]  # a 25th of the steps, and the last one
    assert history["step"].tolist() == list(np.repeat(steps, 2))
    assert history["member"].tolist() == [0, 1] * len(steps)
    assert history["fold"].tolist() == ["0", "1"] * len(steps)
    np.testing.assert_allclose(history["epoch"], history["step"] * 32 / 150, atol=1e-3)
    np.testing.assert_allclose(kl_weights, 0.5 * np.arange(1, 111) / 110)
    rate = [7e-3 * 0.5 * (1 + math.cos(math.pi * (step - 1) / 110)) for step in steps]
    np.testing.assert_allclose(history["learning_rate"][::2], rate)
    first, last = history[history["step"] == 4], history[history["step"] == 110]
    assert (last["held_out_loss"].to_numpy() < first["held_out_loss"].to_numpy()).all()


# ---- datasets and batches ----

TISSUES = {
    "three datasets": {"n_cells": (90, 70, 60)},
    "spatial batches": {"batches": (1, 3)},
    "reference batches": {"batches": (2, 1)},
    "three datasets, all with batches": {"n_cells": (90, 70, 60), "batches": (3, 2)},
}


@pytest.mark.parametrize("settings, kappa", [(SMALL, 0.0), (PAPER, 2.0)], ids=["default", "paper"])
@pytest.mark.parametrize("tissue", TISSUES)
def test_datasets_and_batches_train_and_impute(tissue, settings, kappa):
    references, spatial, gene_sets = draw(**TISSUES[tissue])
    tissue_data = TrainingData(references, spatial, gene_sets, replace(settings, max_steps=10))
    (stack,) = train(tissue_data, [Member("0", kappa, 0)])
    assert len(stack.arch.datasets) == len(references) + 1
    assert stack.arch.conditioned == ("batches" in tissue)
    assert np.isfinite(stack.history[["loss", "held_out_loss"]].to_numpy()).all()
    cells = np.arange(len(spatial.cells))
    (predictions,) = held_out_predictions([stack], spatial, cells, gene_sets, "s", 3, 0)
    assert set(predictions.fold) == {"0"} and predictions.genes.tolist() == gene_sets.folds["0"]
    counted = np.asarray(spatial.select(fold_of(gene_sets, "0").in_use).sum(1)).ravel() > 0
    np.testing.assert_array_equal(np.isfinite(predictions.mean), np.tile(counted[:, None], predictions.mean.shape[1]))
    final = train(tissue_data, [Member(None, kappa, 0), Member(None, kappa, 1)])
    blend = fit_blend(mean_frequencies(final, spatial, gene_sets, gene_sets.targets), {}, Recipe())
    posterior = Posterior(final, spatial, gene_sets, blend, {}, n_samples=3, seed=0)
    rows = slice(0, len(cells))
    summarize = Summarize(rows, posterior.n_genes, interval=0.9)
    for block in posterior.blocks(rows):
        summarize.update(block)
    mean = summarize.result().mean
    assert mean.shape == (len(cells), len(gene_sets.targets))
    known = np.asarray(spatial.X.sum(1)).ravel() > 0
    np.testing.assert_array_equal((mean > 0).all(1), known)
    assert np.isnan(mean[~known]).all()


def test_a_dataset_without_counts_on_the_panel():
    references, spatial, gene_sets = draw()
    silent = with_noise(references[0], gene_sets.shared, mean=0)
    with pytest.raises(InputError, match="reference0: no cell has counts on the 10 panel genes in use"):
        train(TrainingData([silent], spatial, gene_sets, SMALL), MEMBERS[:1])
