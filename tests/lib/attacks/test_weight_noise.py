"""The Fisher information against loops and a closed form, its noise against a dense inverse, and what a network with noise computes."""

import numpy as np
import pytest
import torch
from torch import nn

from stages.lib.attacks import weight_noise


@pytest.fixture
def network() -> nn.Sequential:
    torch.manual_seed(0)
    network = nn.Sequential(
        nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(16, 5)
    ).double()
    network[1].running_mean += 0.1
    return network.eval()


def images(n: int) -> torch.Tensor:
    return torch.rand((n, 3, 6, 6), generator=torch.Generator().manual_seed(1), dtype=torch.float64)


def test_the_fisher_information_is_that_of_a_loop_over_images(network):
    x = images(7)
    found = weight_noise.fisher_diagonal(network, x, torch.Generator().manual_seed(3))
    labels = torch.multinomial(network(x).softmax(1), 1, generator=torch.Generator().manual_seed(3)).squeeze(1)
    assert len(set(labels.tolist())) > 1
    slow = {name: torch.zeros_like(weight) for name, weight in network.named_parameters() if name in ("0.weight", "5.weight")}
    for image, label in zip(x, labels, strict=True):
        network.zero_grad()
        network(image[None]).log_softmax(1)[0, label].backward()
        slow = {name: total + network.get_parameter(name).grad ** 2 / len(x) for name, total in slow.items()}
    assert set(found) == set(slow)
    assert not any(f.requires_grad for f in found.values())
    for name, expected in slow.items():
        assert torch.allclose(found[name], expected, rtol=1e-9)


def test_chunks_change_nothing(network, monkeypatch):
    whole = weight_noise.fisher_diagonal(network, images(7), torch.Generator().manual_seed(3))
    monkeypatch.setattr(weight_noise, "CHUNK_BYTES", 2000)
    parts = weight_noise.fisher_diagonal(network, images(7), torch.Generator().manual_seed(3))
    assert all(torch.allclose(whole[name], parts[name]) for name in whole)


def test_of_a_linear_classifier_it_is_the_closed_form():
    """E over y ~ p of the square of (1[y = k] - p_k) x_j is p_k (1 - p_k) x_j^2."""
    torch.manual_seed(0)
    network, n = nn.Sequential(nn.Flatten(), nn.Linear(12, 3)).double(), 40000
    x = torch.rand(1, 3, 2, 2, dtype=torch.float64)
    found = weight_noise.fisher_diagonal(network, x.expand(n, -1, -1, -1), torch.Generator().manual_seed(0))["1.weight"]
    p = network(x).softmax(1)[0].detach()
    expected = (p * (1 - p))[:, None] * x.flatten() ** 2
    assert torch.allclose(found, expected, rtol=0.06)  # five standard errors of n labels


def test_the_variance_is_that_of_the_dense_formula():
    f, beta, prior_std = np.array([0.0, 1e-4, 0.3, 20.0]), 0.02, 0.1
    dense = beta / 2 * np.linalg.inv(np.diag(f) + beta / (2 * prior_std**2) * np.eye(4))
    found = weight_noise.variances({"w": torch.from_numpy(f)}, beta, prior_std)["w"]
    assert np.allclose(found, np.diag(dense))
    assert found[0] == pytest.approx(prior_std**2)  # nothing depends on it: the prior
    assert torch.equal(weight_noise.variances({"w": torch.from_numpy(f)}, 0.0, prior_std)["w"], torch.zeros(4, dtype=torch.float64))


def test_noise_has_its_variance_and_the_network_keeps_its_weights(network):
    body, x = network[:5], images(2)
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    of = {"0.weight": torch.full((4, 3, 3, 3), 0.04, dtype=torch.float64), "5.weight": torch.ones(5, 16, dtype=torch.float64)}
    noisy = weight_noise.Noisy(body, of, torch.Generator().manual_seed(0))  # of the head, which is left out, nothing is drawn
    draws = []
    for _ in range(300):
        noisy.draw()
        draws.append(noisy.drawn["0.weight"] - before["0.weight"])
    spread = torch.stack(draws)
    assert set(noisy.drawn) == {"0.weight"}
    assert spread.std().item() == pytest.approx(0.2, rel=0.02)
    assert spread.mean().abs().item() < 0.005
    moved = body[0].weight.detach() + draws[-1]
    by_hand = nn.functional.conv2d(x, moved, body[0].bias)
    assert torch.allclose(noisy(x), body[1:](by_hand))
    assert all(torch.equal(tensor, before[name]) for name, tensor in network.state_dict().items())


def test_without_variance_it_is_the_network(network):
    noisy = weight_noise.Noisy(network, {"0.weight": torch.zeros(4, 3, 3, 3).double()}, torch.Generator().manual_seed(0))
    noisy.draw()
    assert torch.equal(noisy(images(3)), network(images(3)))
