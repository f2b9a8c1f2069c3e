"""Perturbations of images within an L2 or Linf ball: what adversarial training adds, and what robustness is measured with.

An attack is a function `perturb(model, x, y) -> x` that knows nothing of the training around it. Images are in [0, 1] and
eps is in those pixel units; the normalisation of a network is part of the network.
"""

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

Perturb = Callable[[nn.Module, Tensor, Tensor], Tensor]
Loss = Callable[[Tensor, Tensor], Tensor]
PIXELS = (0.0, 1.0)


@dataclass(frozen=True)
class Norm:
    """What the attack loop needs to know of a norm; every function maps [batch, C, H, W] to the same shape."""

    start: Callable[[Tensor, float], Tensor]
    """A random point of the ball of radius eps."""
    step: Callable[[Tensor], Tensor]
    """The steepest ascent direction of length 1 in the norm."""
    project: Callable[[Tensor, float], Tensor]
    """The nearest point of the ball of radius eps."""
    diameter: Callable[[int], float]
    """The greatest distance of two images with so many values in [0, 1]."""


def _lengths(delta: Tensor) -> Tensor:  # [batch, C, H, W] -> [batch, 1, 1, 1]
    return delta.flatten(1).norm(dim=1).clamp_min(1e-12).view(-1, 1, 1, 1)


def _uniform_in_l2_ball(like: Tensor, eps: float) -> Tensor:
    direction = torch.randn_like(like)
    radius = torch.rand(len(like), 1, 1, 1, device=like.device, dtype=like.dtype) ** (1 / like[0].numel())
    return direction * (eps * radius / _lengths(direction))


NORMS = {
    "l2": Norm(
        start=_uniform_in_l2_ball,
        step=lambda gradient: gradient / _lengths(gradient),
        project=lambda delta, eps: delta * (eps / _lengths(delta)).clamp_max(1),
        diameter=math.sqrt,
    ),
    "linf": Norm(
        start=lambda like, eps: torch.empty_like(like).uniform_(-eps, eps),
        step=torch.sign,
        project=lambda delta, eps: delta.clamp(-eps, eps),
        diameter=lambda n: 1.0,
    ),
}


def cross_entropy(logits: Tensor, y: Tensor) -> Tensor:  # [batch, classes], [batch] -> [batch]
    return nn.functional.cross_entropy(logits, y, reduction="none")


def margin(logits: Tensor, y: Tensor) -> Tensor:  # [batch, classes], [batch] -> [batch]
    """The highest logit of another class minus that of the label (Carlini & Wagner 2017): it does not saturate as a softmax does."""
    others = logits.scatter(1, y[:, None], -math.inf).amax(1)
    return others - logits.gather(1, y[:, None]).squeeze(1)


LOSSES: dict[str, Loss] = {"cross_entropy": cross_entropy, "margin": margin}
"""What an attack makes larger, of each image by itself."""


