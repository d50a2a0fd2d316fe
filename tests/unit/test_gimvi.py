"""The terms of the ELBO against torch.distributions, the renormalization of eq. 5, the encoders."""

import itertools
from dataclasses import replace

import numpy as np
import pytest
import torch
from gimvi_setup import MEMBERS, QUIET, Setup, generators, log_likelihood
from spatialimpute.methods.gimvi.data import DeviceData
from spatialimpute.methods.gimvi.networks import Noise
from spatialimpute.methods.gimvi.posterior import StackSampler
from spatialimpute.methods.gimvi.training import TrainedStack
from tissue import PAPER, SMALL
from torch.distributions import Normal, kl_divergence

LIKELIHOODS = ("poisson", "nb", "zinb")
CASES = {
    "nb, zinb, panel encoder": (QUIET, {}),
    "the paper's": (replace(PAPER, dropout=0.0), {}),
    "latent library of batches": (replace(QUIET, latent_library=True), {"batches": (2, 3)}),
    "hidden decoder": (QUIET, {"decoder_hidden": 6}),
    "three datasets": (QUIET, {"n_cells": (90, 70, 60)}),
    "three, separate, batches": (
        replace(QUIET, encoder="separate", latent_library=True),
        {"n_cells": (90, 70, 60), "batches": (2, 2)},
    ),
    **{
        f"{spatial}, {reference}": (
            replace(QUIET, spatial_likelihood=spatial, reference_likelihood=reference),
            {"decoder_hidden": 6} if spatial == reference else {},
        )
        for spatial, reference in itertools.product(LIKELIHOODS, LIKELIHOODS)
    },
}


@pytest.mark.parametrize("spatial, reference", list(itertools.product(LIKELIHOODS, LIKELIHOODS)))
def test_no_parameter_where_no_likelihood_needs_it(spatial, reference):
    setup = Setup(replace(QUIET, spatial_likelihood=spatial, reference_likelihood=reference))
    decoder = setup.model.decoder
    shapes = {name: tuple(log_theta.shape) for name, log_theta in decoder.log_theta.items()}
    expected = {"0": (reference, (3, 24)), "1": (spatial, (3, 15)), "second": (spatial, (3, 15))}
    assert shapes == {s: shape for s, (likelihood, shape) in expected.items() if likelihood != "poisson"}
    assert (decoder.pi is None) == ("zinb" not in (spatial, reference))
    setup.model(setup.minibatches, None).loss(1.0).sum().backward()
    assert all(parameter.grad.any() for parameter in setup.model.parameters())


@pytest.mark.parametrize("case", CASES)
def test_terms_of_the_elbo(case):
    settings, options = CASES[case]
    setup = Setup(settings, **options)
    model = setup.model
    with torch.no_grad():
        terms = model(setup.minibatches, None)
        mean, log_var = model.encoder(setup.minibatches, None)
        prior = Normal(torch.zeros(()), torch.ones(()))
        kl_z = kl_divergence(Normal(mean, torch.exp(log_var / 2)), prior).sum(-1).mean(-1)
        torch.testing.assert_close(terms.kl_z, kl_z, rtol=1e-5, atol=1e-6)
        features = model.decoder.features(mean, None)
        for s, spec in enumerate(setup.data.specs):
            rho, visible = setup.rho(s, features[:, s])
            x = setup.counts(s) * visible.unsqueeze(1)
            if spec.latent_library:
                log_library, kl_library = latent_library(setup, s)
            else:
                log_library, kl_library = torch.log(x.sum(-1)), torch.zeros(len(MEMBERS))
            torch.testing.assert_close(terms.kl_library[:, s], kl_library, rtol=1e-4, atol=1e-6)
            log_p = dataset_log_likelihood(setup, s, x, rho * torch.exp(log_library).unsqueeze(-1), features[:, s])
            log_p = torch.where(visible.unsqueeze(1) > 0, log_p, 0)
            expected = -log_p.double().sum(-1).mean(-1)
            if spec.spatial and settings.second_input and settings.encoder == "panel":
                expected -= second_head(setup, x[..., : model.arch.n_panel], features[:, s]).double().sum(-1).mean(-1)
            torch.testing.assert_close(terms.reconstruction[:, s].double(), expected, rtol=1e-4, atol=1e-4)
        torch.testing.assert_close(terms.weight[:, :-1], torch.ones_like(terms.weight[:, :-1]))
        expected = (terms.weight * (terms.reconstruction + 0.3 * (terms.kl_z + terms.kl_library))).mean(1)
        torch.testing.assert_close(terms.loss(0.3), expected)


