"""Noise within a ball."""

import pytest
import torch

from stages.lib.attacks import gaussian


@pytest.mark.parametrize("norm", ["l2", "linf"])
def test_noise_stays_in_the_ball_and_in_the_range_of_pixels(norm):
    torch.manual_seed(0)
    x = torch.rand(8, 3, 16, 16)
    moved = gaussian.make(norm=norm, eps=0.5, std=1.0)(None, x, None)
    delta = (moved - x).flatten(1)
    lengths = delta.norm(dim=1) if norm == "l2" else delta.abs().amax(1)
    assert lengths.max() <= 0.5 + 1e-5
    assert lengths.min() > 0.3, "with noise this large an image moves by nearly the radius"
    assert moved.min() >= 0
    assert moved.max() <= 1


def test_faint_noise_is_not_projected():
    torch.manual_seed(0)
    x = torch.full((200, 3, 8, 8), 0.5)
    delta = gaussian.make(norm="l2", eps=10.0, std=0.01)(None, x, None) - x
    assert delta.std().item() == pytest.approx(0.01, rel=0.03)
    assert abs(delta.mean().item()) < 1e-3


@pytest.mark.parametrize("wrong", [{"norm": "l7"}, {"eps": -1.0}, {"std": float("nan")}, {"std": -0.1}])
def test_noise_of_no_known_kind_is_refused(wrong):
    with pytest.raises(ValueError, match=f"{next(iter(wrong))} is"):
        gaussian.make(**({"norm": "l2", "eps": 0.5, "std": 1.0} | wrong))
