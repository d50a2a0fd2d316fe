"""Checkpoints: a killed training continues to the same bits; where none can be kept, training goes on."""

import logging
import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from spatialimpute.methods.gimvi import checkpoints, training
from spatialimpute.methods.gimvi.checkpoints import Checkpoints
from spatialimpute.methods.gimvi.training import train
from tissue import ADVERSARIAL, MEMBERS, PAPER, SMALL, data, same, weights


@pytest.mark.parametrize("settings, members", [(SMALL, MEMBERS), (PAPER, ADVERSARIAL)], ids=["default", "paper"])
def test_a_killed_training_continues_to_the_same_bits(settings, members, tmp_path, monkeypatch):
    settings = replace(settings, max_steps=60)
    (undisturbed,) = train(data(settings), members)
    monkeypatch.setattr(checkpoints, "INTERVAL", 0)

    def checkpoint(group):
        return Checkpoints(tmp_path / "new", f"{len(group)}")

    update = training.update
    steps = []

    def killed(state, *args, **kwargs):
        steps.append(state.step)
        if len(steps) == 34:
            raise KeyboardInterrupt
        update(state, *args, **kwargs)

    monkeypatch.setattr(training, "update", killed)
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


def test_a_stopped_member_stays_stopped_in_a_continued_training(tmp_path, monkeypatch):
    losses = np.array([[3.0, -1.0, -1.0]])

    def held_out_loss(state, _):
        return losses[0] * [1, state.step, state.step]

    def killed(state, *args, **kwargs):
        if state.step == 20 and not (tmp_path / "again").exists():
            (tmp_path / "again").touch()
            raise KeyboardInterrupt
        update(state, *args, **kwargs)

    monkeypatch.setattr(training, "held_out_loss", held_out_loss)
    (undisturbed,) = train(data(SMALL), MEMBERS)
    assert (undisturbed.history["member"] == 0).sum() == 1 + training.PATIENCE
    update = training.update
    monkeypatch.setattr(checkpoints, "INTERVAL", 0)
    monkeypatch.setattr(training, "update", killed)
    with pytest.raises(KeyboardInterrupt):
        train(data(SMALL), MEMBERS, checkpoint=lambda _: Checkpoints(tmp_path, "key"))
    (continued,) = train(data(SMALL), MEMBERS, checkpoint=lambda _: Checkpoints(tmp_path, "key"))
    assert same(weights(undisturbed), weights(continued))
    assert undisturbed.history.equals(continued.history)


@pytest.mark.parametrize("folder", ["s3://bucket/work/checkpoints", "/proc/checkpoints", "a file/checkpoints"])
@pytest.mark.parametrize("workers", [1, 2])
def test_without_a_folder_for_them_training_goes_on(workers, folder, tmp_path, monkeypatch, caplog, capfd):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a file").touch()
    monkeypatch.setattr(checkpoints, "INTERVAL", 0)
    checkpoints._warn.cache_clear()
    logging.getLogger().addHandler(handler := logging.StreamHandler())  # what forked workers log, too
    try:
        settings = replace(SMALL, max_steps=4)
        trained = train(data(settings), MEMBERS, workers=workers, checkpoint=lambda group: Checkpoints(folder, "key"))
    finally:
        logging.getLogger().removeHandler(handler)
    Checkpoints(folder, "key").clear()
    assert len(trained) == workers
    warnings = [line for line in capfd.readouterr().err.splitlines() if "checkpoint" in line]
    assert len(warnings) == 1 and f"no checkpoints in {folder}: " in warnings[0]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a file"]
