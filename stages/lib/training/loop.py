"""Training a whole network on images that lie in memory or in a memory map as uint8, with or without an adversary.

Knows no attack: the adversary comes as a function. What is to be kept is handed to `after_epoch`. Several processes, each
with its part of every batch, train as one would with the whole (`parallel`).
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from torch import Tensor, nn

from stages.lib.datasets import cropping, pixels
from stages.lib.training import parallel

PerturbAt = Callable[[float], Callable[[nn.Module, Tensor, Tensor], Tensor]]


@dataclass(frozen=True)
class Free:
    """Adversarial training at the price of natural training (Shafahi et al. 2019b, Algorithm 1).

    A batch is trained on `replay` times. The backward pass of each time gives the gradient of the images as well, along which the
    perturbation takes a step as long as the radius; it goes on from one batch to the next, and begins at zero in each epoch.
    """

    replay: int  # m
    ball: "Ball"
    eps_at: Callable[[float], float]  # radius at a fraction of the training


class Ball(Protocol):
    """A norm, as `norms.norm.Norm` describes it."""

    step: Callable[[Tensor], Tensor]
    project: Callable[[Tensor, float], Tensor]


@dataclass(frozen=True)
class Epoch:
    """What an epoch of training ends with; accuracy and loss are of the (perturbed) images trained on."""

    number: int  # from 1
    loss: float
    train_accuracy: float  # percent


def precision(device: torch.device, mixed: bool) -> torch.dtype | None:
    """What matrices are multiplied in, where not in float32: bfloat16 on a GPU that has it."""
    return torch.bfloat16 if mixed and device.type == "cuda" and torch.cuda.is_bf16_supported() else None


def train(
    network: nn.Module,
    x: Tensor | np.ndarray,  # uint8 [n, H, W, 1 or 3]
    y: Tensor,  # int64 [n]
    *,
    epochs: int,
    batch_size: int,
    lr: float,
    momentum: float,
    weight_decay: float,
    schedule: Callable[[float], float],
    seed: int,
    image_size: int | None = None,
    augmentation: str = "none",
    lower_precision: torch.dtype | None = None,
    perturb_at: PerturbAt | None = None,
    free: Free | None = None,
    start_from: dict | None = None,
    after_epoch: Callable[[Epoch, dict], None] = lambda epoch, state: None,
) -> None:
    """Minimise the cross-entropy of perturbed images with SGD (Utrera et al. 2021, eq. 2).

    Args:
        batch_size: of all processes together.
        schedule: factor of the learning rate at a fraction of the training in [0, 1).
        seed: order of the images, their crops and randomness of the attack; each epoch draws from its own stream (seed, epoch),
            so that a run that goes on from a kept state ends with the same weights. Of several processes each has noise and
            dropout of its own.
        image_size: pixels a side that the network takes; None: as the images are.
        augmentation: random parts of the images that are trained on, a kind of `cropping.draw`.
        lower_precision: of autocast, in attack and step; None: float32 throughout.
        perturb_at: gives the attack at a fraction of the training in [0, 1); None trains on the images as they are.
        free: replays each batch instead, in as many epochs fewer, so that the number of steps is the same.
        start_from: a state that `after_epoch` was given.
        after_epoch: called with what the epoch ended with and the state to go on from, in the first process.

    Raises:
        FloatingPointError: when the loss is no longer finite.
    """
    device = next(network.parameters()).device
    network.to(memory_format=torch.channels_last)
    if start_from is not None:
        network.load_state_dict(start_from["network"])
    network, learner = parallel.share(network)
    optimiser = torch.optim.SGD(network.parameters(), lr=lr, momentum=momentum, weight_decay=weight_decay, nesterov=momentum > 0)
    first = 0
    if start_from is not None:
        optimiser.load_state_dict(start_from["optimiser"])
        first = start_from["epoch"]
    epochs, replays, steps_per_epoch = passes(epochs, free), free.replay if free else 1, -(-len(x) // batch_size)
    for epoch in range(first, epochs):
        network.train()
        moved = Moved(free) if free else None
        torch.manual_seed((seed << 16) + epoch)
        batches = _shuffled(len(x), batch_size)
        if parallel.rank():
            torch.manual_seed((seed << 16) + epoch + (parallel.rank() << 48))
        crops = cropping.draw(augmentation, len(x), seed, epoch)
        total_loss = torch.zeros((), device=device)
        correct = torch.zeros((), device=device)
        for i, batch in enumerate(batches):
            own = parallel.own_part(batch)
            clean = pixels.prepare(x[own if isinstance(x, Tensor) else own.numpy()], device, image_size)
            clean, yb = clean if crops is None else crops[own].apply(clean), y[own].to(device)
            for again in range(replays):
                progress = (epoch * steps_per_epoch + i + again / replays) / (epochs * steps_per_epoch)
                set_lr(optimiser, lr * schedule(progress))
                xb = moved.images(clean) if moved else clean
                with torch.autocast(device.type, lower_precision, enabled=lower_precision is not None):
                    if perturb_at is not None:
                        xb = perturb_at(progress)(network, xb, yb)
                    logits = learner(xb)
                    loss = nn.functional.cross_entropy(logits, yb, reduction="sum") / len(batch)
                optimiser.zero_grad(set_to_none=True)
                (loss * parallel.processes()).backward()  # as the gradients of all processes are averaged
                optimiser.step()
                if moved:
                    moved.follow(xb.grad, progress)
                total_loss += loss.detach() * len(batch)
                correct += (logits.argmax(1) == yb).sum()
        parallel.add_up(total_loss, correct)
        done = Epoch(epoch + 1, (total_loss / (replays * len(x))).item(), (100 * correct / (replays * len(x))).item())
        if not torch.isfinite(total_loss):
            raise FloatingPointError(f"the loss is {done.loss} in epoch {done.number}: try a smaller learning rate than {lr}")
        if parallel.is_first():
            after_epoch(done, {"network": network.state_dict(), "optimiser": optimiser.state_dict(), "epoch": done.number})
    network.eval()


def passes(epochs: int, free: Free | None) -> int:
    """How often every image is drawn: in free training as often fewer as it is replayed."""
    return -(-epochs // free.replay) if free else epochs


class Moved:
    """The perturbation of free training, which one batch leaves to the next."""

    def __init__(self, free: Free):
        self.free, self.delta = free, None

    def images(self, x: Tensor) -> Tensor:
        """x, moved; with a gradient to come."""
        if self.delta is None or len(self.delta) < len(x):
            self.delta = torch.zeros_like(x)
        return (x + self.delta[: len(x)]).clamp_(0, 1).requires_grad_()

    def follow(self, gradient: Tensor, progress: float) -> None:
        """A step along the gradient of the images that were trained on."""
        ball, eps, moved = self.free.ball, self.free.eps_at(progress), self.delta[: len(gradient)]
        moved.copy_(ball.project(moved + eps * ball.step(gradient), eps))


def one_cycle(progress: float, warmup: float) -> float:
    """Factor of the learning rate at a fraction of the training: linear from 0 to 1 over `warmup`, then linear to 0."""
    return progress / warmup if progress < warmup else (1 - progress) / (1 - warmup)


def stepwise(progress: float, decays: int) -> float:
    """Factor of the learning rate at a fraction of the training: a tenth after each of `decays` equal distances."""
    return 0.1 ** int(progress * (decays + 1))


def at_drops(progress: float, drops: list[float]) -> float:
    """Factor of the learning rate at a fraction of the training: a tenth after each of these fractions."""
    return 0.1 ** sum(progress >= drop for drop in drops)


def set_lr(optimiser: torch.optim.Optimizer, lr: float) -> None:
    for group in optimiser.param_groups:
        group["lr"] = lr


def _shuffled(n: int, batch_size: int) -> list[Tensor]:
    """Batches of an epoch; of a last one with fewer images than processes nothing is left out, it joins the one before."""
    parts = list(torch.randperm(n).split(batch_size))
    if len(parts) > 1 and len(parts[-1]) < parallel.processes():
        parts[-2:] = [torch.cat(parts[-2:])]
    return parts
