"""The adversary's losses against torch's, and that it learns and can be fooled."""

import pytest
import torch
import torch.nn.functional as F
from spatialimpute.methods.gimvi.adversary import Adversary, adversary_accuracy, adversary_loss, fooling_loss
from spatialimpute.methods.gimvi.networks import Noise


def generators(n, seed=0):
    return [torch.Generator().manual_seed(seed + m) for m in range(n)]


def log_probabilities(datasets):
    logits = torch.randn(2, datasets, 30, datasets, generator=torch.Generator().manual_seed(0))
    return torch.log_softmax(logits, -1)


@pytest.mark.parametrize("datasets", [2, 3, 4])
def test_losses_of_the_adversary(datasets):
    log_p = log_probabilities(datasets)
    for m in range(2):
        flat = log_p[m].reshape(-1, datasets)
        truth = torch.arange(datasets).repeat_interleave(30)
        torch.testing.assert_close(adversary_loss(log_p)[m], F.cross_entropy(flat, truth))
        wrong = [F.cross_entropy(flat, (truth + i) % datasets) for i in range(1, datasets)]
        torch.testing.assert_close(fooling_loss(log_p)[m], torch.stack(wrong).mean())
        accuracy = (flat.argmax(-1) == truth).float().mean()
        torch.testing.assert_close(adversary_accuracy(log_p)[m], accuracy)


def test_classifier_gives_probabilities_and_learns():
    classifier = Adversary(2, 4, 3)
    for module in classifier.modules():
        if hasattr(module, "reset"):
            module.reset(generators(2))
    generator = torch.Generator().manual_seed(3)
    z = torch.randn(2, 3, 40, 4, generator=generator) + 2 * torch.eye(3, 4).view(1, 3, 1, 4)
    noise = Noise(generators(2))
    torch.testing.assert_close(classifier(z, noise).exp().sum(-1), torch.ones(2, 3, 40))
    optimizer = torch.optim.Adam(classifier.parameters(), lr=0.01)
    for _ in range(60):
        optimizer.zero_grad()
        adversary_loss(classifier(z, noise)).sum().backward()
        optimizer.step()
    classifier.eval()
    assert adversary_accuracy(classifier(z, noise)).min() > 0.8
    # The gradient that fools it moves codes away from their own dataset's side.
    z.requires_grad_()
    before = fooling_loss(classifier(z, Noise(generators(2))))
    (gradient,) = torch.autograd.grad(before.sum(), z)
    after = fooling_loss(classifier(z - 20 * gradient, Noise(generators(2))))
    assert (after < before).all()
