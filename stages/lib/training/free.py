"""Free adversarial training: adversarial training at the price of natural training (Shafahi et al. 2019b, Algorithm 1).

A batch is trained on `replay` times. The backward pass of each time gives the gradient of the images as well, along which the
perturbation takes a step as long as the radius. The perturbation begins at zero once, and goes on from one batch to the next and from one
epoch to the next.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from stages.lib.training import parallel


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
    """The perturbation of free training, which one batch leaves to the next: one for each place in a batch.

    Of several processes each moves the places of its own part of the batch, and all exchange them when the batches change their size.
    """

    def __init__(self, free: Free, delta: Tensor | None = None):
        """A perturbation of zero, or one that an interrupted training has left (`whole`)."""
        self.free, self.delta, self.own, self.n = free, delta, None, 0  # delta: [places, 3, size, size]; n: places of the last batch

    def images(self, x: Tensor, n: int) -> Tensor:
        """The images after the perturbation; they will have a gradient. x: this process's part of a batch of n images."""
        if n != self.n:
            delta = x[:0] if self.delta is None else self.whole().to(x)
            new = x.new_zeros(max(0, n - len(delta)), *x.shape[1:])
            self.delta, self.n = torch.cat([delta, new]).contiguous(memory_format=torch.channels_last), n
            self.own = parallel.own_part(self.delta[:n])
        return (x + self.own).clamp_(0, 1).requires_grad_()

    def follow(self, gradient: Tensor, progress: float) -> None:
        """Take a step along the gradient of the images that were trained on."""
        ball, eps = self.free.ball, self.free.eps_at(progress)
        self.own.copy_(ball.project(self.own + eps * ball.step(gradient), eps))

    def whole(self) -> Tensor:
        """The perturbation at every place, the same in all processes, which have to ask for it together."""
        if self.own is not None and parallel.processes() > 1:
            moved = torch.zeros_like(self.delta[: self.n])
            parallel.own_part(moved).copy_(self.own)
            parallel.add_up(moved)
            self.delta[: self.n] = moved
        return self.delta


def passes(epochs: int, replay: int) -> int:
    """How often every image is drawn; free training draws it as many times fewer as it replays it."""
    return -(-epochs // replay)
