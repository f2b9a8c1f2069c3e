"""The Euclidean norm."""

import math
from typing import TYPE_CHECKING

from stages.lib.norms.norm import Norm

if TYPE_CHECKING:  # torch takes seconds to import
    from torch import Tensor


def lengths(delta: "Tensor") -> "Tensor":  # [batch, C, H, W] -> [batch, 1, 1, 1]
    return delta.flatten(1).norm(dim=1).clamp_min(1e-12).view(-1, 1, 1, 1)


def uniform_in_ball(like: "Tensor", eps: float) -> "Tensor":
    """A normal direction, and a radius whose power of the dimension is uniform; so every part of the ball is as likely as it is large."""
    direction = like.detach().clone().normal_()
    radius = like.new_empty((len(like), 1, 1, 1)).uniform_() ** (1 / like[0].numel())
    return direction * (eps * radius / lengths(direction))


NORM = Norm(
    name="l2",
    label="L2",
    order=2,
    start=uniform_in_ball,
    step=lambda gradient: gradient / lengths(gradient),
    project=lambda delta, eps: delta * (eps / lengths(delta)).clamp_max(1),
    diameter=math.sqrt,
    colours=("#f0a35e", "#e8590c"),
    marker="s",
)
