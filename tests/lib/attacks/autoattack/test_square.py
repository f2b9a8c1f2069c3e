"""The Square Attack: its schedule, its points, and what it finds without a gradient."""

import pytest
import torch
from torch import nn

from stages.lib.attacks.attack import margin
from stages.lib.attacks.autoattack import square, windows


def network() -> nn.Sequential:
    torch.manual_seed(1)
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 100, 5)).eval()


def images(n: int = 16) -> torch.Tensor:
    x = torch.rand(n, 3, 12, 12, generator=torch.Generator().manual_seed(0))
    x[0, :, :2], x[-1, :, 2:4] = 0.0, 1.0
    return x


def test_the_share_of_the_area_is_halved_after_the_published_queries():
    shares = [square.share_at(query) for query in (0, 10, 11, 51, 201, 501, 1001, 2001, 4001, 4999)]
    assert shares == [0.8, 0.8, *(0.8 / 2**k for k in (1, 2, 3, 4, 5, 6, 7, 7))]


@pytest.mark.parametrize(("norm", "eps"), [("l2", 0.5), ("l2", 3.0), ("linf", 0.02), ("linf", 0.3)])
def test_points_stay_in_the_ball_and_the_pixels_in_their_range_and_the_margin_never_falls(norm, eps):
    model, x = network(), images()
    y = model(x).argmax(1)
    last = None
    for queries in (1, 10, 60):
        torch.manual_seed(0)
        moved = square.make(norm=norm, eps=eps, queries=queries)(model, x, y)
        delta = (moved - x).flatten(1)
        size = delta.norm(dim=1) if norm == "l2" else delta.abs().amax(1)
        assert size.max() <= eps + 1e-5
        assert size.min() > 0.3 * eps
        assert moved.min() >= 0
        assert moved.max() <= 1
        reached = margin(model(moved), y).detach()
        assert last is None or (torch.where(last > 0, last, reached) >= last).all()
        last = reached


def test_a_bump_is_a_hill_and_a_valley_of_length_1_in_each_channel():
    torch.manual_seed(0)
    bumps = windows._bumps(torch.zeros(20, 3, 1, 1), 7)
    assert torch.allclose(bumps.flatten(2).norm(dim=2), torch.ones(20, 3))
    assert (bumps.amax((2, 3)) > 0.1).all()
    assert (bumps.amin((2, 3)) < -0.1).all()
    hill = windows._hill(torch.zeros(5, 5))
    assert torch.allclose(hill / hill[2, 0], torch.tensor([  # rings of 1 + 1/4 + 1/9, 1/4 + 1/9, and 1/9
        [1.0] * 5, [1, 3.25, 3.25, 3.25, 1], [1, 3.25, 12.25, 3.25, 1], [1, 3.25, 3.25, 3.25, 1], [1.0] * 5]))  # fmt: skip


def test_within_l2_the_change_of_one_window_goes_to_another():
    torch.manual_seed(0)
    x = torch.full((4, 3, 20, 20), 0.5)
    best = windows.SEARCHES["l2"].start(x, 0.5)
    for _ in range(5):
        moved = windows.SEARCHES["l2"].propose(x, best, 0.5, 0.05)
        assert torch.allclose((moved - x).flatten(1).norm(dim=1), torch.full((4,), 0.5), atol=1e-4)
        changed = ((moved - best).abs() > 1e-3).any(1).flatten(1).sum(1)
        assert (changed <= 2 * 5 * 5).all(), "two windows of 5 x 5"
        best = moved


def test_it_finds_errors_where_no_gradient_passes():
    class Rounded(nn.Module):
        def forward(self, x):
            return torch.round(x.detach() * 15) / 15 + 0 * x

    model, x = nn.Sequential(Rounded(), network()).eval(), images()
    y = model(x).argmax(1)
    torch.manual_seed(0)
    found = square.make(norm="linf", eps=0.1, queries=100)(model, x, y)
    assert (model(found).argmax(1) != y).double().mean() > 0.2


def test_a_norm_and_images_for_which_it_is_not_made_are_refused():
    with pytest.raises(ValueError, match="norm is 'l1'; allowed for the Square Attack: linf, l2"):
        square.make(norm="l1", eps=0.5)
    with pytest.raises(ValueError, match=r"images are 4 x 4 pixels; allowed .* 5 a side or more"):
        square.make(norm="l2", eps=0.5, queries=3)(nn.Flatten(), torch.rand(2, 3, 4, 4), torch.zeros(2, dtype=torch.int64))