def dataset_log_likelihood(setup, s, x, mu, features):
    """log p of every gene of all, weighted; that of genes which the dataset lacks means nothing."""
    model, spec = setup.model, setup.data.specs[s]
    pi = log_theta = None
    if spec.likelihood != "poisson":
        log_theta = torch.zeros(len(MEMBERS), 1, model.arch.n_genes)
        log_theta[..., list(spec.genes)] = model.decoder.log_theta[str(s)].unsqueeze(1)
    if spec.likelihood == "zinb":
        pi = torch.einsum("mbi,mig->mbg", features, model.decoder.pi.weight) + model.decoder.pi.bias
    value = log_likelihood(spec.likelihood, x, mu, log_theta, pi) + torch.lgamma(x + 1)
    if spec.spatial:
        return value
    other = torch.full((len(MEMBERS), model.arch.n_genes), setup.data.settings.other_gene_weight)
    other[:, : model.arch.n_panel][model.encoder.in_use > 0] = 1
    return value * other.unsqueeze(1)


def second_head(setup, x, features):
    """log p of every panel gene by the head of the second input."""
    model, in_use = setup.model, setup.model.encoder.in_use.unsqueeze(1)
    logits = torch.einsum("mbi,mig->mbg", features, model.decoder.second_rho.weight) + model.decoder.second_rho.bias
    rate = torch.exp(logits) * in_use
    mu = rate / rate.sum(-1, keepdim=True) * x.sum(-1, keepdim=True)
    theta = model.decoder.log_theta
    likelihood = "nb" if "second" in theta else "poisson"
    assert (likelihood == "poisson") == (model.arch.datasets[-1].likelihood == "poisson")
    log_p = log_likelihood(likelihood, x, mu, theta["second"].unsqueeze(1) if "second" in theta else None)
    return torch.where(in_use > 0, log_p + torch.lgamma(x + 1), 0)


def latent_library(setup, s):
    """The library encoder's mean, and its KL divergence from each batch's empirical moments of log totals."""
    encoder, minibatch = setup.model.library[str(s)], setup.minibatches[s]
    hidden = encoder.block(torch.log1p(minibatch.counts.x).unsqueeze(1), None)
    mean, log_var = encoder.mean(hidden)[:, 0, :, 0], encoder.log_var(hidden)[:, 0, :, 0]
    genes = [setup.gene_sets.genes[i] for i in setup.data.specs[s].genes]
    log_total = np.log(setup.references[s].select(genes).toarray().sum(1))
    batch = setup.data.batches[s]
    kl = torch.zeros_like(mean)
    for b in np.unique(batch):
        prior = Normal(torch.tensor(log_total[batch == b].mean()), torch.tensor(log_total[batch == b].std()))
        inside = torch.tensor(batch)[setup.cells[s]] == b
        kl[inside] = kl_divergence(Normal(mean, torch.sqrt(torch.exp(log_var) + 1e-4)), prior)[inside]
    return mean, kl.mean(1)


def test_z_is_drawn_from_the_posterior():
    setup = Setup(replace(QUIET, second_input=False))  # of which half of the cells are without it in training
    with torch.no_grad():
        mean, log_var = setup.model.encoder(setup.minibatches, None)
        z = setup.model(setup.minibatches, Noise(generators(3, seed=7))).z
    draws = Noise(generators(3, seed=7)).normal(*mean.shape[1:])
    torch.testing.assert_close(z, mean + torch.exp(log_var / 2) * draws)


def test_a_latent_library_is_drawn_from_its_posterior():
    setup = Setup(replace(QUIET, latent_library=True))
    encoder, minibatch = setup.model.library["0"], setup.minibatches[0]
    with torch.no_grad():
        mean, _ = encoder(minibatch, minibatch.batch, None)
        draws = torch.stack([encoder(minibatch, minibatch.batch, Noise(generators(3, i)))[0] for i in range(0, 900, 3)])
        hidden = encoder.block(torch.log1p(minibatch.counts.x).unsqueeze(1), None)
        sd = torch.sqrt(torch.exp(encoder.log_var(hidden)[:, 0, :, 0]) + 1e-4)
    assert ((draws.mean(0) - mean) / sd).abs().max() < 0.3
    torch.testing.assert_close((draws.std(0) / sd).mean(1), torch.ones(3), rtol=0.05, atol=0)


