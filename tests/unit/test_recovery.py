"""Members that stop early or whose loss is not finite, and that neither touches the others."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from spatialimpute.errors import NonFiniteError
from spatialimpute.methods.gimvi import training
from spatialimpute.methods.gimvi.training import PATIENCE, train
from tissue import ADVERSARIAL, MEMBERS, PAPER, SMALL, data, same, weights


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
