"""Training: members' independence, determinism, early stopping, recovery, several datasets and batches."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from spatialimpute.errors import InputError, NonFiniteError
from spatialimpute.methods.gimvi import training
from spatialimpute.methods.gimvi.data import Member, TrainingData, member_seed
from spatialimpute.methods.gimvi.posterior import Imputer, held_out_predictions
from spatialimpute.methods.gimvi.settings import PRESETS
from spatialimpute.methods.gimvi.training import PATIENCE, ensemble, n_steps, train
from tissue import ADVERSARIAL, MEMBERS, PAPER, SMALL, data, draw, same, weights, with_noise

HISTORY = [
    "member", "fold", "kappa", "place", "step", "epoch", "loss", "reconstruction", "kl_z", "kl_library",
    "held_out_loss", "disc_accuracy", "learning_rate",
]  # fmt: skip


# ---- members and stacks ----


def test_members_of_an_ensemble():
    members = ensemble(PRESETS["default"], folds=["0", "1"], kappas=[0.0, 5.0])
    of_fold = [(0.0, 0, 0), (0.0, 1, 0), (0.0, 2, 128), (5.0, 0, 0)]
    assert [(m.fold, m.kappa, m.place, m.decoder_hidden) for m in members] == [
        (fold, *rest) for fold in ("0", "1") for rest in of_fold
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
    rate = [3e-3 * 0.5 * (1 + math.cos(math.pi * (step - 1) / 110)) for step in steps]
    np.testing.assert_allclose(history["learning_rate"][::2], rate)
    first, last = history[history["step"] == 4], history[history["step"] == 110]
    assert (last["held_out_loss"].to_numpy() < first["held_out_loss"].to_numpy()).all()


def test_early_stopping_takes_the_best_weights(monkeypatch):
    """Member 0 is best at its third record, member 1 gets ever better, member 2 at its second-last."""
    settings = replace(SMALL, max_steps=20)
    seen, losses = [], []

    def held_out_loss(state, _):
        seen.append({name: value.clone() for name, value in state.model.state_dict().items()})
        t = len(seen)
        losses.append([abs(t - 3.0), -float(t), abs(t - 19.0)])
        return np.array(losses[-1])

    monkeypatch.setattr(training, "held_out_loss", held_out_loss)
    (stack,) = train(data(settings), MEMBERS)
    assert len(seen) == 20
    for m, record in enumerate([3, 20, 20]):  # member 2 has not waited for PATIENCE records
        for name, value in weights(stack, m).items():
            assert torch.equal(value, seen[record - 1][name][m]), (m, name)
    for m, records in enumerate([3 + PATIENCE, 20, 20]):  # none of a member that was stopped
        recorded = stack.history.loc[stack.history["member"] == m, "held_out_loss"]
        assert recorded.tolist() == [row[m] for row in losses[:records]]
    assert not torch.equal(seen[2]["decoder.rho.weight"][0], seen[19]["decoder.rho.weight"][0])


def test_training_ends_when_every_member_has_stopped(monkeypatch):
    calls = []

    def held_out_loss(state, _):
        calls.append(state.step)
        return np.array([len(calls), abs(len(calls) - 2.0)])

    monkeypatch.setattr(training, "held_out_loss", held_out_loss)
    train(data(), MEMBERS[:2])
    assert len(calls) == 2 + PATIENCE
    calls.clear()
    train(data(replace(SMALL, early_stopping=False)), MEMBERS[:2])
    assert len(calls) == 30


def stop_second_member(monkeypatch, at):
    """Let member 1 be best at its first record, so that it stops; the others always are better than ever."""

    def held_out_loss(state, _):
        return np.array([-state.step, 1.0 + (state.step > at), -state.step], dtype=float)

    monkeypatch.setattr(training, "held_out_loss", held_out_loss)


@pytest.mark.parametrize("settings, members", [(SMALL, MEMBERS), (PAPER, ADVERSARIAL)], ids=["default", "paper"])
def test_a_stopped_member_is_not_updated_and_the_others_are_as_without_it(settings, members, monkeypatch):
    settings = replace(settings, early_stopping=True)
    (undisturbed,) = train(data(replace(settings, early_stopping=False)), members)
    stop_second_member(monkeypatch, at=1)
    seen, update = [], training.update

    def spy(state, *args, **kwargs):
        update(state, *args, **kwargs)
        seen.append({name: value.detach()[1].clone() for name, value in state.model.named_parameters()})

    monkeypatch.setattr(training, "update", spy)
    (stack,) = train(data(settings), members)
    assert len(seen) == 30
    stopped = 1 + PATIENCE
    assert not torch.equal(seen[stopped - 1]["decoder.rho.weight"], seen[stopped - 2]["decoder.rho.weight"])
    for later in seen[stopped:]:
        assert same(later, seen[stopped - 1])
    assert same({name: weights(stack, 1)[name] for name in seen[0]}, seen[0])  # its best
    for m in (0, 2):
        assert same(weights(stack, m), weights(undisturbed, m))
    recorded = stack.history.loc[stack.history["member"] == 1, "step"]
    assert recorded.tolist() == list(range(1, stopped + 1))


@pytest.mark.parametrize("settings, members", [(SMALL, MEMBERS), (PAPER, ADVERSARIAL)], ids=["default", "paper"])
def test_nothing_that_happens_to_a_stopped_member_matters(settings, members, monkeypatch, caplog):
    stop_second_member(monkeypatch, at=1)
    settings = replace(settings, early_stopping=True)
    (undisturbed,) = train(data(settings), members)
    steps = poison(monkeypatch, 1, lambda call, step: step >= 1 + PATIENCE)
    (stack,) = train(data(settings), members)
    assert steps == list(range(30))  # none is repeated
    assert "not finite" not in caplog.text
    assert same(weights(stack), weights(undisturbed))
    assert stack.history.equals(undisturbed.history)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_a_held_out_loss_that_is_not_finite_is_no_better_than_any(value, monkeypatch, caplog):
    """Member 0 has one at every record, member 1 at every record but the third, member 2 at the third alone."""
    seen = []

    def held_out_loss(state, _):
        seen.append({name: tensor.clone() for name, tensor in state.model.state_dict().items()})
        third = len(seen) == 3
        return np.array([value, 5.0 if third else value, value if third else -float(len(seen))])

    monkeypatch.setattr(training, "held_out_loss", held_out_loss)
    (stack,) = train(data(), MEMBERS)
    assert len(seen) == 30
    for m, record in enumerate([30, 3, 30]):
        assert same(weights(stack, m), {name: tensor[m] for name, tensor in seen[record - 1].items()}), m
    records = stack.history.groupby("member")["step"].count()
    assert records.tolist() == [30, 3 + PATIENCE, 30]
    (warning,) = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    assert warning.startswith("no held-out loss was finite for fold 0, kappa 0, place 0: trained to the end")


# ---- losses that are not finite ----


def poison(monkeypatch, member, when):
    """Make a weight of one member NaN after the steps for which `when(call, step)` holds; gives the list of steps."""
    update, steps = training.update, []

    def poisoned(state, *args, **kwargs):
        update(state, *args, **kwargs)
        steps.append(state.step)
        if when(len(steps), state.step):
            with torch.no_grad():
                state.model.decoder.rho.weight[member, 0, 0] = float("nan")

    monkeypatch.setattr(training, "update", poisoned)
    return steps


@pytest.mark.parametrize("settings, members", [(SMALL, MEMBERS), (PAPER, ADVERSARIAL)], ids=["default", "paper"])
def test_recovery_leaves_the_others_as_they_were(settings, members, monkeypatch, caplog):
    settings = replace(settings, max_steps=60)
    (undisturbed,) = train(data(settings), members)
    steps = poison(monkeypatch, 1, lambda call, step: call == 21)
    (recovered,) = train(data(settings), members)
    assert steps[20:24] == [20, 21, 20, 21] and len(steps) == 62  # steps 20 and 21 (from 0) are repeated
    assert "loss not finite for fold 1" in caplog.text
    for m in (0, 2):
        assert same(weights(undisturbed, m), weights(recovered, m))
    assert all(torch.isfinite(value).all() for value in weights(recovered, 1).values())
    assert not torch.equal(undisturbed.model.decoder.rho.weight[1], recovered.model.decoder.rho.weight[1])
    others = undisturbed.history["member"] != 1
    assert undisturbed.history[others].equals(recovered.history[others])


def test_recovery_halves_the_members_rate(monkeypatch):
    """The first step after the failure is half the step that was undone, for that member only."""
    moves, update = [], training.update

    def spy(state, *args, **kwargs):
        before = state.model.decoder.rho.weight.detach().clone()
        update(state, *args, **kwargs)
        moves.append(state.model.decoder.rho.weight.detach() - before)
        if len(moves) == 21:
            with torch.no_grad():
                state.model.decoder.rho.bias[1, 0, 0] = float("nan")

    monkeypatch.setattr(training, "update", spy)
    train(data(replace(SMALL, max_steps=60)), MEMBERS)
    share = torch.tensor([1.0, 0.5, 1.0]).view(3, 1, 1)
    torch.testing.assert_close(moves[22], moves[20] * share, rtol=1e-3, atol=1e-6)
    assert moves[20][1].abs().max() > 1e-3


def test_an_error_names_the_member_that_fails_again_and_again(monkeypatch):
    steps = poison(monkeypatch, 1, lambda call, step: step == 7)
    with pytest.raises(
        NonFiniteError, match=r"not stay finite for fold 1, kappa 0, place 1, although.*4 times"
    ) as error:
        train(data(), MEMBERS)
    assert error.value.exit_code == 70
    assert steps.count(7) == 5


def test_a_rate_far_too_high_is_such_an_error():
    with pytest.raises(NonFiniteError, match="fold none, kappa 0, place 0"):
        train(data(replace(SMALL, learning_rate=1e30)), MEMBERS[2:])


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
    (predictions,) = held_out_predictions([stack], spatial, gene_sets, "s", 3, 0)
    of_fold = predictions.fold == "0"
    counted = np.asarray(spatial.select(gene_sets.genes_in_use("0")).sum(1)).ravel() > 0
    np.testing.assert_array_equal(np.isfinite(predictions.mean), np.outer(counted, of_fold))
    final = train(tissue_data, [Member(None, kappa, 0), Member(None, kappa, 1)])
    chunks = list(Imputer(final, spatial, gene_sets, n_samples=3))
    mean = np.concatenate([chunk.mean for chunk in chunks])
    assert mean.shape == (len(spatial.cells), len(gene_sets.targets))
    assert np.isfinite(mean).all()
    np.testing.assert_array_equal((mean > 0).all(1), np.asarray(spatial.X.sum(1)).ravel() > 0)


def test_a_dataset_without_counts_on_the_panel():
    references, spatial, gene_sets = draw()
    silent = with_noise(references[0], gene_sets.shared, mean=0)
    with pytest.raises(InputError, match="reference0: no cell has counts on the 10 panel genes in use"):
        train(TrainingData([silent], spatial, gene_sets, SMALL), MEMBERS[:1])