@pytest.mark.parametrize("decoder_hidden", [0, 6])
def test_frequencies_sum_to_one_over_the_genes_in_use(decoder_hidden):
    setup = Setup(replace(QUIET, zero_inflated_mean=False), decoder_hidden=decoder_hidden)
    stack = TrainedStack(setup.model.arch, MEMBERS, setup.model, None)
    sampler = StackSampler(stack, setup.spatial, setup.gene_sets)
    z = torch.randn(3, 4, 10, 4, generator=torch.Generator().manual_seed(0))
    everything = sampler.frequencies(*sampler.decode(z), slice(0, 24))
    in_use = setup.model.encoder.in_use.bool()
    for m, member in enumerate(MEMBERS):
        panel = everything[m, ..., :15]
        torch.testing.assert_close(panel[..., in_use[m]].sum(-1), torch.ones(4, 10))
        held_out = [] if member.fold is None else setup.gene_sets.folds[member.fold]
        assert [setup.gene_sets.shared[i] for i in torch.nonzero(~in_use[m]).flatten()] == held_out
        # Held-out and unmeasured genes are relative to that same sum.
        logits = torch.log(everything[m])
        features = setup.model.decoder.features(z, None, slice(1, 2))[m]
        raw = features @ setup.model.decoder.rho.weight[m] + setup.model.decoder.rho.bias[m]
        torch.testing.assert_close(logits - logits[..., :1], raw - raw[..., :1], rtol=1e-4, atol=1e-4)
    some = torch.tensor([20, 3, 16])
    torch.testing.assert_close(sampler.frequencies(*sampler.decode(z), some), everything[..., some])


@pytest.mark.parametrize("spatial", ["nb", "zinb"])
@pytest.mark.parametrize("reference", ["nb", "zinb", "poisson"])
def test_the_mean_of_a_zero_inflated_gene_is_lowered_by_its_dropout(reference, spatial):
    """Genes in use follow the spatial likelihood, all others that of the references."""
    settings = replace(QUIET, reference_likelihood=reference, spatial_likelihood=spatial)
    setup = Setup(settings)
    z = torch.randn(3, 4, 10, 4, generator=torch.Generator().manual_seed(0))

    def frequencies(mean: bool, genes=slice(0, 24)):
        arch = replace(setup.model.arch, zero_inflated_mean=mean)
        setup.model.arch = arch
        sampler = StackSampler(TrainedStack(arch, MEMBERS, setup.model, None), setup.spatial, setup.gene_sets)
        return sampler.frequencies(*sampler.decode(z), genes)

    ratio = frequencies(True) / frequencies(False)
    for m in range(3):
        in_use = torch.zeros(24, dtype=torch.bool)
        in_use[:15] = setup.model.encoder.in_use[m].bool()
        dropout = torch.zeros(4, 10, 24)
        if setup.model.decoder.pi is not None:
            pi = setup.model.decoder.pi
            inflated = torch.where(in_use, torch.tensor(spatial == "zinb"), torch.tensor(reference == "zinb"))
            dropout = torch.sigmoid(z[m] @ pi.weight[m] + pi.bias[m]) * inflated
        torch.testing.assert_close(ratio[m], 1 - dropout)
    some = torch.tensor([20, 3, 16])
    torch.testing.assert_close(frequencies(True, some), frequencies(True)[..., some])


def test_held_out_and_absent_genes_are_no_part_of_a_dataset():
    """No gradient of a dataset's likelihood reaches what the decoder says of a gene it does not show."""
    setup = Setup(QUIET, n_cells=(90, 70, 60))
    weight = setup.model.decoder.rho.bias
    for s in range(3):
        terms = setup.model(setup.minibatches, None)
        of_dataset = setup.model.decoder.log_theta[str(s)]
        gradient = torch.autograd.grad(terms.reconstruction[:, s].sum(), [weight, of_dataset])
        _, visible = setup.rho(s, torch.zeros(3, 32, 4))
        assert torch.equal((gradient[0][:, 0] != 0).float(), visible)
        assert torch.equal((gradient[1] != 0).float(), visible[:, list(setup.data.specs[s].genes)])
    assert visible.sum(1).tolist() == [10, 10, 15]
    assert [len(spec.genes) for spec in setup.data.specs] == [23, 23, 15]


def test_effects_of_batches_and_their_counterfactual():
    setup = Setup(QUIET, batches=(3, 2))
    decoder = setup.model.decoder
    assert decoder.effect.shape == (3, 5, 24)
    features = torch.randn(3, 2, 6, 4, generator=torch.Generator().manual_seed(1))
    plain = decoder.rho(features)
    with torch.no_grad():
        for dataset, batches in ((0, slice(0, 3)), (1, slice(3, 5))):
            expected = plain + decoder.effect[:, batches].mean(1).view(3, 1, 1, 24)
            torch.testing.assert_close(decoder.counterfactual_logits(features, dataset), expected)
            columns = torch.tensor([5, 1])
            some = decoder.counterfactual_logits(features, dataset, columns)
            torch.testing.assert_close(some, expected[..., columns])


