"""Training a whole network on images that lie in memory as uint8, with or without an adversary.

Knows no attack: the adversary comes as a function. What is to be kept is handed to `after_epoch`.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from stages.lib import images

PerturbAt = Callable[[float], Callable[[nn.Module, Tensor, Tensor], Tensor]]


@dataclass(frozen=True)
class Epoch:
    """What an epoch of training ends with; accuracy and loss are of the (perturbed) images trained on."""

    number: int  # from 1
    loss: float
    train_accuracy: float  # percent


def best_device() -> torch.device:
    """A GPU where there is one."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def train(
    network: nn.Module,
    x: Tensor,  # uint8 [n, H, W, 1 or 3]
    y: Tensor,  # int64 [n]
    *,
    epochs: int,
    batch_size: int,
    lr: float,
    momentum: float,
    weight_decay: float,
    warmup: float,
    seed: int,
    perturb_at: PerturbAt | None = None,
    start_from: dict | None = None,
    after_epoch: Callable[[Epoch, dict], None] = lambda epoch, state: None,
) -> None:
    """Minimise the cross-entropy of perturbed images with SGD under a one-cycle schedule (Utrera et al. 2021, eq. 2).

    Args:
        warmup: fraction of the steps in which the learning rate rises linearly from 0; it then falls linearly to 0.
        seed: order of the images and randomness of the attack; each epoch draws from its own stream (seed, epoch), so
            that a run that goes on from a kept state ends with the same weights.
        perturb_at: gives the attack at a fraction of the training in [0, 1); None trains on the images as they are.
        start_from: a state that `after_epoch` was given.
        after_epoch: called with what the epoch ended with and the state to go on from.

    Raises:
        FloatingPointError: when the loss is no longer finite.
    """
    device = next(network.parameters()).device
    network.to(memory_format=torch.channels_last)
    optimiser = torch.optim.SGD(network.parameters(), lr=lr, momentum=momentum, weight_decay=weight_decay, nesterov=momentum > 0)
    first = 0
    if start_from is not None:
        network.load_state_dict(start_from["network"])
        optimiser.load_state_dict(start_from["optimiser"])
        first = start_from["epoch"]
    steps_per_epoch = -(-len(x) // batch_size)
    for epoch in range(first, epochs):
        network.train()
        torch.manual_seed((seed << 16) + epoch)
        total_loss = torch.zeros((), device=device)
        correct = torch.zeros((), device=device)
        for i, batch in enumerate(_shuffled(len(x), batch_size)):
            progress = (epoch * steps_per_epoch + i) / (epochs * steps_per_epoch)
            set_lr(optimiser, lr * one_cycle(progress, warmup))
            xb, yb = images.prepare(x[batch], device), y[batch].to(device)
            if perturb_at is not None:
                xb = perturb_at(progress)(network, xb, yb)
            logits = network(xb)
            loss = nn.functional.cross_entropy(logits, yb)
            optimiser.zero_grad(set_to_none=True)
            loss.backward()
            optimiser.step()
            total_loss += loss.detach() * len(yb)
            correct += (logits.argmax(1) == yb).sum()
        done = Epoch(epoch + 1, (total_loss / len(x)).item(), (100 * correct / len(x)).item())
        if not torch.isfinite(total_loss):
            raise FloatingPointError(f"the loss is {done.loss} in epoch {done.number}: try a smaller learning rate than {lr}")
        after_epoch(done, {"network": network.state_dict(), "optimiser": optimiser.state_dict(), "epoch": done.number})
    network.eval()


def one_cycle(progress: float, warmup: float) -> float:
    """Factor of the learning rate at a fraction of the training: linear from 0 to 1 over `warmup`, then linear to 0."""
    return progress / warmup if progress < warmup else (1 - progress) / (1 - warmup)


def set_lr(optimiser: torch.optim.Optimizer, lr: float) -> None:
    for group in optimiser.param_groups:
        group["lr"] = lr


def _shuffled(n: int, batch_size: int) -> Iterator[Tensor]:
    yield from torch.randperm(n).split(batch_size)
