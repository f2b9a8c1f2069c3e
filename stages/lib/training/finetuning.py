"""Fine-tuning: the head and the last blocks of a source, on one subset of a target, from one seed; or several such runs at once.

Where the frozen part keeps the source's batch norm statistics and nothing is augmented, it maps an image to the same
activation in every epoch, run and seed. Then the grid computes it once for all runs, and `finetune` sees activations;
otherwise `finetune` sees images, and takes the frozen part along. The loop is the same. What stays the same within one run
alone, such as activations under statistics that were adapted to its subset, is computed once for that run.

Runs on as many images that differ in subset and seed alone can be trained together, as one network with the channels of
all (`stacking`): each goes its own way, and a small network costs a processor less in company.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import isfinite

import numpy as np
import torch
from torch import Tensor, nn

from stages.lib.datasets import cropping
from stages.lib.datasets.whole import Whole
from stages.lib.networks import inference, stacking, units
from stages.lib.networks.inference import AS_STORED, CutNetwork, View
from stages.lib.training.sgd import Sgd, batches
from stages.lib.training.tested import Tested

LEAST = 2  # images of a batch, as batch norm needs two values


@dataclass(frozen=True)
class EvaluatedEpoch:
    """One row of `runs.parquet` beside the cell's own columns."""

    epoch: int  # from 1
    test_accuracy: float  # percent
    test_mean_per_class: float  # percent, mean over the classes that have a test image
    train_accuracy: float  # percent, over the epoch, while the weights still move
    train_loss: float | None  # None where it is not finite
    diverged: bool  # whether the loss of this epoch or of one before it, or a weight after it, is not finite
    validation_accuracy: float | None = None  # percent, of the training images that are held out; None where none is
    validation_mean_per_class: float | None = None


@dataclass(frozen=True)
class FineTuning:
    """One of the fine-tunings that are trained together: the values in which they differ."""

    network: nn.Module  # the part that is trained; its batch norm uses batch statistics while it trains
    chosen: np.ndarray  # int64 [n_images], the subset, as rows of `Inputs.train_x`, without those that are held out
    seed: int  # of the order of the images, their augmentation, and dropout
    frozen: nn.Module | None = None  # what images go through before `network`, without gradients; nothing for None
    held_out: np.ndarray | None = None  # int64, rows of `Inputs.train_x` that the network is tested on beside the test images


@dataclass(frozen=True)
class Inputs:
    """Training and test data of runs: images (uint8 NHWC), or activations of the frozen part (float32; NHWC where they have pixels)."""

    train_x: np.ndarray  # [n_train, ...]
    train_y: np.ndarray  # [n_train]
    test_x: np.ndarray  # [n_test, ...]
    test_y: np.ndarray  # [n_test]


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
    network = units.build(architecture, classes, mean=[0.5] * 3, std=[0.25] * 3)
    if weights is not None:
        units.load(network, {name: w for name, w in weights.items() if not name.startswith("head.")}, but="head.")
    if moments is not None:
        units.normalise_by(network, *moments)
    if head_init == "normal":
        nn.init.normal_(network.head.weight)
        nn.init.zeros_(network.head.bias)
    return network


def finetune(
    network: nn.Module, inputs: Inputs, chosen: np.ndarray, *, seed: int, frozen: nn.Module | None = None, **settings
) -> Iterator[EvaluatedEpoch]:
    """One fine-tuning alone, with the settings of `finetune_together`."""
    for (row,) in finetune_together([FineTuning(network, chosen, seed, frozen)], inputs, **settings):
        yield row


