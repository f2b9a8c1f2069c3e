"""Fine-tuning one cell: the head and the last blocks of a source, on one subset of a target, from one seed.

The frozen part maps an image to the same activation in every epoch, run and seed, since its batch norm keeps the source's
statistics and nothing is augmented. So it is computed once (`frozen_activations`), and `finetune` sees activations only.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from stages.lib import images, networks, training

BATCH = 256  # images in one forward pass without gradients; results do not depend on it but for rounding


@dataclass(frozen=True)
class EvaluatedEpoch:
    """One row of `runs.parquet` beside the cell's own columns."""

    epoch: int  # from 1
    test_accuracy: float  # percent
    train_accuracy: float  # percent, over the epoch, while the weights still move
    train_loss: float


@dataclass(frozen=True)
class Inputs:
    """What a cell trains and tests on: activations of the frozen part (float), or images (uint8) where nothing is frozen."""

    train_x: np.ndarray  # [n_train, ...]: of every image that some subset holds
    train_y: np.ndarray  # [n_train]
    test_x: np.ndarray  # [n_test, ...]
    test_y: np.ndarray  # [n_test]


def start(architecture: str, weights: dict[str, Tensor] | None, classes: int, head_init: str, seed: int) -> nn.Sequential:
    """A network as fine-tuning begins: the source's weights (random ones for None) and a new head, drawn from the seed.

    Args:
        head_init: `normal`: weight ~ N(0, 1), bias 0, as in the released code of Utrera et al.; `default`: as torch does.
    """
    torch.manual_seed(seed)
    network = networks.build(architecture, classes, mean=[0.5] * 3, std=[0.25] * 3)
    if weights is not None:
        networks.load(network, {name: w for name, w in weights.items() if not name.startswith("head.")}, but="head.")
    if head_init == "normal":
        nn.init.normal_(network.head.weight)
        nn.init.zeros_(network.head.bias)
    return network


@torch.no_grad()
def frozen_activations(frozen: nn.Sequential, x: np.ndarray) -> Iterator[np.ndarray]:
    """Activations of the frozen part in eval mode, batch by batch: uint8 [n, H, W, C] to float32 [batch, ...]."""
    frozen.eval().to(memory_format=torch.channels_last)
    device = next(frozen.parameters()).device
    for i in range(0, len(x), BATCH):
        yield frozen(_prepare(x[i : i + BATCH], device)).contiguous().cpu().numpy()


def finetune(
    network: nn.Module,
    inputs: Inputs,
    chosen: np.ndarray,  # int64 [n_images]
    *,
    epochs: int,
    eval_every: int,
    batch_size: int,
    lr: float,
    momentum: float,
    weight_decay: float,
    seed: int,
) -> Iterator[EvaluatedEpoch]:
    """Train with SGD, momentum and a learning rate cut to a tenth at 1/3 and 2/3 of the epochs (Utrera et al. 2021, Tables 3, 4).

    Args:
        network: the part that is trained; its batch norm uses batch statistics while it trains.
        inputs: what the network takes.
        chosen: the subset, as rows of `inputs.train_x`.
        seed: of the order of the images.

    Yields:
        the test accuracy after epoch 1, 1 + eval_every, 1 + 2 eval_every, ... and the last.

    Raises:
        FloatingPointError: when the loss is no longer finite.
    """
    device = next(network.parameters()).device
    train_x, train_y = _prepare(inputs.train_x[chosen], device), torch.from_numpy(inputs.train_y[chosen]).to(device)
    optimiser = torch.optim.SGD(network.parameters(), lr=lr, momentum=momentum, weight_decay=weight_decay)
    order = torch.Generator().manual_seed(seed)
    for epoch in range(epochs):
        network.train()
        cuts = sum(epoch >= max(1, third * epochs // 3) for third in (1, 2))  # at epoch 33 and 66 of 100, as in Table 4
        training.set_lr(optimiser, lr * 0.1**cuts)
        total_loss = torch.zeros((), device=device)
        correct = torch.zeros((), device=device)
        for batch in torch.randperm(len(chosen), generator=order).split(batch_size):
            logits = network(train_x[batch])
            loss = nn.functional.cross_entropy(logits, train_y[batch])
            optimiser.zero_grad(set_to_none=True)
            loss.backward()
            optimiser.step()
            total_loss += loss.detach() * len(batch)
            correct += (logits.argmax(1) == train_y[batch]).sum()
        if not torch.isfinite(total_loss):
            raise FloatingPointError(f"the loss is {total_loss.item()} in epoch {epoch + 1}")
        if epoch % eval_every == 0 or epoch + 1 == epochs:
            test_accuracy = accuracy(network, inputs.test_x, inputs.test_y)
            n = len(chosen)
            yield EvaluatedEpoch(epoch + 1, test_accuracy, (100 * correct / n).item(), (total_loss / n).item())


@torch.no_grad()
def accuracy(network: nn.Module, x: np.ndarray, y: np.ndarray) -> float:
    """Percent of the images (or activations) that the network in eval mode labels correctly."""
    network.eval()
    device = next(network.parameters()).device
    correct = 0
    for i in range(0, len(x), BATCH):
        predicted = network(_prepare(x[i : i + BATCH], device)).argmax(1).cpu()
        correct += (predicted == torch.from_numpy(y[i : i + BATCH])).sum().item()
    return 100 * correct / len(x)


def _prepare(x: np.ndarray, device: torch.device) -> Tensor:
    """Images in [0, 1] from uint8; activations as they are."""
    return images.prepare(x, device) if x.dtype == np.uint8 else torch.from_numpy(np.array(x)).to(device)
