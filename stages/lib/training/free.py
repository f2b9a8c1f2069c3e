"""Free adversarial training: adversarial training at the price of natural training (Shafahi et al. 2019b, Algorithm 1).

A batch is trained on `replay` times. The backward pass of each time gives the gradient of the images as well, along which the
perturbation takes a step as long as the radius; it goes on from one batch to the next, and begins at zero in each epoch.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor


class Ball(Protocol):
    """The functions of a norm that free training needs."""

    step: Callable[[Tensor], Tensor]
    """The steepest ascent direction of length 1 in the norm."""
    project: Callable[[Tensor, float], Tensor]
    """The nearest point of the ball of a radius."""


@dataclass(frozen=True)
class Free:
    """Settings of the perturbation of images in free training."""

    replay: int  # m
    ball: Ball
    eps_at: Callable[[float], float]  # radius at a fraction of the training


class Moved:
    """The perturbation of free training, which one batch leaves to the next."""

    def __init__(self, free: Free):
        self.free, self.delta = free, None

    def images(self, x: Tensor) -> Tensor:
        """The images x after the perturbation; they will have a gradient."""
        if self.delta is None or len(self.delta) < len(x):
            self.delta = torch.zeros_like(x)
        return (x + self.delta[: len(x)]).clamp_(0, 1).requires_grad_()

    def follow(self, gradient: Tensor, progress: float) -> None:
        """Take a step along the gradient of the images that were trained on."""
        ball, eps, moved = self.free.ball, self.free.eps_at(progress), self.delta[: len(gradient)]
        moved.copy_(ball.project(moved + eps * ball.step(gradient), eps))


def passes(epochs: int, replay: int) -> int:
    """How often every image is drawn; free training draws it as many times fewer as it replays it."""
    return -(-epochs // replay)