def finetune_together(
    runs: Sequence[FineTuning],
    inputs: Inputs,
    *,
    epochs: int,
    eval_every: int,
    batch_size: int,
    lr: float,
    momentum: float,
    weight_decay: float,
    view: View = AS_STORED,
    frozen_batchnorm: str = "source",
    drops: Sequence[int] | None = None,
) -> Iterator[list[EvaluatedEpoch]]:
    """Train with SGD, momentum and a learning rate cut to a tenth every third of the epochs (Utrera et al. 2021, Tables 3, 4).

    A third is counted in whole epochs: of 100 the cuts are at 33 and 66, and, as in the released code, at 99.

    Args:
        runs: with subsets of one size; of several, the networks can be stacked (`stacking.stack`).
        inputs: images, or activations of the frozen part.
        frozen_batchnorm: `source` keeps the statistics of the frozen part; `adapted` estimates them on the subset before the first
            epoch; `batch` normalises with each training batch's own and averages these for the test, as the released code does.
        drops: epochs after which the rate falls to a tenth, in the place of every third.

    Yields:
        for each run the test accuracy after epoch 1, 1 + eval_every, 1 + 2 eval_every, ... and the last. A run that diverges goes on to
        the last epoch like any other, and its accuracy is what its network gives: of logits that are no numbers, the first class.
    """
    torch.manual_seed(runs[0].seed)  # of dropout, which networks that are trained together do not have
    states = [State(run, inputs, view, frozen_batchnorm, batch_size, len(runs)) for run in runs]
    network = stacking.stack([state.model.trained for state in states])
    learner = Sgd((weight for weight in network.parameters() if weight.requires_grad), momentum, weight_decay)
    diverged = torch.zeros(len(runs), dtype=torch.bool, device=states[0].model.device)
    for epoch in range(epochs):
        cuts = epoch // max(1, epochs // 3) if drops is None else sum(epoch >= drop for drop in drops)
        train_accuracy, train_loss = train_epoch(network, states, epoch, batch_size, learner, lr * 0.1**cuts)
        diverged |= ~torch.isfinite(train_loss)
        if epoch % eval_every == 0 or epoch + 1 == epochs:
            diverged |= torch.stack([~weights_are_finite(state.model.trained) for state in states])
            learned = zip(train_accuracy.tolist(), train_loss.tolist(), diverged.tolist(), strict=True)
            yield [
                EvaluatedEpoch(
                    epoch + 1, train_accuracy=correct, train_loss=loss if isfinite(loss) else None, diverged=bad, **state.scores()
                )
                for state, (correct, loss, bad) in zip(states, learned, strict=True)
            ]


def weights_are_finite(network: nn.Module) -> Tensor:
    """Whether all weights and statistics are numbers; bool, on the network's device."""
    return torch.stack([torch.isfinite(tensor).all() for tensor in network.state_dict().values()]).all()


def train_epoch(
    network: nn.Module, states: Sequence["State"], epoch: int, batch_size: int, learner: Sgd, lr: float
) -> tuple[Tensor, Tensor]:
    """Train all runs for an epoch: their accuracies in percent and mean losses while the weights still move, both [runs].

    Args:
        network: the stack of the networks that are trained.
        learner: of its weights.
    """
    network.train()
    orders = torch.stack([state.begin(epoch) for state in states])
    n_runs, n = orders.shape
    labels = torch.stack([state.y for state in states])  # [runs, n]
    device = labels.device
    total_loss, correct = torch.zeros(2, n_runs, device=device)
    on_device = batches(orders.to(device), batch_size, LEAST)  # all at once: each copy to a GPU waits until it has done what it has to do
    for batch, rows in zip(batches(orders, batch_size, LEAST), on_device, strict=True):  # [runs, batch]
        features = [state.features(*places) for state, *places in zip(states, batch, rows, strict=True)]
        with states[0].model.view.precision(device):
            logits = inference.widened(network(features[0] if n_runs == 1 else torch.cat(features, 1)))
        logits = logits.unflatten(1, (n_runs, -1)).transpose(0, 1).flatten(0, 1)  # [runs * batch, classes]
        y = labels.gather(1, rows).flatten()
        losses = nn.functional.cross_entropy(logits, y, reduction="none").unflatten(0, (n_runs, -1)).mean(1)
        learner.step(torch.autograd.grad(losses.sum(), learner.weights), lr)  # the loss is the sum over runs
        total_loss += losses.detach() * batch.shape[1]
        correct += (logits.argmax(1) == y).unflatten(0, (n_runs, -1)).sum(1)
    return 100 * correct / n, total_loss / n


