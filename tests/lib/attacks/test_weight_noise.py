"""What a network with noise on its weights computes. How much noise that is, `tests/lib/information/test_fisher_of_weights.py` tests."""

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


def test_noise_has_its_variance_and_the_network_keeps_its_weights(network):
    body, x = network[:5], images(2)
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    std = {"0.weight": torch.full((4, 3, 3, 3), 0.2, dtype=torch.float64), "5.weight": torch.ones(5, 16, dtype=torch.float64)}
    noisy = weight_noise.Noisy(body, std, torch.Generator().manual_seed(0))  # of the head, which is left out, nothing is drawn
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
