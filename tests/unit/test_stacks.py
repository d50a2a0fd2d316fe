"""How members are put into stacks, and trained stacks on disk."""

import itertools
from dataclasses import replace

import numpy as np
import pytest
import torch
from spatialimpute.errors import InputError
from spatialimpute.files.models import SCHEMA_VERSION
from spatialimpute.files.sealed import read_json, write_json
from spatialimpute.methods.gimvi import posterior, saving, stacks
from spatialimpute.methods.gimvi.data import Member, TrainingData
from spatialimpute.methods.gimvi.posterior import held_out_predictions
from spatialimpute.methods.gimvi.training import train
from tissue import ADVERSARIAL, MEMBERS, PAPER, SMALL, data, draw, make_panel, same, weights

LIKELIHOODS = ["poisson", "nb", "zinb"]


def test_stacks_are_split_by_architecture_and_size(monkeypatch):
    monkeypatch.setattr(posterior, "BLOCK_FLOATS", 2_000)  # several chunks: the draws must not follow the stacks
    tissue = data(replace(SMALL, max_steps=10))
    members = [*MEMBERS, ADVERSARIAL[0], replace(MEMBERS[0], place=1, decoder_hidden=8)]
    groups = [stack.members for stack in train(tissue, members)]
    assert groups == [MEMBERS, ADVERSARIAL[:1], members[-1:]]
    groups = [stack.members for stack in train(tissue, members, workers=3)]
    assert groups[0][0] == members[0]
    assert sorted(member.name for group in groups for member in group) == sorted(member.name for member in members)
    _, spatial, gene_sets = draw()
    sample = spatial, np.arange(len(spatial.cells)), gene_sets
    together = held_out_predictions(train(tissue, MEMBERS[:2]), *sample, "s", 4, 0)
    by_workers = train(tissue, MEMBERS[:2], workers=2)
    monkeypatch.setattr(stacks, "CPU_STACK_ELEMENTS", 1)
    one_by_one = train(tissue, MEMBERS[:2])
    for split in (by_workers, one_by_one):
        assert [stack.members for stack in split] == [[member] for member in MEMBERS[:2]]
        apart = held_out_predictions(split, *sample, "s", 4, 0)
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
    sizes = {n: [len(stack) for stack in stacks.split(tissue, members, cpu, n)] for n in (1, 2, 20)}
    assert sizes == {1: [10, 5, 5], 2: [5, 5, 5, 5], 20: [1] * 20}
    for workers in (2, 3, 8):
        groups = stacks.split(tissue, members, cpu, workers)
        assert sorted(m.name for group in groups for m in group) == sorted(m.name for m in members)
        assert all(len({(m.decoder_hidden, m.kappa > 0) for m in group}) == 1 for group in groups)
        costs = [stacks.cost(group) for group in groups]
        assert costs == sorted(costs, reverse=True)
        assert stacks.duration(groups, workers) <= sum(costs) / workers + min(costs)


# ---- models on disk ----


@pytest.mark.parametrize("settings", [SMALL, PAPER], ids=["default", "paper"])
def test_models_are_read_as_they_were_written(settings, tmp_path):
    references, spatial, gene_sets = draw(n_cells=(90, 70, 60), batches=(2, 2))
    tissue = TrainingData(references, spatial, gene_sets, replace(settings, max_steps=6))
    members = [Member(None, 0.0, 0), Member(None, 0.0, 1, 8), Member("1", 3.0, 0)]
    trained = train(tissue, members)
    saving.save(trained, tmp_path / "models", gene_sets, settings)
    assert sorted(p.name for p in (tmp_path / "models").iterdir()) == [
        "history.tsv", "models.json", "weights.safetensors",
    ]  # fmt: skip
    loaded = saving.load(tmp_path / "models", gene_sets)
    assert [stack.members for stack in loaded] == [stack.members for stack in trained]
    for ours, theirs in zip(trained, loaded, strict=True):
        assert theirs.arch == ours.arch
        assert same(weights(ours), weights(theirs))
        assert not theirs.model.training


@pytest.mark.parametrize("kappa", [0.0, 5.0])
@pytest.mark.parametrize("settings", [SMALL, PAPER], ids=["default", "paper"])
@pytest.mark.parametrize("reference_likelihood, spatial_likelihood", list(itertools.product(LIKELIHOODS, LIKELIHOODS)))
def test_every_pair_of_likelihoods_trains(reference_likelihood, spatial_likelihood, settings, kappa, tmp_path):
    references, spatial, gene_sets = draw()
    settings = replace(
        settings, reference_likelihood=reference_likelihood, spatial_likelihood=spatial_likelihood, max_steps=4
    )
    members = [Member("0", kappa, 0), Member(None, kappa, 0)]
    (stack,) = train(TrainingData(references, spatial, gene_sets, settings), members)
    assert np.isfinite(stack.history[["loss", "reconstruction", "held_out_loss"]].to_numpy()).all()
    assert [spec.likelihood for spec in stack.arch.datasets] == [reference_likelihood, spatial_likelihood]
    saving.save([stack], tmp_path, gene_sets, settings)
    (loaded,) = saving.load(tmp_path, gene_sets)
    assert loaded.arch == stack.arch and same(weights(stack), weights(loaded))


def test_models_of_other_genes_or_versions_are_refused(tmp_path):
    references, spatial, gene_sets = draw()
    trained = train(TrainingData(references, spatial, gene_sets, replace(SMALL, max_steps=2)), MEMBERS[2:])
    saving.save(trained, tmp_path, gene_sets, SMALL)
    with pytest.raises(InputError, match="trained on other genes"):
        saving.load(tmp_path, make_panel(gene_sets.genes[:-1], 15))
    content = read_json(tmp_path / "models.json")
    assert content["schema_version"] == SCHEMA_VERSION
    write_json(tmp_path / "models.json", content | {"schema_version": "0"})
    with pytest.raises(InputError, match="expected models of schema version 2, found 0"):
        saving.load(tmp_path, gene_sets)
