"""Training a whole network on images that lie in memory or in a memory map as uint8, with or without an adversary.

Knows no attack: the adversary comes as a function. What is to be kept is handed to `after_epoch`. Several processes, each
with its part of every batch, train as one would with the whole (`parallel`).
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from stages.lib.datasets import cropping
from stages.lib.datasets.whole import Whole
from stages.lib.training import ahead, parallel
from stages.lib.training.free import Free, Moved, passes
from stages.lib.training.sgd import Sgd, batches

PerturbAt = Callable[[float], Callable[[nn.Module, Tensor, Tensor], Tensor]]


@dataclass(frozen=True)
class Epoch:
    """The results of one epoch of training; accuracy and loss are of the (perturbed) images trained on."""

    number: int  # from 1
    loss: float
    train_accuracy: float  # percent


def train(
    network: nn.Module,
    x: Tensor | np.ndarray | Whole,  # uint8 [n, H, W, 1 or 3]
    y: Tensor,  # int64 [n]
    *,
    epochs: int,
    batch_size: int,
    lr: float,
    momentum: float,
    weight_decay: float,
    schedule: Callable[[float], float],
    seed: int,
    nesterov: bool = False,
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
        nesterov: whether the momentum is Nesterov's; else it is plain, as in Utrera et al. (A.10) and Madry et al. (2018).
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
    steps, first = Steps(network, lr, momentum, nesterov, weight_decay, schedule, lower_precision, perturb_at, free), 0
    network = steps.network
    if start_from is not None:
        steps.go_on_from(start_from)
        first = start_from["epoch"]
    replays, steps_per_epoch = free.replay if free else 1, -(-len(x) // batch_size)
    epochs = passes(epochs, replays)
    for epoch in range(first, epochs):
        network.train()
        total_loss, correct = torch.zeros((), device=device), torch.zeros((), device=device)
        of_epoch = own_batches(x, y, batch_size, seed=seed, epoch=epoch, augmentation=augmentation, image_size=image_size, device=device)
        for i, (clean, labels, n) in enumerate(of_epoch):
            for again in range(replays):
                progress = (epoch * steps_per_epoch + i + again / replays) / (epochs * steps_per_epoch)
                loss, right = steps.take(clean, labels, n, progress)
                total_loss += loss
                correct += right
        parallel.add_up(total_loss, correct)
        done = Epoch(epoch + 1, (total_loss / (replays * len(x))).item(), (100 * correct / (replays * len(x))).item())
        if not torch.isfinite(total_loss):
            raise FloatingPointError(f"the loss is {done.loss} in epoch {done.number}: try a smaller learning rate than {lr}")
        state = steps.state()
        if parallel.is_first():
            after_epoch(done, state | {"epoch": done.number})
    network.eval()


def own_batches(
    x: Tensor | np.ndarray | Whole, y: Tensor, batch_size: int, *, seed: int, epoch: int, augmentation: str, image_size: int | None,
    device: torch.device,
) -> Iterator[tuple[Tensor, Tensor, int]]:  # fmt: skip
    """This process's part of each batch of an epoch: images as the network takes them, their labels, and images in the whole batch.

    The state of torch's random numbers, from which an attack draws, then follows from the seed, the epoch and the process.
    """
    torch.manual_seed((seed << 16) + epoch)
    drawn = batches(torch.randperm(len(x)), batch_size, least=parallel.processes())
    if parallel.rank():
        torch.manual_seed((seed << 16) + epoch + (parallel.rank() << 48))
    crops = cropping.draw(augmentation, len(x), seed, epoch)

    def prepared(batch: Tensor) -> tuple[Tensor, Tensor, int]:
        mine = parallel.own_part(batch)
        return cropping.prepare(cropping.stored(x, mine), device, image_size, crops and crops[mine]), y[mine].to(device), len(batch)

    yield from ahead.mapped(prepared, drawn, ahead.threads_for(device))


class Steps:
    """Steps of a training, each on a batch of images that are perturbed first; arguments as those of `train`."""

    def __init__(
        self, network: nn.Module, lr: float, momentum: float, nesterov: bool, weight_decay: float, schedule: Callable[[float], float],
        lower_precision: torch.dtype | None, perturb_at: PerturbAt | None, free: Free | None,
    ):  # fmt: skip
        self.network, self.wrapper = parallel.share(network)
        self.sgd = Sgd(self.network.parameters(), momentum, weight_decay, nesterov)
        self.lr, self.schedule, self.lower_precision = lr, schedule, lower_precision
        self.perturb_at, self.moved = perturb_at, Moved(free) if free else None

    def state(self) -> dict:
        """All that the next steps depend on; several processes have to ask for it together."""
        perturbation = self.moved.whole() if self.moved else None
        return {"network": self.network.state_dict(), "velocities": self.sgd.velocities, "perturbation": perturbation}

    def go_on_from(self, state: dict) -> None:
        """Take up the velocities and the perturbation of a training that was interrupted; the network has its weights already."""
        self.sgd.go_on_from(state["velocities"])
        if self.moved:
            self.moved.delta = state["perturbation"]

    def take(self, clean: Tensor, y: Tensor, n: int, progress: float) -> tuple[Tensor, Tensor]:
        """Take one training step; returns the sum of the losses, and the number of images that were labelled correctly.

        Args:
            clean: this process's part of a batch, float [batch, 3, size, size] in [0, 1]; y: its labels.
            n: images in the whole batch.
            progress: fraction of the training in [0, 1).
        """
        x = self.moved.images(clean, n) if self.moved else clean
        with torch.autocast(x.device.type, self.lower_precision, enabled=self.lower_precision is not None):
            if self.perturb_at is not None:
                x = self.perturb_at(progress)(self.network, x, y)
            logits = self.wrapper(x)
            loss = nn.functional.cross_entropy(logits, y, reduction="sum") / n
        (loss * parallel.processes()).backward()  # as the gradients of all processes are averaged, which needs a backward pass
        self.sgd.step(self.sgd.gradients(), self.lr * self.schedule(progress))
        if self.moved:
            self.moved.follow(x.grad, progress)
        return loss.detach() * n, (logits.argmax(1) == y).sum()
