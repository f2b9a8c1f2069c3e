"""The attack without gradients: within its ball, better with every query, and blind to what only gradients see."""

import pytest
import torch
from torch import nn

from stages.lib.attacks import pgd, random_search
from stages.lib.attacks.attack import margin


def network() -> nn.Sequential:
    torch.manual_seed(1)
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 100, 5)).eval()


def images(n: int = 16) -> torch.Tensor:
    x = torch.rand(n, 3, 12, 12, generator=torch.Generator().manual_seed(0))
    x[0, :, :2], x[-1, :, 2:4] = 0.0, 1.0
    return x


@pytest.mark.parametrize(("norm", "eps"), [("l2", 0.5), ("l2", 3.0), ("linf", 0.02), ("linf", 0.3)])
def test_the_perturbation_stays_in_the_ball_and_the_pixels_in_their_range(norm, eps):
    x = images()
    moved = random_search.make(norm=norm, eps=eps, queries=20)(network(), x, network()(x).argmax(1))
    delta = (moved - x).flatten(1)
    lengths = delta.norm(dim=1) if norm == "l2" else delta.abs().amax(1)
    assert lengths.max() <= eps + 1e-5
    assert lengths.min() > 0.3 * eps
    assert moved.min() >= 0
    assert moved.max() <= 1


@pytest.mark.parametrize(("norm", "eps"), [("l2", 1.0), ("linf", 0.05)])
def test_the_margin_falls_with_queries(norm, eps):
    model, x = network(), images()
    y = model(x).argmax(1)
    margins = []
    for queries in (1, 10, 100):
        torch.manual_seed(0)
        moved = random_search.make(norm=norm, eps=eps, queries=queries)(model, x, y)
        margins.append(margin(model(moved), y).mean().item())
    assert margins == sorted(margins)
    assert margins[-1] > margins[0] > margin(model(x), y).mean().item() - 1e-3


class Rounded(nn.Module):
    """Pixels in 16 steps: no gradient passes."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.round(x.detach() * 15) / 15 + 0 * x


def test_it_finds_errors_where_no_gradient_passes():
    model = nn.Sequential(Rounded(), network()).eval()
    x = images()
    y = model(x).argmax(1)
    by_gradient = pgd.make(norm="linf", eps=0.1, steps=10, step_ratio=2.5)(model, x, y)
    assert torch.equal(by_gradient, x)
    found = random_search.make(norm="linf", eps=0.1, queries=100)(model, x, y)
    assert (model(found).argmax(1) != y).double().mean() > 0.2


@pytest.mark.parametrize("share", [1e-6, 0.05, 0.8, 1.0])
def test_squares_have_the_area_that_is_asked_for(share):
    torch.manual_seed(0)
    squares = random_search.squares(torch.zeros(50, 3, 12, 10), share)
    area = (squares != 0).all(1).flatten(1).sum(1)
    side = max(1, round((share * 120) ** 0.5))
    assert (area == min(side, 12) * min(side, 10)).all()
    assert (squares[:, 0] != squares[:, 1]).any(), "channels have signs of their own"
    assert len({tuple(torch.nonzero(s[0])[0].tolist()) for s in squares}) > 10 or side >= 10, "squares lie anywhere"


def test_eps_0_and_images_out_of_range():
    attack = random_search.make(norm="l2", eps=0.0, queries=3)
    assert torch.equal(attack(network(), images(), torch.zeros(16, dtype=torch.int64)), images())
    with pytest.raises(ValueError, match=r"images span \[0, 2\]; allowed: \[0, 1\]"):
        attack(network(), 2 * images(), torch.zeros(16, dtype=torch.int64))
