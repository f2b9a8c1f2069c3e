"""Images that are optimised for a network: those with a wanted representation, and those in which a feature is as strong as it can be.

The loop of projected gradient descent, on any loss of the images, from any start and without a label. Inversion lowers the distance of
representations (Mahendran & Vedaldi 2015; Engstrom et al. 2019, "Adversarial Robustness as a Prior for Learned Representations", whose
settings Salman et al. 2020, Figure 1, have); feature visualisation raises an activation (Utrera et al. 2021, Figure 1). With
`weight_noise` the network is another one in each step (Terzi et al. 2021, Algorithms 1 and 2).
"""

from collections.abc import Callable

import torch
from torch import Tensor

from stages.lib.attacks.attack import PIXELS, check_not_negative
from stages.lib.norms.table import norm_of

LossOfImages = Callable[[Tensor], Tensor]  # images [batch, C, H, W] to what each is to lower, [batch]
Represent = Callable[[Tensor], Tensor]  # images [batch, C, H, W] to their representations [batch, width]


def descend(
    start: Tensor, loss_of: LossOfImages, *, steps: int, step_size: float, norm: str = "l2", unit: bool = True, decay: bool = False,
    eps: float | None = None, bounds: tuple[float, float] = PIXELS, watch: Callable[[int, Tensor], None] | None = None,
) -> Tensor:  # fmt: skip
    """Images with a lower loss: each of the steps is `x := clip(start + P(x - alpha v - start))`.

    Images of a batch do not influence one another, so that a batch may hold any images and features.

    Args:
        start: [batch, C, H, W]; its pixels are clipped to the bounds first.
        loss_of: called once in each step, so that a loss that draws noise draws it anew.
        steps: from 1.
        step_size: alpha, in pixel units of the norm.
        norm: of the steps and of the ball.
        unit: v is the direction of steepest ascent, of length 1 in the norm (Engstrom et al.); else the gradient itself (Terzi et al.).
        decay: alpha falls linearly, to `alpha / steps` in the last step; else it is the same in all.
        eps: radius of the ball around the start within which images stay; None: they go wherever the loss is lower.
        watch: is given the number of steps that are done, from 0, and the images at that point.

    Raises:
        ValueError: for an unknown norm, fewer than 1 step, and a step or radius outside [0, inf).
    """
    ball = norm_of(norm)
    if steps < 1:
        raise ValueError(f"steps is {steps}; allowed: an integer from 1")
    check_not_negative("step_size", step_size)
    check_not_negative("eps", eps or 0.0)
    start = start.detach().clamp(*bounds)
    x = start
    for step in range(steps):
        if watch is not None:
            watch(step, x)
        x = x.detach().requires_grad_()
        with torch.enable_grad():
            gradient = torch.autograd.grad(loss_of(x).sum(), x)[0]
        alpha = step_size * (1 - step / steps) if decay else step_size
        moved = x.detach() - alpha * (ball.step(gradient) if unit else gradient)
        if eps is not None:
            moved = start + ball.project(moved - start, eps)
        x = moved.clamp_(*bounds)
    if watch is not None:
        watch(steps, x)
    return x


def distance(z: Tensor, wanted: Tensor) -> Tensor:  # [batch, width], [batch, width] -> [batch]
    """Euclidean distance of representations over the length of the wanted one (Engstrom et al. 2019, eq. 5)."""
    return (z - wanted).norm(dim=1) / wanted.norm(dim=1).clamp_min(1e-12)


def matching(represent: Represent, wanted: Tensor) -> LossOfImages:
    """The loss of an inversion: how far the representation of an image is from the wanted one (Terzi et al. 2021, eq. 3)."""
    return lambda x: distance(represent(x), wanted)


def raising(represent: Represent, features: Tensor) -> LossOfImages:
    """The loss of a feature visualisation: minus the activation of one feature for each image; features: int64 [batch]."""
    return lambda x: -represent(x).gather(1, features[:, None]).squeeze(1)