class State:
    """A fine-tuning while it is trained: its network, and the images or activations that this network sees."""

    def __init__(self, run: FineTuning, inputs: Inputs, view: View, frozen_batchnorm: str, batch_size: int, n_runs: int):
        self.model = CutNetwork(run.frozen, run.network.to(memory_format=torch.channels_last), view)
        self.model.eval()
        self.seed, self.order, self.drawn = run.seed, torch.Generator().manual_seed(run.seed), None
        self.frozen_learns = frozen_batchnorm == "batch"  # the statistics of its batch norm
        if frozen_batchnorm == "adapted":
            rows = [run.chosen[batch.numpy()] for batch in batches(torch.arange(len(run.chosen)), batch_size, LEAST)]
            inference.adapt(self.model.frozen, inputs.train_x, rows, view)
        train_x, rows = inputs.train_x, run.chosen
        self.tested = {"test": Tested(inputs.test_x, inputs.test_y)}
        if run.held_out is not None:
            self.tested["validation"] = Tested(train_x, inputs.train_y[run.held_out], run.held_out)
        if run.frozen is not None and not self.frozen_learns:  # then the frozen part stays as it is from here on
            self.tested = {split: tested.settled(self.model) for split, tested in self.tested.items()}
            train_x, rows = (train_x, rows) if view.augmented else inference.settled(self.model, train_x, rows)
        device = self.model.device
        self.parts_of_whole = isinstance(train_x, Whole) and view.augmentation == "resized_crop"  # the CPU cuts them anew in each epoch
        self.x = Rows(train_x, rows, device, 0 if self.parts_of_whole else inference.HELD_BYTES[device.type] // n_runs)
        self.y = torch.from_numpy(inputs.train_y[run.chosen]).to(device)

    def begin(self, epoch: int) -> Tensor:
        """The order of the images in this epoch, int64 [n]."""
        if self.frozen_learns:  # else it is in eval mode from the start, and to say so again takes long where the head is all that learns
            self.model.frozen.train()
        drawn = cropping.draw(self.model.view.augmentation, len(self.y), self.seed, epoch)
        self.drawn = drawn if drawn is None or self.parts_of_whole else drawn.to(self.y.device)
        return torch.randperm(len(self.y), generator=self.order)

    def scores(self) -> dict[str, float]:
        """The scores on the test images, and on those that are held out, by their names in `EvaluatedEpoch`."""
        return {f"{split}_{name}": score for split, tested in self.tested.items() for name, score in tested.scores(self.model).items()}

    def features(self, batch: Tensor, rows: Tensor) -> Tensor:
        """The input of the network for a batch of images, whose places are given twice: on the CPU and on the network's device."""
        drawn, fused = self.drawn and self.drawn[batch if self.parts_of_whole else rows], self.model.view.fused

        def prepare(x: np.ndarray | Tensor, device: torch.device, size: int | None, resolution: int | None) -> Tensor:
            return cropping.prepare(x, device, size, drawn, resolution, fused)

        return self.model.features(self.x.at(batch, rows), prepare)


class Rows:
    """Some rows of an array, held on the device where they find room, else read from the array as they are asked for."""

    def __init__(self, x: np.ndarray, rows: np.ndarray, device: torch.device, held_bytes: int):
        self.x, self.rows = x, rows
        if x.nbytes // len(x) * len(rows) <= held_bytes:
            self.x, self.rows = torch.from_numpy(x[rows]).to(device), None

    def at(self, batch: Tensor, on_device: Tensor) -> np.ndarray | Tensor | Whole:
        """The rows of a batch, int64 [batch], counted in `rows`; given on the CPU and on the device, so that none has to be copied."""
        return self.x[on_device] if self.rows is None else cropping.stored(self.x, torch.from_numpy(self.rows)[batch])
