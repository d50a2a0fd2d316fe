"""Models that are trained on references alone: no sample is seen, and each is fitted by its standardization."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from samples import write_sample
from spatialimpute.errors import InputError
from spatialimpute.evaluation.choice import KappaChoice
from spatialimpute.files.inputs import SampleInputs, write_training
from spatialimpute.methods.gimvi.data import TrainingData
from spatialimpute.methods.gimvi.method import GimVI
from spatialimpute.methods.gimvi.posterior import StackSampler, held_out_predictions
from spatialimpute.methods.gimvi.reference_only import fit_to_sample, members_where
from spatialimpute.methods.gimvi.saving import load_with_history, save
from spatialimpute.methods.gimvi.settings import resolve_settings
from spatialimpute.methods.gimvi.training import ensemble, train
from tissue import SMALL, draw, same, weights, with_noise

SETTINGS = replace(SMALL, train_on="reference", second_input=False, reweight=False)
FOLD = "1"


def trained(references, gene_sets, settings=SETTINGS):
    members = ensemble(settings, dict.fromkeys([*gene_sets.folds, None], 0.0), range(settings.seeds))
    return train(TrainingData(references, None, gene_sets, settings), members)


@pytest.fixture(scope="module")
def tissue():
    return draw(depths=(60, 12))


@pytest.fixture(scope="module")
def stacks(tissue):
    references, _, gene_sets = tissue
    return trained(references, gene_sets)


def test_every_fold_and_place_is_trained_without_a_sample(stacks, tissue):
    _, _, gene_sets = tissue
    found = sorted((str(m.fold), m.place) for stack in stacks for m in stack.members)
    assert found == sorted((str(fold), place) for fold in [*gene_sets.folds, None] for place in (0, 1))
    for stack in stacks:
        assert all(not spec.spatial for spec in stack.arch.datasets)
        assert not any("second" in name or "log_theta.1" in name for name in stack.model.state_dict())
        assert len(stack.history) and stack.model.encoder.input_mean.shape[1] == 1


def test_a_sample_is_standardized_by_itself(stacks, tissue):
    """By loops: log1p of counts at the models' depth, mean and spread of the cells that have counts in use."""
    _, spatial, gene_sets = tissue
    for stack in stacks:
        fitted = fit_to_sample(stack, spatial, gene_sets)
        assert fitted.arch.n_sample_batches == 1 and fitted.arch.spatial_batch == 1 and fitted.arch.spatial_dataset == 0
        encoder = fitted.model.encoder
        for m, member in enumerate(fitted.members):
            in_use = [gene not in gene_sets.folds.get(member.fold, []) for gene in gene_sets.shared]
            X = spatial.select(gene_sets.shared).toarray() * np.array(in_use)
            X = X[X.sum(1) > 0]
            logs = np.log1p(X * float(encoder.depth[m]) / X.sum(1, keepdims=True))
            np.testing.assert_allclose(encoder.input_mean[m, 1], logs.mean(0), rtol=1e-4, atol=1e-5)
            scale = np.where(in_use, 1 / (logs.std(0) + 0.01), 0)
            np.testing.assert_allclose(encoder.input_scale[m, 1], scale, rtol=1e-3)
            assert torch.equal(encoder.input_mean[m, :1], stack.model.encoder.input_mean[m])


def test_batches_of_a_sample_are_standardized_apart(stacks, tissue):
    _, spatial, gene_sets = tissue
    batch = pd.Categorical(np.where(np.arange(len(spatial.cells)) < 50, "a", "b"))
    several = replace(spatial, obs=spatial.obs.assign(batch=batch))
    fitted = fit_to_sample(stacks[0], several, gene_sets)
    assert fitted.arch.n_sample_batches == 2
    alone = fit_to_sample(stacks[0], spatial.take(np.arange(50)), gene_sets)
    ours, theirs = (
        StackSampler(stack, cells, gene_sets).encode(np.arange(50))[0]
        for stack, cells in ((fitted, several), (alone, spatial.take(np.arange(50))))
    )
    torch.testing.assert_close(ours, theirs)
    whole = StackSampler(fit_to_sample(stacks[0], spatial, gene_sets), spatial, gene_sets).encode(np.arange(50))[0]
    assert not torch.allclose(ours, whole)


