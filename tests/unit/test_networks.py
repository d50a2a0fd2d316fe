"""Stacked layers against torch.nn's, one member at a time; noise that knows no stack mates."""

import pytest
import torch
from spatialimpute.methods.gimvi.networks import BatchNorm, Block, Linear, Noise

MEMBERS, DATASETS, CELLS, INPUTS, OUTPUTS = 3, 2, 40, 5, 7


def generators(n=MEMBERS, seed=0):
    return [torch.Generator().manual_seed(seed + m) for m in range(n)]


@pytest.fixture(autouse=True)
def _double():
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


def cells(channels=INPUTS, seed=5):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(MEMBERS, DATASETS, CELLS, channels, generator=generator) * 2 + 1


def torch_linear(linear: Linear, m: int) -> torch.nn.Linear:
    other = torch.nn.Linear(*linear.weight.shape[1:])
    with torch.no_grad():
        other.weight.copy_(linear.weight[m].T)
        other.bias.copy_(linear.bias[m, 0])
    return other


def torch_norm(norm: BatchNorm, m: int) -> torch.nn.BatchNorm1d:
    other = torch.nn.BatchNorm1d(norm.weight.shape[-1], eps=norm.eps, momentum=norm.momentum)
    with torch.no_grad():
        other.weight.copy_(norm.weight[m].flatten())
        other.bias.copy_(norm.bias[m].flatten())
    return other


def test_linear_is_torchs_for_every_member():
    linear = Linear(MEMBERS, INPUTS, OUTPUTS)
    linear.reset(generators())
    x = cells().requires_grad_()
    out = linear(x)
    weight = torch.randn(out.shape, generator=torch.Generator().manual_seed(1))
    (out * weight).sum().backward()
    for m in range(MEMBERS):
        other = torch_linear(linear, m)
        x_m = x[m].detach().requires_grad_()
        expected = other(x_m)
        (expected * weight[m]).sum().backward()
        torch.testing.assert_close(out[m], expected)
        torch.testing.assert_close(x.grad[m], x_m.grad)
        torch.testing.assert_close(linear.weight.grad[m], other.weight.grad.T)
        torch.testing.assert_close(linear.bias.grad[m, 0], other.bias.grad)


@pytest.mark.parametrize("columns", [slice(0, 3), torch.tensor([6, 0, 2])])
def test_linear_of_some_columns(columns):
    linear = Linear(MEMBERS, INPUTS, OUTPUTS)
    linear.reset(generators())
    torch.testing.assert_close(linear(cells(), columns), linear(cells())[..., columns])


def test_linear_starts_as_torchs():
    linear = Linear(1, 400, 100)
    linear.reset(generators(1))
    bound = 400**-0.5
    for parameter in linear.parameters():
        assert parameter.abs().max() <= bound
        assert parameter.abs().max() > 0.95 * bound
        assert parameter.std().item() == pytest.approx(bound / 3**0.5, rel=0.15)


def test_linear_starts_alone_as_in_a_stack():
    stack, alone = Linear(MEMBERS, INPUTS, OUTPUTS), Linear(1, INPUTS, OUTPUTS)
    stack.reset(generators())
    alone.reset(generators()[2:])
    assert torch.equal(stack.weight[2], alone.weight[0]) and torch.equal(stack.bias[2], alone.bias[0])


def randomize(norm: BatchNorm):
    with torch.no_grad():
        norm.weight.uniform_(0.5, 2, generator=torch.Generator().manual_seed(2))
        norm.bias.uniform_(-1, 1, generator=torch.Generator().manual_seed(3))


def test_batch_normalization_is_torchs_within_member_and_dataset():
    norm = BatchNorm(MEMBERS, DATASETS, INPUTS)
    randomize(norm)
    weight = torch.randn(MEMBERS, DATASETS, CELLS, INPUTS, generator=torch.Generator().manual_seed(1))
    others = [[torch_norm(norm, m) for _ in range(DATASETS)] for m in range(MEMBERS)]
    for repeat in range(3):  # running statistics move on
        x = cells(seed=repeat).requires_grad_()
        norm.zero_grad()
        out = norm(x)
        (out * weight).sum().backward()
        for m in range(MEMBERS):
            grads = [0, 0]
            for s, other in enumerate(others[m]):
                x_ms = x[m, s].detach().requires_grad_()
                other.zero_grad()
                expected = other(x_ms)
                (expected * weight[m, s]).sum().backward()
                torch.testing.assert_close(out[m, s], expected)
                torch.testing.assert_close(x.grad[m, s], x_ms.grad)
                torch.testing.assert_close(norm.mean[m, s, 0], other.running_mean)
                torch.testing.assert_close(norm.var[m, s, 0], other.running_var)
                grads[0] = grads[0] + other.weight.grad
                grads[1] = grads[1] + other.bias.grad
            torch.testing.assert_close(norm.weight.grad[m].flatten(), grads[0])
            torch.testing.assert_close(norm.bias.grad[m].flatten(), grads[1])
    norm.eval()
    x = cells(seed=9)
    for m in range(MEMBERS):
        for s, other in enumerate(others[m]):
            torch.testing.assert_close(norm(x)[m, s], other.eval()(x[m, s]))


