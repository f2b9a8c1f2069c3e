"""Normal noise of every pixel, projected on the ball: no adversary at all (Utrera et al. 2021, Section 7, A.10)."""

import torch
from torch import Tensor, nn

from stages.lib.attacks.attack import PIXELS, Perturb, check_not_negative
from stages.lib.norms.table import norm_of


def make(*, norm: str, eps: float, std: float) -> Perturb:
    """The noise within a radius.

    Args:
        norm: a name of `norms.table`.
        eps: radius in pixel units of [0, 1] images; 0 leaves the images as they are.
        std: of the noise, in the same units; where it is large, nearly every image moves by the whole radius.

    Raises:
        ValueError: for an unknown norm, or an eps or std outside [0, inf).
    """
    ball = norm_of(norm)
    check_not_negative("eps", eps)
    check_not_negative("std", std)

    def perturb(model: nn.Module, x: Tensor, y: Tensor) -> Tensor:
        if eps == 0:
            return x.detach()
        return (x + ball.project(std * torch.randn_like(x), eps)).clamp_(*PIXELS).detach()

    return perturb
