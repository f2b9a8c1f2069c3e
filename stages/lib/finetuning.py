"""Fine-tuning one cell: the head and the last blocks of a source, on one subset of a target, from one seed.

Where the frozen part keeps the source's batch norm statistics and nothing is augmented, it maps an image to the same
activation in every epoch, run and seed. Then the grid computes it once for all runs, and `finetune` sees activations;
otherwise `finetune` sees images, and takes the frozen part along. The loop is the same. What stays the same within one run
alone, such as activations under statistics that were adapted to its subset, is computed once for that run.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from stages.lib import augmentation, images, networks, training

BATCH = 256  # images in one forward pass without gradients; results do not depend on it but for rounding
HELD_BYTES = {"cpu": 1 << 30, "cuda": 4 << 30}  # of a run's images or activations that are held; of more, batches are read or computed


@dataclass(frozen=True)
class View:
    """How the network sees the images of the target."""

    size: int | None = None  # pixels a side; None: as they are stored
    resolution: int | None = None  # to which they are reduced first
    augmented: bool = False  # while training


@dataclass(frozen=True)
class EvaluatedEpoch:
    """One row of `runs.parquet` beside the cell's own columns."""

    epoch: int  # from 1
    test_accuracy: float  # percent
    train_accuracy: float  # percent, over the epoch, while the weights still move
    train_loss: float


@dataclass(frozen=True)
class Inputs:
    """What a cell trains and tests on: images (uint8), or activations of the frozen part (float)."""

    train_x: np.ndarray  # [n_train, ...]
    train_y: np.ndarray  # [n_train]
    test_x: np.ndarray  # [n_test, ...]
    test_y: np.ndarray  # [n_test]


class Model:
    """A network cut into a frozen and a trained part, which takes images or activations."""

    def __init__(self, frozen: nn.Module, trained: nn.Module, view: View):
        self.frozen, self.trained, self.view = frozen, trained, view
        self.device = next(trained.parameters()).device

    def train(self, frozen: bool) -> None:
        """`frozen`: whether the frozen part, too, normalises with the statistics of each batch."""
        self.trained.train()
        self.frozen.train(frozen)

    def eval(self) -> None:
        self.trained.eval()
        self.frozen.eval()

    def __call__(self, x: np.ndarray | Tensor, drawn: augmentation.Drawn | None = None) -> Tensor:
        """Logits [batch, classes]; `drawn`: what the augmentation does to each image."""
        if x.dtype not in (np.uint8, torch.uint8):
            return self.trained(torch.as_tensor(np.array(x) if isinstance(x, np.ndarray) else x, device=self.device))
        with torch.no_grad():
            batch = images.prepare(x, self.device, self.view.size, self.view.resolution)
            batch = self.frozen(batch if drawn is None else augmentation.apply(batch, drawn))
        return self.trained(batch)


def start(
    architecture: str,
    weights: dict[str, Tensor] | None,
    classes: int,
    head_init: str,
    seed: int,
    moments: tuple[list[float], list[float]] | None = None,
) -> nn.Sequential:
    """A network as fine-tuning begins: the source's weights (random ones for None) and a new head, drawn from the seed.

    Args:
        head_init: `normal`: weight ~ N(0, 1), bias 0, as in the released code of Utrera et al.; `default`: as torch does.
        moments: mean and std per channel that images are normalised with instead of the source's.
    """
    torch.manual_seed(seed)
    network = networks.build(architecture, classes, mean=[0.5] * 3, std=[0.25] * 3)
    if weights is not None:
        networks.load(network, {name: w for name, w in weights.items() if not name.startswith("head.")}, but="head.")
    if moments is not None:
        network.normalise = networks.Normalise(*moments)
    if head_init == "normal":
        nn.init.normal_(network.head.weight)
        nn.init.zeros_(network.head.bias)
    return network


@torch.no_grad()
def frozen_activations(
    frozen: nn.Module,
    x: np.ndarray,  # uint8 [n, H, W, C]
    view: View = View(),
    rows: np.ndarray | None = None,  # of x, in any order; None: all
) -> Iterator[np.ndarray]:
    """Activations of the frozen part in eval mode, float32 [batch, ...], batch by batch: x may be larger than memory."""
    frozen.eval().to(memory_format=torch.channels_last)
    device = networks.device_of(frozen)
    rows = np.arange(len(x)) if rows is None else rows
    for i in range(0, len(rows), BATCH):
        yield frozen(images.prepare(x[rows[i : i + BATCH]], device, view.size, view.resolution)).contiguous().cpu().numpy()


def activation_shape(frozen: nn.Module, x: np.ndarray, view: View) -> tuple[int, ...]:
    """Of one image; an activation is float32."""
    return next(frozen_activations(frozen, x[:1], view)).shape[1:]


