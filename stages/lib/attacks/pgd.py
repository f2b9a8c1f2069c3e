"""Projected gradient ascent, PGD(k), on a loss of the label (Utrera et al. 2021, eqs. 3-5; Madry et al. 2018)."""

import torch
from torch import Tensor, nn

from stages.lib.attacks.attack import PIXELS, Perturb, check_images, check_not_negative, in_eval_mode, loss_gradient, loss_of
from stages.lib.norms.table import norm_of


def make(
    *,
    norm: str,
    eps: float,
    steps: int,
    step_ratio: float,
    random_start: bool = False,
    restarts: int = 1,
    loss: str = "cross_entropy",
    targeted: bool = False,
    bounds: tuple[float, float] = PIXELS,
) -> Perturb:
    """The attack of a radius.

    Each of the k steps is `delta := P(delta + alpha * v)`, with v the steepest ascent direction of length 1 in the norm,
    alpha = c * eps / k, and P the projection onto the ball of radius eps, after which x + delta is clipped to the bounds.

    Args:
        norm: a name of `norms.table`.
        eps: radius in pixel units; 0 leaves the images as they are.
        steps: k.
        step_ratio: c; above 1, so that the boundary can be reached (the paper takes 1.5 < c < 4).
        random_start: start at a random point of the ball instead of its centre.
        restarts: random starts, of which each image keeps the one that ends with the highest loss.
        loss: a key of `attack.LOSSES`.
        targeted: lower the loss of the labels that are given, which are then those that the model is to be led to.
        bounds: least and greatest value of a pixel.

    Returns:
        perturb(model, x, y): the perturbed images, detached. The model is attacked in eval mode and left in the mode it was in.

    Raises:
        ValueError: for an unknown norm or loss, an eps outside [0, inf), fewer than 1 step or start, or several starts that are
            all the same; and, on the call, for x outside the bounds, and for an eps beyond what lies within them.
    """
    ball, measure = norm_of(norm), loss_of(loss)
    check_not_negative("eps", eps)
    _check_counts(steps, restarts, random_start)
    alpha, direction = step_ratio * eps / steps, -1 if targeted else 1

    def ascend(model: nn.Module, x: Tensor, y: Tensor) -> Tensor:
        adversarial = (x + ball.start(x, eps)).clamp_(*bounds) if random_start else x.detach()
        for _ in range(steps):
            gradient = loss_gradient(model, adversarial, y, measure)
            delta = ball.project(adversarial - x + direction * alpha * ball.step(gradient), eps)
            adversarial = (x + delta).clamp_(*bounds).detach()
        return adversarial

    def perturb(model: nn.Module, x: Tensor, y: Tensor) -> Tensor:
        check_images(x, ball, eps, bounds)
        if eps == 0:
            return x.detach()
        with in_eval_mode(model), torch.enable_grad():
            worst = ascend(model, x, y)
            for _ in range(restarts - 1):
                other = ascend(model, x, y)
                with torch.no_grad():
                    higher = direction * (measure(model(other), y) - measure(model(worst), y)) > 0
                worst = torch.where(higher.view(-1, 1, 1, 1), other, worst)
        return worst

    return perturb


def _check_counts(steps: int, restarts: int, random_start: bool) -> None:
    if steps < 1:
        raise ValueError(f"steps is {steps}; allowed: an integer from 1")
    if restarts < 1 or (restarts > 1 and not random_start):
        raise ValueError(f"restarts is {restarts}; allowed: {'an integer from 1' if random_start else '1, as every start is the same'}")
