"""Stochastic gradient descent, and the batches that it steps on; the same for all trainings of the project."""

from collections.abc import Iterable, Iterator, Sequence

import torch
from torch import Tensor, nn
from torch.optim.sgd import sgd  # the function: the class imports a compiler, which takes two seconds


class Sgd:
    """Steps with momentum and weight decay, as `torch.optim.SGD` takes them.

    Args:
        weights: those that are trained.
        nesterov: whether the gradient is looked at where the momentum leads.
    """

    def __init__(self, weights: Iterable[nn.Parameter], momentum: float, weight_decay: float, nesterov: bool = False):
        self.weights = list(weights)
        self.velocities: list[Tensor | None] = [None] * len(self.weights)
        self.constants = {"momentum": momentum, "weight_decay": weight_decay, "dampening": 0.0, "nesterov": nesterov, "maximize": False}

    def step(self, gradients: Sequence[Tensor], lr: float) -> None:
        """A step of all weights down their gradients."""
        with torch.no_grad():
            sgd(self.weights, list(gradients), self.velocities, foreach=True, lr=lr, **self.constants)

    def gradients(self) -> list[Tensor]:
        """The gradients that the last backward pass left at the weights; they are taken away, so that the next pass begins anew."""
        gradients = [weight.grad for weight in self.weights]
        for weight in self.weights:
            weight.grad = None
        return gradients

    def go_on_from(self, velocities: Sequence[Tensor | None]) -> None:
        """Take up the velocities of a training that was interrupted."""
        pairs = zip(velocities, self.weights, strict=True)
        self.velocities = [None if velocity is None else velocity.to(weight.device) for velocity, weight in pairs]


def batches(order: Tensor, size: int, least: int = 1) -> list[Tensor]:
    """An order of images, or several orders at once ([..., n]), cut into batches.

    Args:
        least: images of a batch; a last one with fewer joins the batch before it.
    """
    cut = list(order.split(size, -1))
    return [*cut[:-2], torch.cat(cut[-2:], -1)] if len(cut) > 1 and cut[-1].shape[-1] < least else cut


def endless_batches(n: int, size: int, seed: int) -> Iterator[Tensor]:
    """Batches of all n images in a new order, again and again; a last one that is not full is left out, if it is not the only one."""
    generator = torch.Generator().manual_seed(seed)
    while True:
        order = torch.randperm(n, generator=generator)
        yield from order[: n - n % size].split(size) if n >= size else [order]
