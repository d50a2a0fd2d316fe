"""Stacks of members: independence, determinism, checkpoints, recovery, early stopping, several datasets and batches."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from spatialimpute.errors import InputError, NonFiniteError
from spatialimpute.files.models import SCHEMA_VERSION
from spatialimpute.files.sealed import read_json, write_json
from spatialimpute.methods.gimvi import checkpoints, posterior, training
from spatialimpute.methods.gimvi.adam import Adam
from spatialimpute.methods.gimvi.checkpoints import Checkpoints
from spatialimpute.methods.gimvi.data import Member, TrainingData, member_seed
from spatialimpute.methods.gimvi.posterior import Imputer, held_out_predictions
from spatialimpute.methods.gimvi.settings import PRESETS
from spatialimpute.methods.gimvi.state import PATIENCE, TrainingState
from spatialimpute.methods.gimvi.training import ensemble, n_steps, train
from tissue import PAPER, SMALL, draw, make_panel, with_noise

MEMBERS = [Member("0", 0.0, 0), Member("1", 0.0, 1), Member(None, 0.0, 0)]
ADVERSARIAL = [replace(member, kappa=5.0) for member in MEMBERS]
HISTORY = [
    "member", "fold", "kappa", "place", "step", "epoch", "loss", "reconstruction", "kl_z", "kl_library",
    "held_out_loss", "disc_accuracy", "learning_rate",
]  # fmt: skip


def data(settings=SMALL, **tissue):
    references, spatial, gene_sets = draw(**tissue)
    return TrainingData(references, spatial, gene_sets, settings)


def weights(stack, m=None):
    state = stack.model.state_dict()
    return state if m is None else {name: value[m] for name, value in state.items()}


def same(a, b):
    return list(a) == list(b) and all(torch.equal(a[name], b[name]) for name in a)


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


def test_stacks_are_split_by_architecture_and_size(monkeypatch):
    monkeypatch.setattr(posterior, "BLOCK_FLOATS", 2_000)  # several chunks: the draws must not follow the stacks
    tissue = data(replace(SMALL, max_steps=10))
    members = [*MEMBERS, ADVERSARIAL[0], replace(MEMBERS[0], place=1, decoder_hidden=8)]
    groups = [stack.members for stack in train(tissue, members)]
    assert groups == [MEMBERS, ADVERSARIAL[:1], members[-1:]]
    groups = [stack.members for stack in train(tissue, members, workers=3)]
    assert groups[0][0] == members[0]
    assert sorted(member.name for group in groups for member in group) == sorted(member.name for member in members)
    together = held_out_predictions(train(tissue, MEMBERS[:2]), *draw()[1:], "s", 4, 0)
    by_workers = train(tissue, MEMBERS[:2], workers=2)
    monkeypatch.setattr(training, "CPU_STACK_ELEMENTS", 1)
    one_by_one = train(tissue, MEMBERS[:2])
    for split in (by_workers, one_by_one):
        assert [stack.members for stack in split] == [[member] for member in MEMBERS[:2]]
        apart = held_out_predictions(split, *draw()[1:], "s", 4, 0)
        for a, b in zip(together, apart, strict=True):
            np.testing.assert_allclose(a.mean, b.mean, rtol=1e-3)
    for a, b in zip(by_workers, one_by_one, strict=True):
        assert same(weights(a), weights(b)) and a.history.equals(b.history)


def test_stacks_end_at_about_the_same_time():
    tissue, cpu = data(SMALL), torch.device("cpu")
    folds = [replace(MEMBERS[0], fold=str(k)) for k in range(5)]
    members = [*folds, *(replace(member, place=1) for member in folds)]
    members += [replace(member, place=2, decoder_hidden=8) for member in folds]
    members += [replace(member, kappa=5.0) for member in folds]
    sizes = {n: [len(stack) for stack in training._split(tissue, members, cpu, n)] for n in (1, 2, 20)}
    assert sizes == {1: [10, 5, 5], 2: [5, 5, 5, 5], 20: [1] * 20}
    for workers in (2, 3, 8):
        stacks = training._split(tissue, members, cpu, workers)
        assert sorted(m.name for stack in stacks for m in stack) == sorted(m.name for m in members)
        assert all(len({(m.decoder_hidden, m.kappa > 0) for m in stack}) == 1 for stack in stacks)
        costs = [training._cost(stack) for stack in stacks]
        assert costs == sorted(costs, reverse=True)
        assert training._duration(stacks, workers) <= sum(costs) / workers + min(costs)


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
    update = TrainingState.update

    def spy(self, minibatches, learning_rate, kl_weight):
        kl_weights.append(kl_weight)
        update(self, minibatches, learning_rate, kl_weight)

    monkeypatch.setattr(TrainingState, "update", spy)
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

    def held_out_loss(self, _):
        seen.append({name: value.clone() for name, value in self.model.state_dict().items()})
        t = len(seen)
        losses.append([abs(t - 3.0), -float(t), abs(t - 19.0)])
        return np.array(losses[-1])

    monkeypatch.setattr(TrainingState, "_held_out_loss", held_out_loss)
    (stack,) = train(data(settings), MEMBERS)
    assert len(seen) == 20
    for m, record in enumerate([3, 20, 20]):  # member 2 has not waited for PATIENCE records
        for name, value in weights(stack, m).items():
            assert torch.equal(value, seen[record - 1][name][m]), (m, name)
    assert stack.history["held_out_loss"].tolist() == [value for row in losses for value in row]
    assert not torch.equal(seen[2]["decoder.rho.weight"][0], seen[19]["decoder.rho.weight"][0])


def test_training_ends_when_every_member_has_stopped(monkeypatch):
    calls = []

    def held_out_loss(self, _):
        calls.append(self.step)
        return np.array([len(calls), abs(len(calls) - 2.0)])

    monkeypatch.setattr(TrainingState, "_held_out_loss", held_out_loss)
    train(data(), MEMBERS[:2])
    assert len(calls) == 2 + PATIENCE
    calls.clear()
    train(data(replace(SMALL, early_stopping=False)), MEMBERS[:2])
    assert len(calls) == 30


# ---- checkpoints ----


@pytest.mark.parametrize("settings, members", [(SMALL, MEMBERS), (PAPER, ADVERSARIAL)], ids=["default", "paper"])
def test_a_killed_training_continues_to_the_same_bits(settings, members, tmp_path, monkeypatch):
    settings = replace(settings, max_steps=60)
    (undisturbed,) = train(data(settings), members)
    monkeypatch.setattr(checkpoints, "INTERVAL", 0)

    def checkpoint(group):
        return Checkpoints(tmp_path / "new", f"{len(group)}")

    update = TrainingState.update
    steps = []

    def killed(self, *args, **kwargs):
        steps.append(self.step)
        if len(steps) == 34:
            raise KeyboardInterrupt
        update(self, *args, **kwargs)

    monkeypatch.setattr(TrainingState, "update", killed)
    with pytest.raises(KeyboardInterrupt):
        train(data(settings), members, checkpoint=checkpoint)
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["3.safetensors"]
    (continued,) = train(data(settings), members, checkpoint=checkpoint)
    assert steps[34] == 33
    assert len(steps) == 34 + 60 - 33
    assert same(weights(undisturbed), weights(continued))
    assert undisturbed.history.equals(continued.history)


def test_checkpoint_keeps_every_kind_of_value(tmp_path, monkeypatch):
    snapshot = {
        "a": {0: torch.arange(3), "x": np.array([True, False])},
        "b": [None, 1.5, float("nan"), {"c": [np.zeros((2, 2)), "text"]}],
    }
    kept = Checkpoints(tmp_path, "key")
    assert not kept.is_due()  # a short training writes none
    monkeypatch.setattr(checkpoints, "INTERVAL", 0)
    assert Checkpoints(tmp_path, "key").is_due()
    kept.save(snapshot)
    loaded = kept.load()
    assert torch.equal(loaded["a"][0], torch.arange(3))
    assert loaded["a"]["x"].dtype == bool and loaded["a"]["x"].tolist() == [True, False]
    assert loaded["b"][:2] == [None, 1.5] and math.isnan(loaded["b"][2])
    assert loaded["b"][3]["c"][0].shape == (2, 2) and loaded["b"][3]["c"][1] == "text"
    assert Checkpoints(tmp_path, "another").load() is None
    kept.clear()
    assert not list(tmp_path.iterdir()) and kept.load() is None
    kept.clear()


# ---- losses that are not finite ----


def poison(monkeypatch, member, when):
    """Make a weight of one member NaN after the steps for which `when(call, step)` holds; gives the list of steps."""
    update, steps = TrainingState.update, []

    def poisoned(self, *args, **kwargs):
        update(self, *args, **kwargs)
        steps.append(self.step)
        if when(len(steps), self.step):
            with torch.no_grad():
                self.model.decoder.rho.weight[member, 0, 0] = float("nan")

    monkeypatch.setattr(TrainingState, "update", poisoned)
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
    moves, update = [], TrainingState.update

    def spy(self, *args, **kwargs):
        before = self.model.decoder.rho.weight.detach().clone()
        update(self, *args, **kwargs)
        moves.append(self.model.decoder.rho.weight.detach() - before)
        if len(moves) == 21:
            with torch.no_grad():
                self.model.decoder.rho.bias[1, 0, 0] = float("nan")

    monkeypatch.setattr(TrainingState, "update", spy)
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


# ---- models on disk ----


@pytest.mark.parametrize("settings", [SMALL, PAPER], ids=["default", "paper"])
def test_models_are_read_as_they_were_written(settings, tmp_path):
    references, spatial, gene_sets = draw(n_cells=(90, 70, 60), batches=(2, 2))
    tissue = TrainingData(references, spatial, gene_sets, replace(settings, max_steps=6))
    members = [Member(None, 0.0, 0), Member(None, 0.0, 1, 8), Member("1", 3.0, 0)]
    stacks = train(tissue, members)
    training.save(stacks, tmp_path / "models", gene_sets, settings)
    assert sorted(p.name for p in (tmp_path / "models").iterdir()) == [
        "history.tsv", "models.json", "weights.safetensors",
    ]  # fmt: skip
    loaded = training.load(tmp_path / "models", gene_sets)
    assert [stack.members for stack in loaded] == [stack.members for stack in stacks]
    for ours, theirs in zip(stacks, loaded, strict=True):
        assert theirs.arch == ours.arch
        assert same(weights(ours), weights(theirs))
        assert not theirs.model.training


@pytest.mark.parametrize("kappa", [0.0, 5.0])
@pytest.mark.parametrize("settings", [SMALL, PAPER], ids=["default", "paper"])
@pytest.mark.parametrize("spatial_likelihood", ["poisson", "nb", "zinb"])
@pytest.mark.parametrize("reference_likelihood", ["poisson", "nb", "zinb"])
def test_every_pair_of_likelihoods_trains(reference_likelihood, spatial_likelihood, settings, kappa, tmp_path):
    references, spatial, gene_sets = draw()
    settings = replace(
        settings, reference_likelihood=reference_likelihood, spatial_likelihood=spatial_likelihood, max_steps=4
    )
    members = [Member("0", kappa, 0), Member(None, kappa, 0)]
    (stack,) = train(TrainingData(references, spatial, gene_sets, settings), members)
    assert np.isfinite(stack.history[["loss", "reconstruction", "held_out_loss"]].to_numpy()).all()
    assert [spec.likelihood for spec in stack.arch.datasets] == [reference_likelihood, spatial_likelihood]
    training.save([stack], tmp_path, gene_sets, settings)
    (loaded,) = training.load(tmp_path, gene_sets)
    assert loaded.arch == stack.arch and same(weights(stack), weights(loaded))


def test_models_of_other_genes_or_versions_are_refused(tmp_path):
    references, spatial, gene_sets = draw()
    stacks = train(TrainingData(references, spatial, gene_sets, replace(SMALL, max_steps=2)), MEMBERS[2:])
    training.save(stacks, tmp_path, gene_sets, SMALL)
    with pytest.raises(InputError, match="trained on other genes"):
        training.load(tmp_path, make_panel(gene_sets.genes[:-1], 15))
    content = read_json(tmp_path / "models.json")
    assert content["schema_version"] == SCHEMA_VERSION
    write_json(tmp_path / "models.json", content | {"schema_version": "0"})
    with pytest.raises(InputError, match="expected models of schema version 1, found 0"):
        training.load(tmp_path, gene_sets)


# ---- optimizer ----


@pytest.mark.parametrize("weight_decay", [0.0, 0.1])
def test_adam_steps_as_torch_does(weight_decay):
    torch.manual_seed(0)
    mine = [torch.randn(3, 4, requires_grad=True), torch.randn(2, requires_grad=True)]
    theirs = [parameter.detach().clone().requires_grad_() for parameter in mine]
    adam = Adam(mine, eps=1e-4, weight_decay=weight_decay)
    reference = torch.optim.Adam(theirs, eps=1e-4, weight_decay=weight_decay)
    for step in range(5):
        for parameters in (mine, theirs):
            sum((parameter - step).pow(4).sum() for parameter in parameters).backward()
        adam.step(0.1 / (step + 1))
        reference.param_groups[0]["lr"] = 0.1 / (step + 1)
        reference.step()
        adam.zero_grad()
        reference.zero_grad()
    for a, b in zip(mine, theirs, strict=True):
        torch.testing.assert_close(a, b)


def test_adam_continues_from_its_state():
    def run(adam, parameter, steps):
        for _ in range(steps):
            parameter.grad = parameter.detach() ** 3
            adam.step(0.05)

    start = torch.tensor([1.0, -2.0])
    whole, half = start.clone(), start.clone()
    run(Adam([whole], 1e-8, 0.0), whole, 6)
    first = Adam([half], 1e-8, 0.0)
    run(first, half, 3)
    second = Adam([half], 1e-8, 0.0)
    second.load_state_dict(first.state_dict())
    run(second, half, 3)
    assert torch.equal(whole, half)
