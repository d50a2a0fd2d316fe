"""The optimizer against torch's."""

import pytest
import torch
from spatialimpute.methods.gimvi.adam import Adam


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