def pgd(
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
    """Projected gradient ascent, PGD(k), on a loss of the label (Utrera et al. 2021, eqs. 3-5; Madry et al. 2018).

    Each of the k steps is `delta := P(delta + alpha * v)`, with v the steepest ascent direction of length 1 in the norm,
    alpha = c * eps / k, and P the projection onto the ball of radius eps, after which x + delta is clipped to the bounds.

    Args:
        norm: a key of `NORMS`.
        eps: radius in pixel units; 0 leaves the images as they are.
        steps: k.
        step_ratio: c; above 1, so that the boundary can be reached (the paper takes 1.5 < c < 4).
        random_start: start at a random point of the ball instead of its centre.
        restarts: random starts, of which each image keeps the one that ends with the highest loss.
        loss: a key of `LOSSES`.
        targeted: lower the loss of the labels that are given, which are then those that the model is to be led to.
        bounds: least and greatest value of a pixel.

    Returns:
        perturb(model, x, y): the perturbed images, detached. The model is attacked in eval mode and left in the mode it was in.

    Raises:
        ValueError: for an unknown norm or loss, an eps outside [0, inf), fewer than 1 step or start, or several starts that are
            all the same; and, on the call, for x outside the bounds, and for an eps beyond what lies within them.
    """
    ball, measure = _of("norm", norm, NORMS), _of("loss", loss, LOSSES)
    _check_not_negative("eps", eps)
    if steps < 1:
        raise ValueError(f"steps is {steps}; allowed: an integer from 1")
    if restarts < 1 or (restarts > 1 and not random_start):
        raise ValueError(f"restarts is {restarts}; allowed: {'an integer from 1' if random_start else '1, as every start is the same'}")
    alpha, direction = step_ratio * eps / steps, -1 if targeted else 1

    def ascend(model: nn.Module, x: Tensor, y: Tensor) -> Tensor:
        adversarial = (x + ball.start(x, eps)).clamp_(*bounds) if random_start else x.detach()
        for _ in range(steps):
            gradient = loss_gradient(model, adversarial, y, measure)
            delta = ball.project(adversarial - x + direction * alpha * ball.step(gradient), eps)
            adversarial = (x + delta).clamp_(*bounds).detach()
        return adversarial

    def perturb(model: nn.Module, x: Tensor, y: Tensor) -> Tensor:
        check_images(x, norm, eps, bounds)
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


def fgsm(*, norm: str, eps: float, **how: Any) -> Perturb:
    """The fast gradient sign method: one step over the whole radius (Goodfellow et al. 2015); `how` as for `pgd`."""
    return pgd(norm=norm, eps=eps, steps=1, step_ratio=1.0, **how)


@contextmanager
def in_eval_mode(model: nn.Module) -> Iterator[None]:
    """Every part of the model in eval mode, and afterwards in the mode that it was in."""
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        yield
    finally:
        for module, training in modes:
            module.training = training


def check_images(x: Tensor, norm: str, eps: float, bounds: tuple[float, float] = PIXELS) -> None:
    """
    Raises:
        ValueError: for a pixel outside the bounds, and for an eps that is more than the distance of two images.
    """
    low, high = bounds
    if not (x.min() >= low and x.max() <= high):  # so that NaN is refused, too
        raise ValueError(f"images span [{x.min():.3g}, {x.max():.3g}]; allowed: [{low:g}, {high:g}]")
    if eps > (widest := (high - low) * NORMS[norm].diameter(x[0].numel())):
        raise ValueError(f"eps is {eps:g}; allowed: up to {widest:.4g}, beyond which no two images of {tuple(x.shape[1:])} are in {norm}")


def gaussian(*, norm: str, eps: float, std: float) -> Perturb:
    """Normal noise of every pixel, projected on the ball of radius eps: no adversary at all (Utrera et al. 2021, Section 7, A.10).

    Args:
        norm: a key of `NORMS`.
        eps: radius in pixel units of [0, 1] images; 0 leaves the images as they are.
        std: of the noise, in the same units; where it is large, nearly every image moves by the whole radius.

    Raises:
        ValueError: for an unknown norm, or an eps or std outside [0, inf).
    """
    ball = _of("norm", norm, NORMS)
    _check_not_negative("eps", eps)
    _check_not_negative("std", std)

    def perturb(model: nn.Module, x: Tensor, y: Tensor) -> Tensor:
        if eps == 0:
            return x.detach()
        return (x + ball.project(std * torch.randn_like(x), eps)).clamp_(*PIXELS).detach()

    return perturb


def ramped(make: Callable[[float], Perturb], *, eps: float, hold: float, ramp: float) -> Callable[[float], Perturb]:
    """An attack that grows: its eps is 0 for a fraction `hold` of the way, then rises linearly to `eps` over the fraction `ramp`.

    Args:
        make: the attack of a radius.

    Returns:
        the attack at a fraction of the way, in [0, 1).
    """

    def at(progress: float) -> Perturb:
        risen = min(1.0, max(0.0, progress - hold) / ramp) if ramp else float(progress >= hold)
        return make(eps * risen)

    return at


def loss_gradient(model: nn.Module, x: Tensor, y: Tensor, loss: Loss = cross_entropy) -> Tensor:
    """Gradient of the summed loss by the images, [batch, C, H, W]: no gradient of a weight is computed.

    The loss is summed, so that an image's gradient does not depend on the batch that it is in.
    """
    x = x.detach().requires_grad_()
    return torch.autograd.grad(loss(model(x), y).sum(), x)[0]


def _of(what: str, name: str, table: dict[str, Any]) -> Any:
    if name not in table:
        raise ValueError(f"{what} is {name!r}; allowed: {', '.join(table)}")
    return table[name]


def _check_not_negative(name: str, value: float) -> None:
    if not (value >= 0 and math.isfinite(value)):
        raise ValueError(f"{name} is {value}; allowed: a number from 0 (in pixel units of [0, 1] images)")
