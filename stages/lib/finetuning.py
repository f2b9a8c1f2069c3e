"""Fine-tuning: the head and the last blocks of a source, on one subset of a target, from one seed; or several such runs at once.

Where the frozen part keeps the source's batch norm statistics and nothing is augmented, it maps an image to the same
activation in every epoch, run and seed. Then the grid computes it once for all runs, and `finetune` sees activations;
otherwise `finetune` sees images, and takes the frozen part along. The loop is the same. What stays the same within one run
alone, such as activations under statistics that were adapted to its subset, is computed once for that run.

Runs on as many images that differ in subset and seed alone can be trained together, as one network with the channels of
all (`stacking`): each goes its own way, and a small network costs a processor less in company.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor, nn
from torch.optim.sgd import sgd  # the function: the class imports a compiler, which takes two seconds

from stages.lib import augmentation, images, networks, stacking

T = TypeVar("T")
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
class Run:
    """What differs between runs that are trained together."""

    network: nn.Module  # the part that is trained; its batch norm uses batch statistics while it trains
    chosen: np.ndarray  # int64 [n_images], the subset, as rows of `Inputs.train_x`
    seed: int  # of the order of the images, their augmentation, and dropout
    frozen: nn.Module | None = None  # what images go through before `network`, without gradients; nothing for None


@dataclass(frozen=True)
class Inputs:
    """What runs train and test on: images (uint8 NHWC), or activations of the frozen part (float32; NHWC where they have pixels)."""

    train_x: np.ndarray  # [n_train, ...]
    train_y: np.ndarray  # [n_train]
    test_x: np.ndarray  # [n_test, ...]
    test_y: np.ndarray  # [n_test]


class Model:
    """A network cut into a frozen and a trained part, which takes images or activations."""

    def __init__(self, frozen: nn.Module | None, trained: nn.Module, view: View):
        self.frozen, self.trained, self.view = frozen or nn.Identity(), trained, view
        self.device = networks.device_of(trained)

    def eval(self) -> None:
        self.trained.eval()
        self.frozen.eval()

    def features(self, x: np.ndarray | Tensor, drawn: augmentation.Drawn | None = None) -> Tensor:
        """What the trained part takes, [batch, C, ...] with channels last in memory; `drawn`: what happens to each image first."""
        if x.dtype not in (np.uint8, torch.uint8):
            return unpacked(torch.as_tensor(np.array(x) if isinstance(x, np.ndarray) else x, device=self.device))
        with torch.no_grad():
            batch = images.prepare(x, self.device, self.view.size, self.view.resolution)
            return self.frozen(batch if drawn is None else augmentation.apply(batch, drawn))

    def __call__(self, x: np.ndarray | Tensor) -> Tensor:
        """Logits [batch, classes]."""
        return self.trained(self.features(x))


def packed(activations: Tensor) -> Tensor:
    """As activations are kept: where they have pixels, [batch, H, W, C]."""
    return activations.movedim(1, -1).contiguous()


def unpacked(activations: Tensor) -> Tensor:
    """As a network takes them: [batch, C, H, W], channels last in memory, or [batch, C]."""
    return activations.movedim(-1, 1)


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
    """Activations of the frozen part in eval mode, float32 [batch, ..., C], batch by batch: x may be larger than memory."""
    frozen.eval().to(memory_format=torch.channels_last)
    device = networks.device_of(frozen)
    rows = np.arange(len(x)) if rows is None else rows

    def activations(part: slice) -> np.ndarray:
        return packed(frozen(images.prepare(x[rows[part]], device, view.size, view.resolution))).cpu().numpy()

    yield from in_parts(activations, len(rows))


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
    network: nn.Module, inputs: Inputs, chosen: np.ndarray, *, seed: int, frozen: nn.Module | None = None, **settings
) -> Iterator[EvaluatedEpoch]:
    """One run alone (`Run`), with the settings of `finetune_together`.

    Raises:
        FloatingPointError: when the loss is no longer finite.
    """
    for (row,) in finetune_together([Run(network, chosen, seed, frozen)], inputs, **settings):
        if isinstance(row, FloatingPointError):
            raise row
        yield row


def finetune_together(
    runs: Sequence[Run],
    inputs: Inputs,
    *,
    epochs: int,
    eval_every: int,
    batch_size: int,
    lr: float,
    momentum: float,
    weight_decay: float,
    view: View = View(),
    frozen_batchnorm: str = "source",
) -> Iterator[list[EvaluatedEpoch | FloatingPointError]]:
    """Train with SGD, momentum and a learning rate cut to a tenth at 1/3 and 2/3 of the epochs (Utrera et al. 2021, Tables 3, 4).

    Args:
        runs: with subsets of one size; of several, the networks can be stacked (`stacking.stack`).
        inputs: images, or activations of the frozen part.
        frozen_batchnorm: `source` keeps the statistics of the frozen part; `adapted` estimates them on the subset before the first
            epoch; `batch` normalises with each training batch's own and averages these for the test, as the released code does.

    Yields:
        for each run the test accuracy after epoch 1, 1 + eval_every, 1 + 2 eval_every, ... and the last; for a run whose loss was
        not finite in some epoch, from there on an error that says so.
    """
    torch.manual_seed(runs[0].seed)  # of dropout, which networks that are trained together do not have
    models = [Model(run.frozen, run.network.to(memory_format=torch.channels_last), view) for run in runs]
    n, device = len(runs[0].chosen), models[0].device
    tests, trains = [], []
    for run, model in zip(runs, models, strict=True):
        if frozen_batchnorm == "adapted":
            adapt(model.frozen, inputs.train_x, run.chosen, view, batch_size)
        train_x, rows, test_x = inputs.train_x, run.chosen, inputs.test_x
        if run.frozen is not None and frozen_batchnorm != "batch":  # then the frozen part stays as it is from here on
            test_x, _ = settled(model, test_x, np.arange(len(test_x)))
            train_x, rows = (train_x, rows) if view.augmented else settled(model, train_x, rows)
        tests.append(test_x)
        trains.append(Rows(train_x, rows, device, HELD_BYTES[device.type] // len(runs)))
    labels = torch.from_numpy(np.stack([inputs.train_y[run.chosen] for run in runs])).to(device)  # [runs, n]
    network = stacking.stack([model.trained for model in models])
    learner = Sgd(network, momentum, weight_decay)
    orders = [torch.Generator().manual_seed(run.seed) for run in runs]
    first_bad, bad_loss = torch.zeros(len(runs), dtype=torch.int64, device=device), torch.zeros(len(runs), device=device)
    for epoch in range(epochs):
        network.train()
        for model in models:
            model.frozen.train(frozen_batchnorm == "batch")
        cuts = sum(epoch >= max(1, third * epochs // 3) for third in (1, 2))  # at epoch 33 and 66 of 100, as in Table 4
        drawn = [augmentation.draw(n, run.seed, epoch) if view.augmented else None for run in runs]
        total_loss = torch.zeros(len(runs), device=device)
        correct = torch.zeros(len(runs), device=device)
        permutations = torch.stack([torch.randperm(n, generator=order) for order in orders])
        for batch in batches(permutations, batch_size):  # [runs, batch]
            parts = zip(models, trains, drawn, batch, strict=True)
            features = [model.features(x[rows], d and d[rows]) for model, x, d, rows in parts]
            logits = network(features[0] if len(runs) == 1 else torch.cat(features, 1))
            logits = logits.unflatten(1, (len(runs), -1)).transpose(0, 1).flatten(0, 1)  # [runs * batch, classes]
            y = labels.gather(1, batch.to(device)).flatten()
            losses = nn.functional.cross_entropy(logits, y, reduction="none").unflatten(0, (len(runs), -1)).mean(1)
            learner.step(losses.sum(), lr * 0.1**cuts)
            total_loss += losses.detach() * batch.shape[1]
            correct += (logits.argmax(1) == y).unflatten(0, (len(runs), -1)).sum(1)
        bad = ~torch.isfinite(total_loss) & (first_bad == 0)
        first_bad, bad_loss = torch.where(bad, epoch + 1, first_bad), torch.where(bad, total_loss, bad_loss)
        if epoch % eval_every == 0 or epoch + 1 == epochs:
            at_epoch = zip(first_bad.tolist(), bad_loss.tolist(), strict=True)
            failed = [FloatingPointError(f"the loss is {loss} in epoch {number}") if number else None for number, loss in at_epoch]
            learned = torch.stack([100 * correct / n, total_loss / n], 1).tolist()
            yield [
                error or EvaluatedEpoch(epoch + 1, accuracy(model, test_x, inputs.test_y), *row)
                for error, model, test_x, row in zip(failed, models, tests, learned, strict=True)
            ]
            if all(failed):
                return


class Sgd:
    """Steps of stochastic gradient descent with momentum and weight decay, as `torch.optim.SGD` takes them."""

    def __init__(self, network: nn.Module, momentum: float, weight_decay: float):
        self.weights = [weight for weight in network.parameters() if weight.requires_grad]
        self.velocities: list[Tensor | None] = [None] * len(self.weights)
        self.constants = {"momentum": momentum, "weight_decay": weight_decay, "dampening": 0.0, "nesterov": False, "maximize": False}

    def step(self, loss: Tensor, lr: float) -> None:
        gradients = list(torch.autograd.grad(loss, self.weights))
        with torch.no_grad():
            sgd(self.weights, gradients, self.velocities, foreach=True, lr=lr, **self.constants)


class Rows:
    """Some rows of an array, held on the device where they find room, else read from the array as they are asked for."""

    def __init__(self, x: np.ndarray, rows: np.ndarray, device: torch.device, held_bytes: int):
        self.x, self.rows = x, rows
        if x.nbytes // len(x) * len(rows) <= held_bytes:
            self.x, self.rows = torch.from_numpy(x[rows]).to(device), None

    def __getitem__(self, batch: Tensor) -> np.ndarray | Tensor:  # int64 [batch], counted in `rows`
        return self.x[batch] if self.rows is None else self.x[self.rows[batch.numpy()]]


def settled(model: Model, x: np.ndarray, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """What the frozen part makes of some rows of x, and their place in it; x and the rows where these are no images, or too many."""
    if x.dtype != np.uint8 or 4 * math.prod(activation_shape(model.frozen, x, model.view)) * len(rows) > HELD_BYTES[model.device.type]:
        return x, rows
    return np.concatenate(list(frozen_activations(model.frozen, x, model.view, rows))), np.arange(len(rows))


def batches(order: Tensor, batch_size: int) -> list[Tensor]:
    """An order, or several at once ([..., n]), in parts of `batch_size`; a last part of one image joins the one before, as batch
    norm needs two values."""
    parts = list(order.split(batch_size, -1))
    return [*parts[:-2], torch.cat(parts[-2:], -1)] if len(parts) > 1 and parts[-1].shape[-1] == 1 else parts


@torch.no_grad()
def accuracy(model: Model, x: np.ndarray, y: np.ndarray) -> float:
    """Percent of the images (or activations) that the model in eval mode labels correctly."""
    model.eval()
    predicted = torch.cat(list(in_parts(lambda part: model(x[part]).argmax(1), len(x)))).cpu()
    return 100 * (predicted == torch.from_numpy(np.asarray(y))).sum().item() / len(x)


def in_parts(forward: Callable[[slice], T], n: int) -> Iterator[T]:
    """A forward pass without gradients on n images, `BATCH` at a time; half as many from where the device has no memory for so many."""
    size, first = BATCH, 0
    while first < n:
        try:
            done = forward(slice(first, first + size))
        except torch.OutOfMemoryError:
            if size == 1:
                raise
            size //= 2
        else:
            yield done
            first += size