def test_the_predictions_of_a_fold_are_without_its_counts(stacks, tissue):
    _, spatial, gene_sets = tissue
    results = []
    for counts in (spatial, with_noise(spatial, gene_sets.folds[FOLD])):
        of_folds = members_where(stacks, lambda member: member.fold is not None)
        fitted = [fit_to_sample(stack, counts, gene_sets) for stack in of_folds]
        results.append(held_out_predictions(fitted, counts, np.arange(120), gene_sets, "s", 5, 0)[0])
    before, after = results
    of_fold = before.fold == FOLD
    assert np.isfinite(before.mean[:, of_fold]).any()
    assert before.mean[:, of_fold].tobytes() == after.mean[:, of_fold].tobytes()
    assert before.mean[:, ~of_fold].tobytes() != after.mean[:, ~of_fold].tobytes()


def test_some_members_of_stacks(stacks):
    final = members_where(stacks, lambda member: member.fold is None)
    assert [m.fold for stack in final for m in stack.members] == [None, None]
    for stack in final:
        whole = next(one for one in stacks if one.members[-1].place == stack.members[0].place)
        m = [member.fold for member in whole.members].index(None)
        assert same(weights(stack, 0), weights(whole, m))
        assert set(stack.history["member"]) == {0} and stack.history["fold"].isna().all()


def test_they_predict_as_a_method_and_train_nothing(stacks, tissue, tmp_path, monkeypatch):
    references, spatial, gene_sets = tissue
    inputs = write_sample(tmp_path / "inputs", references, spatial, gene_sets)
    save(stacks, tmp_path / "models", gene_sets, SETTINGS)
    monkeypatch.setattr("spatialimpute.methods.gimvi.method.train", lambda *_: pytest.fail("trained"))
    chosen = KappaChoice(0.0, dict.fromkeys(gene_sets.folds, 0.0), pd.DataFrame())
    pretrained = load_with_history(tmp_path / "models", gene_sets)
    gimvi = GimVI(SETTINGS, [0.0], lambda _: chosen, pretrained=pretrained)
    predictions = gimvi.predict_folds(inputs, "s")
    assert [(one.kappa, one.place) for one in predictions] == [(0.0, 0), (0.0, 1)]
    assert all(np.isfinite(one.mean).mean() > 0.9 for one in predictions)
    assert all(len(stack.history) for stack in gimvi.stacks)


def test_what_they_are_trained_on_is_the_same_for_all_samples_of_a_panel(tissue, tmp_path):
    references, spatial, gene_sets = tissue
    keys = []
    for name, counts, sets in (
        ("a", spatial, gene_sets),
        ("b", with_noise(spatial, gene_sets.shared).take(np.arange(40)), replace(gene_sets, scored_cells=[1, 2])),
        ("c", spatial, replace(gene_sets, folds=dict(list(gene_sets.folds.items())[:2]))),
    ):
        keys.append(
            write_training(tmp_path / name / "training", write_sample(tmp_path / name, references, counts, sets))
        )
    assert keys[0] == keys[1] != keys[2]
    files = [{p.name: p.read_bytes() for p in (tmp_path / name / "training").iterdir()} for name in "ab"]
    assert files[0] == files[1] and set(files[0]) == {"gene_sets.json", "reference1.h5ad"}
    again = SampleInputs(tmp_path / "a" / "training")
    assert again.gene_sets.shared == gene_sets.shared and again.gene_sets.folds == gene_sets.folds
    np.testing.assert_array_equal(again.references()[0].X.toarray(), references[0].X.toarray())
    assert len(again.digests()) == 2


def test_settings():
    found = resolve_settings("default", train_on="reference")
    assert found.train_on == "reference" and not found.second_input and not found.reweight
    with pytest.raises(InputError, match="only the panel encoder"):
        resolve_settings("paper", train_on="reference")
