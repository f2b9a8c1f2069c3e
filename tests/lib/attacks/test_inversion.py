"""Optimised images: those of a linear map are known, each step is the formula, and images of a batch do not influence one another."""

import pytest
import torch

from stages.lib.attacks import inversion

SHAPE = (4, 3, 4, 4)


@pytest.fixture
def originals() -> torch.Tensor:
    return 0.1 + 0.8 * torch.rand(SHAPE, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


@pytest.fixture
def linear() -> torch.Tensor:
    """An orthogonal map of all pixels, which loses nothing."""
    return torch.linalg.qr(torch.randn(48, 48, generator=torch.Generator().manual_seed(1), dtype=torch.float64))[0]


def test_an_image_is_recovered_from_what_loses_nothing_of_it(originals, linear):
    def represent(x):
        return x.flatten(1) @ linear.T

    start = torch.full_like(originals, 0.5)
    seen = []
    done = inversion.descend(
        start, inversion.matching(represent, represent(originals)), steps=200, step_size=0.1, decay=True, watch=lambda k, x: seen.append((k, x))
    )  # fmt: skip
    assert (done - originals).flatten(1).norm(dim=1).max() < 0.01
    assert [k for k, _ in seen] == list(range(201))
    assert torch.equal(seen[0][1], start)
    assert torch.equal(seen[-1][1], done)


def test_of_what_is_lost_nothing_comes_back(originals, linear):
    kept = linear[:24]  # half of the directions

    def represent(x):
        return x.flatten(1) @ kept.T

    start = torch.full_like(originals, 0.5)
    bounds = (-10.0, 10.0)  # so that clipping adds nothing to the projection
    done = inversion.descend(
        start, inversion.matching(represent, represent(originals)), steps=300, step_size=0.1, decay=True, bounds=bounds
    )
    projected = start.flatten(1) + (originals - start).flatten(1) @ kept.T @ kept
    assert torch.allclose(done.flatten(1), projected, atol=0.01)


def test_each_step_is_the_formula(originals, linear):
    start, wanted = torch.full_like(originals, 0.4), originals.flatten(1) @ linear.T
    loss_of = inversion.matching(lambda x: (x.flatten(1) @ linear.T) ** 2, wanted)
    for unit, decay, eps in ((False, False, None), (True, True, None), (True, False, 0.3)):
        x = start.clone()
        for k in range(5):
            z = (x.flatten(1) @ linear.T) ** 2
            away = (z - wanted) / (z - wanted).norm(dim=1, keepdim=True) / wanted.norm(dim=1, keepdim=True)
            gradient = (away * 2 * (x.flatten(1) @ linear.T)) @ linear
            v = gradient / gradient.norm(dim=1, keepdim=True) if unit else gradient
            moved = x.flatten(1) - 0.2 * (1 - k / 5 if decay else 1) * v
            if eps:
                far = (moved - start.flatten(1)).norm(dim=1, keepdim=True)
                moved = start.flatten(1) + (moved - start.flatten(1)) * (eps / far).clamp_max(1)
            x = moved.clamp(0, 1).view(SHAPE)
        done = inversion.descend(start, loss_of, steps=5, step_size=0.2, unit=unit, decay=decay, eps=eps)
        assert torch.allclose(done, x, atol=1e-9)


def test_a_linear_feature_is_strongest_in_a_corner_of_the_pixels(linear):
    features = torch.tensor([5, 7])
    loss_of = inversion.raising(lambda x: x.flatten(1) @ linear.T, features)
    done = inversion.descend(torch.full((2, 3, 4, 4), 0.5, dtype=torch.float64), loss_of, steps=6, step_size=0.1, norm="linf")
    assert torch.equal(done.flatten(1), (linear[features] > 0).double())


def test_an_image_does_not_depend_on_those_beside_it(originals, linear):
    wanted = originals.flatten(1) @ linear.T
    together = inversion.descend(
        torch.zeros(SHAPE, dtype=torch.float64), inversion.matching(lambda x: x.flatten(1) @ linear.T, wanted), steps=9, step_size=0.3
    )
    alone = inversion.descend(torch.zeros(1, 3, 4, 4, dtype=torch.float64), inversion.matching(lambda x: x.flatten(1) @ linear.T, wanted[2:3]), steps=9, step_size=0.3)  # fmt: skip
    assert torch.allclose(together[2:3], alone, atol=1e-12)


def test_an_image_that_has_arrived_stays_a_number(originals):
    loss_of = inversion.matching(lambda x: x.flatten(1), originals.flatten(1))
    assert torch.allclose(inversion.descend(originals, loss_of, steps=3, step_size=0.1), originals)


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        ({"steps": 0}, "steps is 0; allowed: an integer from 1"),
        ({"step_size": float("nan")}, "step_size is nan; allowed: a number from 0"),
        ({"eps": -1.0}, "eps is -1.0; allowed: a number from 0"),
        ({"norm": "l3"}, "norm is 'l3'; allowed: l2, linf"),
    ],
)
def test_bad_input_is_one_line(originals, changes, line):
    with pytest.raises(ValueError, match=line):
        inversion.descend(originals, lambda x: x.flatten(1).sum(1), **({"steps": 1, "step_size": 0.1} | changes))