# ---- encoders ----


@pytest.mark.parametrize("batches", [(1, 1), (2, 3)])
def test_panel_input_is_standardized_per_batch(batches):
    settings = replace(QUIET, reweight=False, batch_size=4000)
    setup = Setup(settings, n_cells=(400, 300), batches=batches, depths=(200, 100))
    with torch.no_grad():
        x = setup.model.encoder.panel_input(setup.minibatches)
    in_use = setup.model.encoder.in_use.bool()
    for m in range(len(MEMBERS)):
        assert not x[m][..., ~in_use[m]].any()  # exactly 0, for every dataset
        for s in range(2):
            for batch in setup.minibatches[s].batch[m].unique():
                part = x[m, s][setup.minibatches[s].batch[m] == batch][:, in_use[m]]
                assert part.mean(0).abs().max() < 0.1
                assert 0.75 < part.std(0).min() and part.std(0).max() < 1.1  # 0.01 is added to each sd


def test_panel_input_does_not_depend_on_depth():
    setup = Setup(QUIET)
    encoder = setup.model.encoder
    before = encoder.panel_input(setup.minibatches)
    for minibatch in setup.minibatches:
        minibatch.panel, minibatch.panel_total = minibatch.panel * 3, minibatch.panel_total * 3
    torch.testing.assert_close(encoder.panel_input(setup.minibatches), before, rtol=1e-4, atol=1e-4)


def test_random_masking_of_input_genes():
    """In training alone, a share of each cell's genes in use is hidden: a share uniform in [0, 0.7]."""
    setup = Setup(replace(SMALL, batch_size=4000), n_cells=(150, 120), n_panel=60, n_genes=70, depths=(900, 900))
    seen = []
    setup.model.encoder.first[0].linear.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0].clone()))
    with torch.no_grad():
        setup.model.encoder(setup.minibatches, Noise(generators(3)))
        setup.model.encoder(setup.minibatches, None)
    in_use = setup.model.encoder.in_use.bool()
    for m in range(3):
        masked, whole = (x[m][..., in_use[m]] for x in seen)
        assert (whole == 0).float().mean() < 0.01
        hidden = (masked == 0).float()
        assert torch.equal(masked, whole * (1 - hidden))
        rates = hidden.mean(-1)
        n_genes = int(in_use[m].sum())
        assert rates.mean().item() == pytest.approx(0.35, abs=0.015)
        sd = (0.7**2 / 12 + (0.35 - 0.7**2 / 3) / n_genes) ** 0.5  # of the rates, and of drawing genes by them
        assert rates.std().item() == pytest.approx(sd, abs=0.01)


@pytest.mark.parametrize("encoder", ["panel", "separate"])
def test_what_an_encoder_sees(encoder):
    """Reference genes beyond the panel: only the paper's encoder sees them. Held-out spatial genes: neither."""
    setup = Setup(replace(QUIET, encoder=encoder))

    def encode(s, gene, plus):
        device_data = DeviceData(setup.data, MEMBERS, 0, torch.device("cpu"))
        matrix = device_data.matrices[s]
        matrix.values = torch.where(matrix.indices == gene, matrix.values + plus, matrix.values)
        minibatches = device_data.minibatches(setup.model, setup.cells)
        with torch.no_grad():
            return setup.model.encoder(minibatches, None)[0][:, s]

    beyond, held_out = 20, 0  # gene 0 is held out in fold 0, the first member's
    changed = [not torch.equal(*pair) for pair in zip(encode(0, beyond, 0), encode(0, beyond, 9), strict=True)]
    assert changed == [encoder == "separate"] * 3
    changed = [not torch.equal(*pair) for pair in zip(encode(1, held_out, 0), encode(1, held_out, 9), strict=True)]
    assert changed == [False, True, True]


def test_both_sides_share_the_panel_encoder():
    """A spatial cell is encoded as a reference cell of the same standardized profile is, without a second input."""
    setup = Setup(replace(QUIET, second_input=False))
    encoder = setup.model.encoder
    with torch.no_grad():
        encoder.input_mean[:] = encoder.input_mean[:, :1]
        encoder.input_scale[:] = encoder.input_scale[:, :1]
        twice = [setup.minibatches[1], replace(setup.minibatches[1])]
        mean, log_var = encoder(twice, None)
    torch.testing.assert_close(mean[:, 0], mean[:, 1])
    torch.testing.assert_close(log_var[:, 0], log_var[:, 1])
