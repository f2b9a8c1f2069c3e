"""FAB: the nearest point of a hyperplane within the pixels against other solvers, and exact distances of a linear model."""

import numpy as np
import pytest
import torch
from attacked import CASES, NORM, SEED, convolutional, images, lengths, linear
from hypothesis import given
from hypothesis import strategies as st
from scipy import optimize

from stages.lib.attacks.autoattack import fab_targeted
from stages.lib.attacks.autoattack.hyperplane import move_to
from stages.lib.norms.table import norm_of


def shortest(x: np.ndarray, weight: np.ndarray, value: float, order: float) -> float:
    """The length of the shortest move to the hyperplane: a linear program, or the dual of least squares."""
    d = len(x)
    if order == np.inf:  # of (move, length): -length <= move <= length
        sides = [[*(sign * np.eye(d)[i]), -1] for i in range(d) for sign in (1, -1)]
        done = optimize.linprog([0] * d + [1], A_ub=sides, b_ub=[0] * (2 * d), A_eq=[[*weight, 0]], b_eq=[-value],
                                bounds=[*zip(-x, 1 - x, strict=True), (0, None)])  # fmt: skip
        return done.fun

    def move(t):
        return np.clip(-t * weight, -x, 1 - x)

    t = optimize.brentq(lambda t: weight @ move(t) + value, -1e4, 1e4, xtol=1e-13)
    return float(np.linalg.norm(move(t)))


@CASES
@given(norm=NORM, seed=SEED, share=st.floats(0.02, 0.9), sign=st.sampled_from([-1, 1]))
def test_the_move_ends_on_the_hyperplane_and_is_the_shortest(norm, seed, share, sign):
    random = np.random.default_rng(seed)
    x, weight = random.random(8), random.standard_normal(8)
    x[0], x[1], weight[2] = 0.0, 1.0, 0.0
    reach = np.abs(weight) @ np.where(-sign * weight > 0, 1 - x, x)  # by how much the value can change within the pixels
    value = sign * share * reach
    order = norm_of(norm).order
    move = move_to(*(torch.from_numpy(array)[None] for array in (x, weight)), torch.tensor([value]), order)[0].numpy()
    assert weight @ move == pytest.approx(-value, abs=1e-9)
    assert (x + move).min() >= -1e-12
    assert (x + move).max() <= 1 + 1e-12
    assert np.linalg.norm(move, order) == pytest.approx(shortest(x, weight, value, order), rel=1e-6)


def test_a_hyperplane_that_the_pixels_do_not_reach_is_approached_as_far_as_they_allow():
    x, weight = torch.tensor([[0.2, 0.9]], dtype=torch.float64), torch.tensor([[1.0, -2.0]], dtype=torch.float64)
    for order in (2, float("inf")):
        move = move_to(x, weight, torch.tensor([5.0], dtype=torch.float64), order)
        assert torch.allclose(x + move, torch.tensor([[0.0, 1.0]], dtype=torch.float64))


@pytest.mark.parametrize(("norm", "dual"), [("l2", 2), ("linf", 1)])
def test_an_image_falls_where_the_boundary_of_a_linear_model_is_within_eps(norm, dual):
    model, x = linear(), 0.3 + 0.4 * torch.rand(40, 3, 6, 6, generator=torch.Generator().manual_seed(0))
    weight = model[1].weight.detach()
    logits = model(x).detach()
    y = logits.argmax(1)
    gaps = (logits.gather(1, y[:, None]) - logits) / torch.linalg.vector_norm(weight[y][:, None] - weight[None], dual, dim=2).clamp_min(
        1e-9
    )
    distance = gaps.scatter(1, y[:, None], torch.inf).amin(1)
    eps = float(distance.median())
    near, far = distance < eps / 1.06, distance > 1.001 * eps  # a step goes 5 % beyond the boundary, and is then drawn back
    stand = model(fab_targeted.make(norm=norm, eps=eps, steps=20)(model, x, y)).argmax(1) == y
    assert not stand[near].any()
    assert stand[far].all()
    assert near.sum() > 10


@pytest.mark.parametrize("norm", ["l2", "linf"])
@pytest.mark.parametrize("restarts", [1, 2])
def test_the_perturbation_stays_in_the_ball_and_an_image_that_stands_is_not_moved(norm, restarts):
    model, (x, _) = convolutional(2).eval(), images(n=12)
    y = model(x).argmax(1)
    eps = 0.3 if norm == "l2" else 0.03
    torch.manual_seed(0)
    moved = fab_targeted.make(norm=norm, eps=eps, steps=10, targets=2, restarts=restarts)(model, x, y)
    stands = model(moved).argmax(1) == y
    assert 0 < stands.sum() < 12
    assert lengths(moved - x, norm).max() <= eps + 1e-6
    assert torch.equal(moved[stands], x[stands])
    assert moved.min() >= 0
    assert moved.max() <= 1
