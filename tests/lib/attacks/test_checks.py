"""Evaluations that are broken on purpose, and one that is not: each check finds what it is for."""

import numpy as np
import pytest
import torch
from torch import nn

from stages.lib.attacks import checks
from stages.lib.datasets import pixels
from stages.lib.networks import units
from stages.lib.training import loop

NAMES = ["repeat", "batch", "gradient", "eps", "large eps", "one step", "steps", "black box"]
RADII = {"l2": [0.5, 1.0], "linf": [0.02, 0.04]}
WIDE = [0.1, 0.2, 0.3]  # Linf: where the network errs


class Noisy(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + 0.3 * torch.randn_like(x)


class OfTheBatch(nn.Module):
    """Normalises by the images that happen to be there, as batch norm left in train mode does."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return (x - x.mean((0, 2, 3), keepdim=True)) / (x.std((0, 2, 3), keepdim=True) + 0.1)


class Rounded(nn.Module):
    """Pixels in 8 steps, so that no gradient passes."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.round(x.detach() * 7) / 7 + 0 * x


class Times(nn.Module):
    def __init__(self, factor: float):
        super().__init__()
        self.factor = factor

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.factor * x


@pytest.fixture(scope="module")
def trained() -> tuple[nn.Sequential, np.ndarray, np.ndarray]:
    """A network that tells four kinds of stripes apart, and images that it labels correctly."""
    random = np.random.default_rng(0)
    y = np.arange(160) % 4
    waves = np.sin(np.linspace(0, 12, 16))
    patterns = np.stack([np.tile(waves, (16, 1)), np.tile(waves, (16, 1)).T, np.outer(waves, waves), np.zeros((16, 16))])
    x = 0.5 + 0.2 * patterns[y][..., None] + 0.05 * random.standard_normal((160, 16, 16, 3))
    x = (255 * x.clip(0, 1)).astype(np.uint8)
    torch.manual_seed(0)
    network = units.build("small_resnet", 4, [0.5] * 3, [0.25] * 3)
    loop.train(network, x, torch.from_numpy(y), epochs=4, batch_size=16, lr=0.05, momentum=0.9, weight_decay=0.0,
                   schedule=lambda progress: 1 - progress, seed=0)  # fmt: skip
    network.eval()
    with torch.no_grad():
        right = np.flatnonzero(network(pixels.prepare(x)).argmax(1).numpy() == y)[:32]
    assert len(right) == 32
    return network, x[right], y[right]


def failed(network: nn.Module, x: np.ndarray, y: np.ndarray, norm: str = "linf", **settings) -> list[str]:
    how = {"steps": 10, "step_ratio": 2.5, "radii": RADII[norm]} | settings
    found = list(checks.checks(network, x, y, see=pixels.prepare, norm=norm, seed=0, **how))
    assert [check.name for check in found] == NAMES
    return [check.name for check in found if not check.passed]


@pytest.mark.parametrize("norm", RADII)
def test_an_honest_evaluation_passes_every_check(trained, norm):
    assert failed(*trained, norm=norm) == []


def test_randomness_in_the_forward_pass(trained):
    network, x, y = trained
    assert "repeat" in failed(nn.Sequential(Noisy(), network), x, y)


def test_an_image_that_is_seen_otherwise_among_others(trained):
    network, x, y = trained
    assert "batch" in failed(nn.Sequential(OfTheBatch(), network), x, y)


def test_gradients_that_do_not_pass(trained):
    network, x, y = trained
    assert {"gradient", "large eps", "black box"} <= set(failed(nn.Sequential(Rounded(), network), x, y, radii=WIDE))


def test_gradients_that_vanish_as_the_softmax_is_saturated(trained):
    network, x, y = trained
    assert "gradient" in failed(nn.Sequential(network, Times(1e4)), x, y)


def test_an_attack_with_too_few_steps_and_too_short_ones(trained):
    found = failed(*trained, steps=2, step_ratio=0.1, radii=WIDE)
    assert "large eps" in found
    assert "one step" in found


def test_logits_that_are_no_numbers(trained):
    network, x, y = trained
    assert {"repeat", "batch", "gradient"} <= set(failed(nn.Sequential(network, Times(float("nan"))), x, y))
