"""Auto-PGD: its checkpoints, what it keeps, and the exact optimum of a linear model."""

import pytest
import torch
from attacked import CASES, NORM, SEED, convolutional, images, lengths, linear
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from stages.lib.attacks.attack import cross_entropy, margin
from stages.lib.attacks.autoattack import apgd, apgd_targeted, ascent
from stages.lib.norms.table import norm_of


def test_checkpoints_are_those_of_the_paper():
    assert sorted(ascent.checkpoints(100)) == [22, 41, 57, 70, 80, 87, 93, 99]
    assert sorted(ascent.checkpoints(10)) == [3, 5, 6, 7, 8, 9, 10]
    assert ascent.checkpoints(1) == {1}


@CASES
@given(norm=NORM, eps=st.floats(1e-3, 1), steps=st.integers(1, 12), loss=st.sampled_from(list(apgd.LOSSES)), seed=SEED)
def test_the_perturbation_stays_in_the_ball_and_the_pixels_in_their_range(norm, eps, steps, loss, seed):
    model, (x, y) = convolutional(seed), images(seed)
    for perturb in (apgd.make(norm=norm, eps=eps, steps=steps, loss=loss), apgd_targeted.make(norm=norm, eps=eps, steps=steps, targets=2)):
        moved = perturb(model, x, y)
        assert lengths(moved - x, norm).max() <= eps + 1e-5
        assert moved.min() >= 0
        assert moved.max() <= 1
        assert torch.isfinite(moved).all()
        assert not moved.requires_grad
    assert all(module.training for module in model.modules())


@pytest.mark.parametrize(("norm", "dual"), [("l2", 2), ("linf", 1)])
def test_an_image_falls_where_the_boundary_of_a_linear_model_of_two_classes_is_within_eps(norm, dual):
    """Of two classes the ratios are the margin, which is linear; images are grey, so that no pixel is clipped."""
    model, x = linear(), 0.3 + 0.4 * torch.rand(40, 3, 6, 6, generator=torch.Generator().manual_seed(0))
    model[1] = nn.Linear(108, 2)
    logits, weight = model(x).detach(), model[1].weight.detach()
    y = logits.argmax(1)
    distance = (logits[:, 0] - logits[:, 1]).abs() / torch.linalg.vector_norm(weight[0] - weight[1], dual)
    eps = float(distance.median())
    for perturb in (apgd.make(norm=norm, eps=eps, steps=40, loss="dlr"), apgd_targeted.make(norm=norm, eps=eps, steps=40)):
        stands = model(perturb(model, x, y)).argmax(1) == y
        assert not stands[distance < 0.999 * eps].any()
        assert stands[distance > 1.001 * eps].all()
    assert (distance < 0.999 * eps).sum() > 10


def climb(steps: int, seed: int = 0, eps: float = 0.02) -> tuple[torch.Tensor, torch.Tensor]:
    """Images after so many steps, and their cross-entropy; none of them becomes wrong."""
    model, (x, _) = convolutional(3).eval(), images(1, n=20)
    y = model(x).argmax(1)
    torch.manual_seed(seed)
    moved = ascent.ascend(model, x, y, lambda logits, rows: cross_entropy(logits, y[rows]), ball=norm_of("linf"), eps=eps, steps=steps)
    stand = margin(model(moved), y) < 0
    return stand, cross_entropy(model(moved), y).detach()


def test_what_is_kept_is_the_best_point_so_more_steps_between_checkpoints_never_lose():
    losses = []
    for steps in (1, 2, 3, 40):
        stand, loss = climb(steps)
        losses.append(loss)
    kept = stand
    assert kept.sum() > 5
    assert losses[-1][kept].mean() > losses[0][kept].mean()


def test_a_step_that_no_longer_helps_is_halved_and_the_climb_goes_on_from_the_best_point():
    ones = torch.ones(3)
    points = torch.arange(3.0).view(3, 1, 1, 1)
    state = ascent._Climb(rows=torch.arange(3), at=points, before=points, loss=ones, gradient=points, best=points + 10, best_loss=2 * ones,
                          best_gradient=points + 20, size=torch.full((3, 1, 1, 1), 0.4), rises=torch.tensor([8, 7, 8]),
                          checked_loss=torch.tensor([1.0, 1.0, 2.0]), halved=torch.tensor([False, False, False]))  # fmt: skip
    ascent._halve(state, 10)  # of 10 steps the loss rose in 8, in 7 (condition 1), and in 8 without a new highest loss (condition 2)
    assert state.size.flatten().tolist() == pytest.approx([0.4, 0.2, 0.2])
    assert state.at.flatten().tolist() == [0.0, 11.0, 12.0]
    assert state.gradient.flatten().tolist() == [0.0, 21.0, 22.0]
    assert state.loss.tolist() == [1.0, 2.0, 2.0]
    assert state.rises.tolist() == [0, 0, 0]
    state.halved, state.rises = torch.tensor([True] * 3), torch.tensor([9] * 3)
    ascent._halve(state, 10)
    assert state.size.flatten().tolist() == pytest.approx([0.4, 0.2, 0.2]), "halved last time: the new size is tried first"


@pytest.mark.parametrize(
    ("changes", "words"),
    [({"loss": "hinge"}, "loss is 'hinge'; allowed: cross_entropy, dlr"), ({"steps": 0}, "steps is 0; allowed: an integer from 1"),
     ({"restarts": 0}, "restarts is 0; allowed"), ({"norm": "l7"}, "norm is 'l7'"), ({"eps": -1.0}, "eps is -1.0")],
)  # fmt: skip
def test_settings_that_are_no_attack_are_refused(changes, words):
    with pytest.raises(ValueError, match=words):
        apgd.make(**({"norm": "l2", "eps": 0.5} | changes))
