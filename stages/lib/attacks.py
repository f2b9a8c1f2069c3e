"""Perturbations of images within an L2 or Linf ball: what adversarial training adds, and what robustness is measured with.

An attack is a function `perturb(model, x, y) -> x` that knows nothing of the training around it. Images are in [0, 1] and
eps is in those pixel units; the normalisation of a network is part of the network.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

Perturb = Callable[[nn.Module, Tensor, Tensor], Tensor]


@dataclass(frozen=True)
class Norm:
    """What the attack loop needs to know of a norm; every function maps [batch, C, H, W] to the same shape."""

    start: Callable[[Tensor, float], Tensor]
    """A random point of the ball of radius eps."""
    step: Callable[[Tensor], Tensor]
    """The steepest ascent direction of length 1 in the norm."""
    project: Callable[[Tensor, float], Tensor]
    """The nearest point of the ball of radius eps."""


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
    ),
    "linf": Norm(
        start=lambda like, eps: torch.empty_like(like).uniform_(-eps, eps),
        step=torch.sign,
        project=lambda delta, eps: delta.clamp(-eps, eps),
    ),
}


def pgd(*, norm: str, eps: float, steps: int, step_ratio: float, random_start: bool = False) -> Perturb:
    """Projected gradient descent PGD(k) on the cross-entropy, untargeted (Utrera et al. 2021, eqs. 3-5; Madry et al. 2018).

    Each of the k steps is `delta := P(delta + alpha * v)`, with v the steepest ascent direction of length 1 in the norm,
    alpha = c * eps / k, and P the projection onto the ball of radius eps, after which x + delta is clipped to [0, 1].

    Args:
        norm: a key of `NORMS`.
        eps: radius in pixel units of [0, 1] images; 0 leaves the images as they are.
        steps: k.
        step_ratio: c; above 1, so that the boundary can be reached (the paper takes 1.5 < c < 4).
        random_start: start at a random point of the ball instead of its centre.

    Returns:
        perturb(model, x, y): the perturbed images, detached. The model is attacked in eval mode and left in the mode it was in.

    Raises:
        ValueError: for an unknown norm, an eps outside [0, inf) or fewer than 1 step; and, on the call, for x outside [0, 1].
    """
    if norm not in NORMS:
        raise ValueError(f"norm is {norm!r}; allowed: {', '.join(NORMS)}")
    if not (eps >= 0 and math.isfinite(eps)):
        raise ValueError(f"eps is {eps}; allowed: a number from 0 (in pixel units of [0, 1] images)")
    if steps < 1:
        raise ValueError(f"steps is {steps}; allowed: an integer from 1")
    ball = NORMS[norm]
    alpha = step_ratio * eps / steps

    def perturb(model: nn.Module, x: Tensor, y: Tensor) -> Tensor:
        if not (x.min() >= 0 and x.max() <= 1):  # so that NaN is refused, too
            raise ValueError(f"images span [{x.min():.3g}, {x.max():.3g}]; allowed: [0, 1]")
        if eps == 0:
            return x.detach()
        modes = [(module, module.training) for module in model.modules()]
        model.eval()
        with torch.enable_grad():
            adversarial = (x + ball.start(x, eps)).clamp_(0, 1) if random_start else x.detach()
            for _ in range(steps):
                gradient = loss_gradient(model, adversarial, y)
                delta = ball.project(adversarial - x + alpha * ball.step(gradient), eps)
                adversarial = (x + delta).clamp_(0, 1).detach()
        for module, training in modes:
            module.training = training
        return adversarial

    return perturb


def gaussian(*, norm: str, eps: float, std: float) -> Perturb:
    """Normal noise of every pixel, projected on the ball of radius eps: no adversary at all (Utrera et al. 2021, Section 7, A.10).

    Args:
        norm: a key of `NORMS`.
        eps: radius in pixel units of [0, 1] images; 0 leaves the images as they are.
        std: of the noise, in the same units; where it is large, nearly every image moves by the whole radius.

    Raises:
        ValueError: for an unknown norm, or an eps or std outside [0, inf).
    """
    if norm not in NORMS:
        raise ValueError(f"norm is {norm!r}; allowed: {', '.join(NORMS)}")
    for name, value in (("eps", eps), ("std", std)):
        if not (value >= 0 and math.isfinite(value)):
            raise ValueError(f"{name} is {value}; allowed: a number from 0 (in pixel units of [0, 1] images)")

    def perturb(model: nn.Module, x: Tensor, y: Tensor) -> Tensor:
        if eps == 0:
            return x.detach()
        return (x + NORMS[norm].project(std * torch.randn_like(x), eps)).clamp_(0, 1).detach()

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


def loss_gradient(model: nn.Module, x: Tensor, y: Tensor) -> Tensor:
    """Gradient of the summed cross-entropy by the images, [batch, C, H, W]: no gradient of a weight is computed.

    The loss is summed, so that an image's gradient does not depend on the batch that it is in.
    """
    x = x.detach().requires_grad_()
    loss = nn.functional.cross_entropy(model(x), y, reduction="sum")
    return torch.autograd.grad(loss, x)[0]
