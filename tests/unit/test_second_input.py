"""The second input of spatial cells: where it is and where it is not, its mask in training, and its head."""

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from gimvi_setup import MEMBERS, QUIET, Setup, generators
from spatialimpute.methods.gimvi.networks import Noise
from spatialimpute.methods.gimvi.posterior import StackSampler
from spatialimpute.methods.gimvi.training import TrainedStack
from tissue import SMALL

WITHOUT = replace(QUIET, second_input=False)


def first_layer(setup, x, second=0.0):
    """ReLU of the normalized affine part plus `second` (M, B, hidden), of one dataset at running statistics 0 and 1."""
    block = setup.model.encoder.first[0]
    affine = torch.einsum("mbp,mph->mbh", x, block.linear.weight) + block.linear.bias + second
    norm = block.norm
    return F.relu(affine / (1 + norm.eps) ** 0.5 * norm.weight[:, 0] + norm.bias[:, 0])


def hidden_of(setup, noise=None):
    """What the encoder's first layer gives, (M, S, B, hidden), and the panel input that it is given."""
    seen, encoder = [], setup.model.encoder
    hook = encoder.shared.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0].clone()))
    with torch.no_grad():
        encoder(setup.minibatches, noise)
        hook.remove()
        return seen[0], encoder.panel_input(setup.minibatches)


@pytest.mark.parametrize("n_cells", [(150, 120), (90, 70, 60)])
def test_spatial_cells_have_their_panel_twice_and_reference_cells_do_not(n_cells):
    """In evaluation it is the whole, unmasked panel input."""
    setup = Setup(QUIET, n_cells=n_cells)
    hidden, x = hidden_of(setup)
    second = torch.einsum("mbp,mph->mbh", x[:, -1], setup.model.encoder.second.weight)
    assert second.abs().max() > 0.1
    for s in range(len(n_cells)):
        expected = first_layer(setup, x[:, s], second if s == len(n_cells) - 1 else 0.0)
        torch.testing.assert_close(hidden[:, s], expected)


def test_a_reference_alone_is_encoded_as_beside_the_spatial_cells():
    setup = Setup(QUIET, n_cells=(90, 70, 60))
    with torch.no_grad():
        together = setup.model.encoder(setup.minibatches, None)
        for s in range(3):
            alone = setup.model.encoder(setup.minibatches[s : s + 1], None, first=s)
            for ours, theirs in zip(alone, together, strict=True):
                torch.testing.assert_close(ours[:, 0], theirs[:, s])


def test_imputation_encodes_with_it():
    setup = Setup(QUIET)
    sampler = StackSampler(TrainedStack(setup.model.arch, MEMBERS, setup.model, None), setup.spatial, setup.gene_sets)
    rows = setup.cells[1][0].numpy()
    mean, _, _ = sampler.encode(rows)
    with torch.no_grad():
        expected = setup.model.encoder(setup.minibatches, None)[0][0, 1]
        torch.testing.assert_close(mean[0], expected)
        setup.model.encoder.second.weight.zero_()
        assert not torch.allclose(sampler.encode(rows)[0][0], mean[0], atol=1e-3)


def test_held_out_genes_are_not_in_it():
    setup = Setup(QUIET)
    encoder = setup.model.encoder
    mean, _ = encoder(setup.minibatches, None)
    (gradient,) = torch.autograd.grad(mean[:, -1].sum(), encoder.second.weight)
    assert torch.equal(gradient.abs().sum(-1) > 0, encoder.in_use > 0)
    mean, _ = encoder(setup.minibatches, None)
    (none,) = torch.autograd.grad(mean[:, :-1].sum(), encoder.second.weight, allow_unused=True)
    assert none is None or not none.any()


def test_its_mask_in_training():
    """Half of the cells are without it; of the others it has a random mask that is not that of the first input."""
    setup = Setup(replace(SMALL, batch_size=4000), n_cells=(150, 120), n_panel=60, n_genes=70, depths=(900, 900))
    encoder, seen = setup.model.encoder, {"first": [], "second": []}
    for name, layer in (("first", encoder.first[0].linear), ("second", encoder.second)):
        layer.register_forward_pre_hook(lambda _, inputs, name=name: seen[name].append(inputs[0].clone()))
    with torch.no_grad():
        for noise in (Noise(generators(3)), None):
            encoder(setup.minibatches, noise)
    in_use = encoder.in_use.bool()
    for m in range(3):
        masked, whole = (x[m][..., in_use[m]] for x in seen["second"])
        assert (whole == 0).float().mean() < 0.01
        shown = (masked != 0).float()
        assert torch.equal(masked, whole * shown)
        present = shown.any(-1)
        assert present.float().mean().item() == pytest.approx(0.5, abs=0.03)
        rates = 1 - shown[present].mean(-1)
        assert rates.mean().item() == pytest.approx(0.35, abs=0.02)
        assert rates.std().item() == pytest.approx((0.7**2 / 12 + 0.18 / in_use[m].sum().item()) ** 0.5, abs=0.02)
        of_first = (seen["first"][0][m, -1][:, in_use[m]] == 0).float().mean(-1)[present]
        assert abs(torch.corrcoef(torch.stack([rates, of_first]))[0, 1].item()) < 0.1
    assert torch.equal(seen["first"][1][:, -1], seen["second"][1])


def test_a_model_without_it_has_nothing_of_it():
    has, has_not = ({name for name, _ in Setup(settings).model.named_parameters()} for settings in (QUIET, WITHOUT))
    assert has - has_not == {
        "encoder.second.weight", "decoder.second_rho.weight", "decoder.second_rho.bias", "decoder.log_theta.second"
    }  # fmt: skip
    assert has_not < has
    # Only the panel encoder can have one.
    separate = {name for name, _ in Setup(replace(QUIET, encoder="separate")).model.named_parameters()}
    assert not {name for name in separate if "second" in name}


def test_its_head_shows_no_held_out_gene_and_nothing_of_a_reference():
    setup = Setup(QUIET, n_cells=(90, 70, 60))
    head = [*setup.model.decoder.second_rho.parameters(), setup.model.decoder.log_theta["second"]]
    for s in range(3):
        terms = setup.model(setup.minibatches, None)
        gradient = torch.autograd.grad(terms.reconstruction[:, s].sum(), head, allow_unused=True)
        if s < 2:
            assert all(one is None or not one.any() for one in gradient)
            continue
        for one in gradient:
            seen = one.abs().reshape(len(MEMBERS), -1, 15).sum(1) > 0
            assert torch.equal(seen, setup.model.encoder.in_use > 0)


def test_nothing_is_read_from_its_head():
    setup = Setup(QUIET)
    sampler = StackSampler(TrainedStack(setup.model.arch, MEMBERS, setup.model, None), setup.spatial, setup.gene_sets)
    before = sampler.mean_frequency(setup.cells[1][0].numpy(), slice(0, 24))
    with torch.no_grad():
        for parameter in setup.model.decoder.second_rho.parameters():
            parameter.normal_()
    assert sampler.mean_frequency(setup.cells[1][0].numpy(), slice(0, 24)).tobytes() == before.tobytes()
