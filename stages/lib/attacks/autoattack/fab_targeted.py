"""FAB-T: the smallest change that gives an image the label of a target, one target after another (Croce & Hein, ICML 2020, FAB).

The attack does not know eps. Each step goes to the hyperplane at which the linearised logits of label and target are equal, with a
bias towards the image itself. What is found counts where it lies within eps. The paper's final search along a line is left out, as
in the authors' AutoAttack.
"""

from functools import partial

import torch
from torch import Tensor, nn

from stages.lib.attacks.attack import PIXELS, Perturb, check_not_negative
from stages.lib.attacks.autoattack.apgd import check_counts
from stages.lib.attacks.autoattack.hyperplane import move_to
from stages.lib.attacks.autoattack.ratios import difference, ranked_target, targets_at_hand
from stages.lib.attacks.standing import one_of
from stages.lib.norms.norm import Norm
from stages.lib.norms.table import norm_of

MOST_BIAS = 0.1  # alpha_max
OVERSHOOT = 1.05  # eta
BACK = 0.9  # beta: how much of the way an image keeps after its label changed
LEAST = 1e-8  # length of a move in the quotient of two of them, as released


def make(*, norm: str, eps: float, steps: int = 100, targets: int = 9, restarts: int = 1) -> Perturb:
    """The attack of a radius.

    Args:
        norm: a name of `norms.table`, of an order above 1.
        eps: radius in pixel units of [0, 1] images; 0 leaves the images as they are.
        steps: towards one target; 100 as published.
        targets: the classes with the highest logits but the label; 9 as published, or all others where there are fewer.
        restarts: for each target: the first from the image, the others from random points in half of the ball; 1 in the standard
            AutoAttack.

    Raises:
        ValueError: for an unknown norm or one of order 1, an eps outside [0, inf), a count below 1; and, on the call, for x outside
            [0, 1], and for an eps beyond what lies within.
    """
    ball = norm_of(norm)
    check_not_negative("eps", eps)
    check_counts(steps=steps, targets=targets, restarts=restarts)
    if not ball.order > 1:
        raise ValueError(f"norm is {norm!r}, of order {ball.order:g}; allowed for FAB: norms of an order above 1")

    def searches(model: nn.Module, x: Tensor) -> list[Perturb]:
        runs = [(rank, start) for rank in range(targets_at_hand(model, x, targets)) for start in range(restarts)]
        return [partial(_seek, ball=ball, eps=eps, steps=steps, rank=rank, from_image=not start) for rank, start in runs]

    return one_of(searches, ball, eps)


def _seek(model: nn.Module, x: Tensor, y: Tensor, *, ball: Norm, eps: float, steps: int, rank: int, from_image: bool) -> Tensor:
    """The images, moved where a change of their label lies within eps; each one costs no further step from then on."""
    found, rows, target = x.clone(), torch.arange(len(x), device=x.device), ranked_target(model, x, y, rank)
    at = x if from_image else (x + ball.start(x, eps / 2)).clamp(*PIXELS)
    for _ in range(steps):
        image, label = x[rows], y[rows]
        at = _stepped(model, at, image, label, target[rows], ball.order)
        with torch.no_grad():
            wrong = model(at).argmax(1) != label
        near = wrong & (_lengths(at - image, ball.order) <= eps)
        found[rows[near]] = at[near]
        at = torch.where(wrong.view(-1, 1, 1, 1), image + BACK * (at - image), at)[~near]
        rows = rows[~near]
        if not len(rows):
            break
    return found


def _stepped(model: nn.Module, at: Tensor, x: Tensor, y: Tensor, target: Tensor, order: float) -> Tensor:
    """A step to the hyperplane (eq. 9): a mean of the overshot moves of the point and of the image itself."""
    at = at.detach().requires_grad_()
    with torch.enable_grad():
        lead = -difference(model(at), y, target)  # of the label over the target
        gradient = torch.autograd.grad(lead.sum(), at)[0]
    at, weight = at.detach().flatten(1), gradient.flatten(1)
    image, value = x.flatten(1), lead.detach().double()
    at_image = value + (weight.double() * (image - at)).sum(1)
    here, there = move_to(at, weight, value, order), move_to(image, weight, at_image, order)
    short, long = (_lengths(move, order).clamp_min(LEAST) for move in (here, there))
    bias = (short / (short + long)).clamp_max(MOST_BIAS)[:, None]
    mean = (1 - bias) * (at + OVERSHOOT * here) + bias * (image + OVERSHOOT * there)
    return mean.clamp(*PIXELS).view_as(x)


def _lengths(delta: Tensor, order: float) -> Tensor:  # [n, ...] -> [n]
    return torch.linalg.vector_norm(delta.flatten(1), order, dim=1)