@torch.no_grad()
def adapt(frozen: nn.Module, x: np.ndarray, rows: np.ndarray, view: View, batch_size: int) -> None:
    """Replace the statistics of the frozen part's batch norm by those of some rows of x (uint8 [n, H, W, C]), not augmented.

    One pass, in which every layer sees what the layers before it make of a batch; the mean over batches is kept.
    """
    norms = [module for module in frozen.eval().modules() if isinstance(module, nn.BatchNorm2d)]
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # torch's way to say: the mean of all batches
        norm.train()
    device = networks.device_of(frozen)
    for batch in batches(torch.from_numpy(rows), batch_size):
        frozen(images.prepare(x[batch.numpy()], device, view.size, view.resolution))
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum
        norm.eval()


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
    view: View = View(),
    frozen: nn.Module | None = None,
    frozen_batchnorm: str = "source",
) -> Iterator[EvaluatedEpoch]:
    """Train with SGD, momentum and a learning rate cut to a tenth at 1/3 and 2/3 of the epochs (Utrera et al. 2021, Tables 3, 4).

    Args:
        network: the part that is trained; its batch norm uses batch statistics while it trains.
        inputs: images, or activations of the frozen part.
        chosen: the subset, as rows of `inputs.train_x`.
        seed: of the order of the images, their augmentation, and dropout.
        frozen: what images go through before `network`, without gradients; nothing for None.
        frozen_batchnorm: `source` keeps the statistics of the frozen part; `adapted` estimates them on the subset before the first
            epoch; `batch` normalises with each training batch's own and averages these for the test, as the released code does.

    Yields:
        the test accuracy after epoch 1, 1 + eval_every, 1 + 2 eval_every, ... and the last.

    Raises:
        FloatingPointError: when the loss is no longer finite.
    """
    torch.manual_seed(seed)  # of dropout
    model = Model(frozen or nn.Identity(), network, view)
    device, n = model.device, len(chosen)
    if frozen_batchnorm == "adapted":
        adapt(model.frozen, inputs.train_x, chosen, view, batch_size)
    train_x, rows, test_x = inputs.train_x, chosen, inputs.test_x
    if frozen is not None and frozen_batchnorm != "batch":  # then the frozen part stays as it is from here on
        test_x, _ = settled(model, test_x, np.arange(len(test_x)))
        train_x, rows = (train_x, rows) if view.augmented else settled(model, train_x, rows)
    train_x, train_y = Rows(train_x, rows, device), torch.from_numpy(inputs.train_y[chosen]).to(device)
    optimiser = torch.optim.SGD(network.parameters(), lr=lr, momentum=momentum, weight_decay=weight_decay)
    order = torch.Generator().manual_seed(seed)
    for epoch in range(epochs):
        model.train(frozen=frozen_batchnorm == "batch")
        cuts = sum(epoch >= max(1, third * epochs // 3) for third in (1, 2))  # at epoch 33 and 66 of 100, as in Table 4
        training.set_lr(optimiser, lr * 0.1**cuts)
        drawn = augmentation.draw(n, seed, epoch) if view.augmented else None
        total_loss = torch.zeros((), device=device)
        correct = torch.zeros((), device=device)
        for batch in batches(torch.randperm(n, generator=order), batch_size):
            logits = model(train_x[batch], drawn and drawn[batch])
            loss = nn.functional.cross_entropy(logits, train_y[batch])
            optimiser.zero_grad(set_to_none=True)
            loss.backward()
            optimiser.step()
            total_loss += loss.detach() * len(batch)
            correct += (logits.argmax(1) == train_y[batch]).sum()
        if not torch.isfinite(total_loss):
            raise FloatingPointError(f"the loss is {total_loss.item()} in epoch {epoch + 1}")
        if epoch % eval_every == 0 or epoch + 1 == epochs:
            test_accuracy = accuracy(model, test_x, inputs.test_y)
            yield EvaluatedEpoch(epoch + 1, test_accuracy, (100 * correct / n).item(), (total_loss / n).item())


class Rows:
    """Some rows of an array, held on the device where they find room, else read from the array as they are asked for."""

    def __init__(self, x: np.ndarray, rows: np.ndarray, device: torch.device):
        self.x, self.rows = x, rows
        if x.nbytes // len(x) * len(rows) <= HELD_BYTES[device.type]:
            self.x, self.rows = torch.from_numpy(x[rows]).to(device), None

    def __getitem__(self, batch: Tensor) -> np.ndarray | Tensor:  # int64 [batch], counted in `rows`
        return self.x[batch] if self.rows is None else self.x[self.rows[batch.numpy()]]


def settled(model: Model, x: np.ndarray, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """What the frozen part makes of some rows of x, and their place in it; x and the rows where these are no images, or too many."""
    if x.dtype != np.uint8 or 4 * math.prod(activation_shape(model.frozen, x, model.view)) * len(rows) > HELD_BYTES[model.device.type]:
        return x, rows
    return np.concatenate(list(frozen_activations(model.frozen, x, model.view, rows))), np.arange(len(rows))


def batches(order: Tensor, batch_size: int) -> list[Tensor]:
    """The order in parts of `batch_size`; a last part of one image joins the one before, as batch norm needs two values."""
    parts = list(order.split(batch_size))
    return [*parts[:-2], torch.cat(parts[-2:])] if len(parts) > 1 and len(parts[-1]) == 1 else parts


@torch.no_grad()
def accuracy(model: Model, x: np.ndarray, y: np.ndarray) -> float:
    """Percent of the images (or activations) that the model in eval mode labels correctly."""
    model.eval()
    correct = 0
    for i in range(0, len(x), BATCH):
        predicted = model(x[i : i + BATCH]).argmax(1).cpu()
        correct += (predicted == torch.from_numpy(y[i : i + BATCH])).sum().item()
    return 100 * correct / len(x)
