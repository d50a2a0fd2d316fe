"""What genes and datasets weigh in the loss: by hand, and nothing at all where no weight is asked for."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from gimvi_setup import MEMBERS, QUIET, Setup, generators
from spatialimpute.methods.gimvi.networks import Noise
from spatialimpute.methods.gimvi.settings import PRESETS
from spatialimpute.methods.gimvi.training import train
from tissue import ADVERSARIAL, PAPER, SMALL, data, same, weights

PLAIN = replace(QUIET, other_gene_weight=1.0, max_spatial_weight=1.0)


def loss_weights(setup, members=MEMBERS):
    return setup.data.loss_weights(members, torch.device("cpu"))


def test_weights_of_genes_and_datasets_by_hand():
    """24 genes modeled, 15 on the panel, of which folds 0 and 2 hold out five each and the final models none."""
    setup = Setup(replace(QUIET, other_gene_weight=0.25))
    found, shared = loss_weights(setup), setup.gene_sets.shared
    (of_reference, of_spatial) = found.genes
    assert of_spatial is None and of_reference.shape == (3, 24)
    for m, member in enumerate(MEMBERS):
        held_out = [] if member.fold is None else setup.gene_sets.folds[member.fold]
        expected = [1.0 if gene in shared and gene not in held_out else 0.25 for gene in setup.gene_sets.genes]
        assert of_reference[m].tolist() == expected
    np.testing.assert_allclose(found.datasets, [[1, 24 / 10], [1, 24 / 10], [1, 24 / 15]])


def test_of_several_references_each_has_weights_of_its_own_genes():
    """The first lacks the last gene, the second the first beyond the panel: 23 genes each."""
    setup = Setup(QUIET, n_cells=(90, 70, 60))
    found = loss_weights(setup)
    assert [None if one is None else tuple(one.shape) for one in found.genes] == [(3, 23), (3, 23), None]
    for weight, spec in zip(found.genes[:2], setup.data.specs[:2], strict=True):
        every = torch.full((3, 24), 0.1)
        every[:, :15][setup.model.encoder.in_use > 0] = 1
        assert torch.equal(weight, every[:, list(spec.genes)])
    np.testing.assert_allclose(found.datasets, [[1, 1, 2.3], [1, 1, 2.3], [1, 1, 23 / 15]], rtol=1e-6)


@pytest.mark.parametrize("cap, expected", [(1.0, [1, 1, 1]), (2.0, [2, 2, 1.6]), (10.0, [2.4, 2.4, 1.6])])
def test_the_spatial_side_weighs_no_more_than_the_cap(cap, expected):
    found = loss_weights(Setup(replace(QUIET, max_spatial_weight=cap)))
    np.testing.assert_allclose(found.datasets[:, 1], expected, rtol=1e-6)


def test_and_no_less_than_a_reference():
    """Where no more genes are modeled than measured."""
    found = loss_weights(Setup(QUIET, n_genes=15))
    np.testing.assert_allclose(found.datasets[:, 1], [1.5, 1.5, 1.0])


@pytest.mark.parametrize("reference_likelihood", ["poisson", "nb", "zinb"])
def test_the_loss_is_the_weighted_sum(reference_likelihood):
    """As if each gene's likelihood had been computed by itself: by doubling one gene's weight after another."""
    setup = Setup(replace(QUIET, reference_likelihood=reference_likelihood))
    with torch.no_grad():
        terms = setup.model(setup.minibatches, None)
        expected = torch.zeros(3)
        for s, weight in enumerate([1.0, setup.model.loss_weights.datasets[:, 1]]):
            expected += weight * (terms.reconstruction[:, s] + 0.3 * (terms.kl_z[:, s] + terms.kl_library[:, s])) / 2
        torch.testing.assert_close(terms.loss(0.3), expected)
        genes = setup.model.loss_weights.genes[0]
        by_gene = []
        for gene in range(24):
            more = genes.clone()
            more[:, gene] += 1
            setup.model.loss_weights.genes[0] = more
            by_gene.append(setup.model(setup.minibatches, None).reconstruction[:, 0] - terms.reconstruction[:, 0])
        summed = (torch.stack(by_gene, dim=1) * genes).sum(1)
    torch.testing.assert_close(summed, terms.reconstruction[:, 0], rtol=1e-4, atol=1e-2)


def test_weights_of_one_are_no_weights():
    setup, never = Setup(PLAIN), Setup(PLAIN)
    assert loss_weights(setup).genes == [None, None] and torch.equal(loss_weights(setup).datasets, torch.ones(3, 2))
    never.model.loss_weights = type(never.model.loss_weights)(torch.ones(3, 2), [None, None])
    terms, plain = (one.model(one.minibatches, Noise(generators(3))) for one in (setup, never))
    unweighted = (plain.reconstruction + 0.3 * (plain.kl_z + plain.kl_library)).mean(1)
    assert torch.equal(terms.loss(0.3), unweighted)


@pytest.mark.parametrize("settings, members", [(SMALL, MEMBERS), (SMALL, ADVERSARIAL)], ids=["kappa 0", "kappa 5"])
def test_a_training_without_weights_is_the_unweighted_one(settings, members, monkeypatch):
    tissue = data(replace(settings, other_gene_weight=1.0, max_spatial_weight=1.0, max_steps=10))
    (ours,) = train(tissue, members)
    monkeypatch.setattr(
        "spatialimpute.methods.gimvi.model.Terms.loss",
        lambda terms, kl_weight: (terms.reconstruction + kl_weight * (terms.kl_z + terms.kl_library)).mean(1),
    )
    (unweighted,) = train(tissue, members)
    assert same(weights(ours), weights(unweighted)) and ours.history.equals(unweighted.history)
    (weighted,) = train(data(replace(settings, max_steps=10)), members)
    assert not same(weights(ours), weights(weighted))


def test_the_papers_preset_has_none():
    assert (PRESETS["paper"].other_gene_weight, PRESETS["paper"].max_spatial_weight) == (1.0, 1.0)
    found = loss_weights(Setup(PAPER))
    assert found.genes == [None, None] and torch.equal(found.datasets, torch.ones(3, 2))
