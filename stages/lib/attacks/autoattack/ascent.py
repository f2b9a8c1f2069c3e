"""Auto-PGD: projected gradient ascent that halves its step where the loss no longer rises (Croce & Hein, ICML 2020, Algorithm 1)."""

import math
from collections.abc import Callable
from dataclasses import dataclass, fields, replace

import torch
from torch import Tensor, nn

from stages.lib.attacks.attack import PIXELS
from stages.lib.norms.norm import Norm

FIRST_STEP = 2.0  # in radii
MOMENTUM = 0.75  # alpha: the weight of the new step; the last change has the rest
RISING = 0.75  # rho: the fraction of the steps since the last checkpoint in which the loss has to rise
FIRST_CHECK, SHORTER, SHORTEST = 0.22, 0.03, 0.06  # fractions of all steps, from one checkpoint to the next

RowLoss = Callable[[Tensor, Tensor], Tensor]
"""The loss of each image, from logits [n, classes] and the places of these images in the batch that is attacked, [n]."""


def checkpoints(steps: int) -> set[int]:
    """The steps after which the step size may be halved: w_j = ceil(p_j * steps), p_(j+1) = p_j + max(p_j - p_(j-1) - 0.03, 0.06)."""
    found, last, following = set(), 0.0, FIRST_CHECK
    while following <= 1:
        found.add(math.ceil(round(following * steps, 6)))  # rounded, as sums of fractions are a little off
        last, following = following, following + max(following - last - SHORTER, SHORTEST)
    return found


@dataclass
class _Climb:
    """Where the images that still stand are; every field has one row for each of them."""

    rows: Tensor  # places in the batch that is attacked
    at: Tensor
    before: Tensor  # a step earlier
    loss: Tensor
    gradient: Tensor
    best: Tensor
    best_loss: Tensor
    best_gradient: Tensor
    size: Tensor  # of the next step, in pixel units
    rises: Tensor  # steps since the last checkpoint in which the loss rose
    checked_loss: Tensor  # best_loss at the last checkpoint
    halved: Tensor  # bool: whether the step size was halved there

    def of(self, kept: Tensor) -> "_Climb":
        return _Climb(*(getattr(self, one.name)[kept] for one in fields(self)))


def ascend(model: nn.Module, x: Tensor, y: Tensor, loss: RowLoss, *, ball: Norm, eps: float, steps: int) -> Tensor:
    """The images, each at the first point where its label is wrong, or else at the point with the highest loss.

    An image whose label is wrong is left there and costs no further step. The start is a random point of the ball.
    """
    found = (x + ball.start(x, eps)).clamp_(*PIXELS)
    climb, right = _begin(model, found, y, loss, FIRST_STEP * eps)
    halving, last = checkpoints(steps), 0
    for step in range(1, steps + 1):
        if not right.all():
            found[climb.rows[~right]] = climb.at[~right]
            climb = climb.of(right)
        if not len(climb.rows):
            return found
        at = _moved(climb, x[climb.rows], ball, eps, momentum=MOMENTUM if step > 1 else 1.0)
        climb, right = _evaluated(model, climb, at, y[climb.rows], loss)
        if step in halving:
            _halve(climb, step - last)
            last = step
    found[climb.rows] = torch.where(_each(right), climb.best, climb.at)
    return found


def _begin(model: nn.Module, at: Tensor, y: Tensor, loss: RowLoss, size: float) -> tuple[_Climb, Tensor]:
    rows = torch.arange(len(at), device=at.device)
    value, gradient, right = _loss_and_gradient(model, at, y, rows, loss)
    sizes = at.new_full((len(at), 1, 1, 1), size)
    zeros, halved = torch.zeros_like(rows), torch.ones_like(right)  # as if halved just now, so that the first step size is tried
    return _Climb(rows, at, at, value, gradient, at, value, gradient, sizes, zeros, value, halved), right


def _moved(climb: _Climb, x: Tensor, ball: Norm, eps: float, *, momentum: float) -> Tensor:
    """Eq. 5: a projected step, of which a part is taken, and a part of the change before it."""

    def within(point: Tensor) -> Tensor:
        return (x + ball.project(point - x, eps)).clamp_(*PIXELS)

    step = within(climb.at + climb.size * ball.step(climb.gradient)) - climb.at
    return within(climb.at + momentum * step + (1 - momentum) * (climb.at - climb.before))


def _evaluated(model: nn.Module, climb: _Climb, at: Tensor, y: Tensor, loss: RowLoss) -> tuple[_Climb, Tensor]:
    """The climb at its next points, and which of them still have their labels."""
    value, gradient, right = _loss_and_gradient(model, at, y, climb.rows, loss)
    better = value > climb.best_loss
    moved = replace(
        climb, at=at, before=climb.at, loss=value, gradient=gradient, rises=climb.rises + (value > climb.loss),
        best=torch.where(_each(better), at, climb.best), best_loss=torch.where(better, value, climb.best_loss),
        best_gradient=torch.where(_each(better), gradient, climb.best_gradient),
    )  # fmt: skip
    return moved, right


def _halve(climb: _Climb, since: int) -> None:
    """At a checkpoint, `since` steps after the one before it: where the loss rose too seldom (condition 1), or where neither the step
    size nor the highest loss has changed (condition 2), the step is halved and the climb goes on from the best point."""
    seldom = climb.rises < RISING * since
    stuck = ~climb.halved & (climb.best_loss <= climb.checked_loss)
    halved = seldom | stuck
    climb.size = torch.where(_each(halved), climb.size / 2, climb.size)
    climb.at = torch.where(_each(halved), climb.best, climb.at)
    climb.gradient = torch.where(_each(halved), climb.best_gradient, climb.gradient)
    climb.loss = torch.where(halved, climb.best_loss, climb.loss)
    climb.rises, climb.checked_loss, climb.halved = torch.zeros_like(climb.rises), climb.best_loss, halved


def _loss_and_gradient(model: nn.Module, x: Tensor, y: Tensor, rows: Tensor, loss: RowLoss) -> tuple[Tensor, Tensor, Tensor]:
    """Of each image: the loss, its gradient, and whether the label is right, from one pass."""
    x = x.detach().requires_grad_()
    with torch.enable_grad():
        logits = model(x)
        value = loss(logits, rows)
        gradient = torch.autograd.grad(value.sum(), x)[0]
    return value.detach(), gradient, logits.detach().argmax(1) == y


def _each(values: Tensor) -> Tensor:  # [n] -> [n, 1, 1, 1]
    return values.view(-1, 1, 1, 1)