def test_batch_normalization_of_one_dataset_uses_its_statistics():
    norm = BatchNorm(MEMBERS, DATASETS, INPUTS)
    norm(cells() * torch.tensor([1.0, 5.0]).view(1, 2, 1, 1))
    norm.eval()
    torch.testing.assert_close(norm(cells()[:, 1:], slice(1, 2)), norm(cells())[:, 1:])
    assert not torch.allclose(norm(cells()[:, 1:], slice(0, 1)), norm(cells())[:, 1:])


def test_batch_normalization_gradient():
    norm = BatchNorm(2, 2, 3)
    randomize(norm)
    x = torch.randn(2, 2, 6, 3, generator=torch.Generator().manual_seed(0), requires_grad=True)
    assert torch.autograd.gradcheck(lambda x, w, b: torch.func.functional_call(norm, {"weight": w, "bias": b}, x),
                                    (x, norm.weight, norm.bias))  # fmt: skip


def test_block_is_linear_norm_relu():
    block = Block(MEMBERS, DATASETS, INPUTS, OUTPUTS, dropout=0.2)
    block.linear.reset(generators())
    randomize(block.norm)
    x = cells()
    out = block(x)
    for m in range(MEMBERS):
        for s in range(DATASETS):
            expected = torch.relu(torch_norm(block.norm, m)(torch_linear(block.linear, m)(x[m, s])))
            torch.testing.assert_close(out[m, s], expected)


def test_no_member_feels_another():
    block = Block(MEMBERS, DATASETS, INPUTS, OUTPUTS, dropout=0.0)
    block.linear.reset(generators())
    x = cells().requires_grad_()
    block(x)[1].square().sum().backward()
    for grad in (x.grad, block.linear.weight.grad, block.norm.weight.grad):
        assert grad[1].abs().sum() > 0
        assert not grad[0].any() and not grad[2].any()


@pytest.mark.parametrize("rate", [0.1, 0.2, 0.5])
def test_dropout_rate_and_scale(rate):
    block = Block(1, 1, INPUTS, OUTPUTS, dropout=rate)
    block.linear.reset(generators(1))
    x = torch.randn(1, 1, 20_000, INPUTS, generator=torch.Generator().manual_seed(0))
    block.eval()
    with torch.no_grad():
        block.norm.bias.fill_(3.0)  # so that ReLU cuts next to nothing
        kept, dropped = block(x), block(x, Noise(generators(1)))
    share = (dropped[kept > 0] == 0).double().mean().item()
    assert share == pytest.approx(rate, abs=0.004)
    assert dropped.mean().item() == pytest.approx(kept.mean().item(), rel=0.01)
    there = dropped > 0
    scale = (dropped[there] / kept[there]).unique()
    torch.testing.assert_close(scale, torch.full_like(scale, 1 / (1 - round(rate * 256) / 256)))


@pytest.mark.parametrize("kind", ["normal", "uniform", "bytes"])
def test_noise_is_the_members_own(kind):
    stack, alone = Noise(generators()), Noise(generators()[1:2])
    for shape in ((3, 5), (1,), (2, 2, 9)):  # and stays so, draw after draw
        together = getattr(stack, kind)(*shape)
        assert together.shape == (MEMBERS, *shape)
        assert torch.equal(together[1], getattr(alone, kind)(*shape)[0])
        assert not torch.equal(together[0], together[1]) or kind == "bytes" and shape == (1,)


def test_noise_has_its_distribution():
    noise = Noise(generators(2))
    normal, uniform, byte = noise.normal(40_000), noise.uniform(40_000), noise.bytes(40_001).double()
    assert normal.mean(1).abs().max() < 0.02 and (normal.std(1) - 1).abs().max() < 0.02
    assert uniform.min() >= 0 and uniform.max() < 1 and (uniform.mean(1) - 0.5).abs().max() < 0.01
    assert byte.min() == 0 and byte.max() == 255 and (byte.mean(1) - 127.5).abs().max() < 2
    counts = torch.bincount(byte[0].long(), minlength=256).double()
    assert ((counts - 40_001 / 256) ** 2 / (40_001 / 256)).sum() < 350  # chi-square of 255 degrees of freedom
