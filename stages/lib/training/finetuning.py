"""Fine-tuning: the head and the last blocks of a source, on one subset of a target, from one seed; or several such runs at once.

Where the frozen part keeps the source's batch norm statistics and nothing is augmented, it maps an image to the same
activation in every epoch, run and seed. Then the grid computes it once for all runs, and `finetune` sees activations;
otherwise `finetune` sees images, and takes the frozen part along. The loop is the same. What stays the same within one run
alone, such as activations under statistics that were adapted to its subset, is computed once for that run.

Runs are trained together in two ways. On as many images, those that differ in subset and seed alone can be one network with the
channels of all (`stacking`): each goes its own way, and a small network costs a processor less in company. On the same images, from the
same seed, those that differ in what is frozen, or in the learning rate, can share one pass of the images (`nested`).
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from math import isfinite

import numpy as np
import torch
from torch import Tensor, nn

from stages.lib.networks import inference, stacking, units
from stages.lib.networks.inference import AS_STORED, CutNetwork, View
from stages.lib.training.feed import LEAST, Feed, FineTuning, Inputs
from stages.lib.training.sgd import Sgd, batches


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
    lr: float | Sequence[float],
    momentum: float,
    weight_decay: float,
    view: View = AS_STORED,
    frozen_batchnorm: str = "source",
    drops: Sequence[int] | None = None,
    one_pass: bool = False,
) -> Iterator[list[EvaluatedEpoch]]:
    """Train with SGD, momentum and a learning rate cut to a tenth every third of the epochs (Utrera et al. 2021, Tables 3, 4).

    A third is counted in whole epochs: of 100 the cuts are at 33 and 66, and, as in the released code, at 99.

    Args:
        runs: with subsets of one size; of several, the networks can be stacked (`stacking.stack`).
        inputs: images, or activations of the frozen part.
        lr: of all runs; with `one_pass`, it may be one for each of them.
        frozen_batchnorm: `source` keeps the statistics of the frozen part; `adapted` estimates them on the subset before the first
            epoch; `batch` normalises with each training batch's own and averages these for the test, as the released code does.
        drops: epochs after which the rate falls to a tenth, in the place of every third.
        one_pass: whether the runs have subset, held-out images, seed and frozen units in common (`nested.cut`), so that one pass of
            images serves all; their networks are then not stacked, and `frozen_batchnorm` is `batch`. Of several, nothing is fused, as
            that would be slower (docs/gpu.md).

    Yields:
        for each run the test accuracy after epoch 1, 1 + eval_every, 1 + 2 eval_every, ... and the last; of `eval_every` 0 after the
        last alone. A run that diverges goes on to the last epoch like any other, and its accuracy is what its network gives: of logits
        that are no numbers, the first class.
    """
    torch.manual_seed(runs[0].seed)  # of dropout, which networks that are trained together do not have
    view = replace(view, fused=view.fused and not (one_pass and len(runs) > 1))
    groups = [runs] if one_pass else [[run] for run in runs]  # each sees images of its own
    feeds = [Feed(group, inputs, view, frozen_batchnorm, batch_size, len(groups)) for group in groups]
    models = [model for feed in feeds for model in feed.models.models]
    companies = [[model] for model in models] if one_pass else [models]  # each is trained as one network
    rates = list(lr) if isinstance(lr, Sequence) else [lr] * len(companies)
    learners = [Learner(company, rate, momentum, weight_decay) for company, rate in zip(companies, rates, strict=True)]
    diverged = torch.zeros(len(runs), dtype=torch.bool, device=feeds[0].device)
    for epoch in range(epochs):
        cuts = epoch // max(1, epochs // 3) if drops is None else sum(epoch >= drop for drop in drops)
        train_accuracy, train_loss = train_epoch(learners, feeds, epoch, batch_size, 0.1**cuts)
        diverged |= ~torch.isfinite(train_loss)
        if epoch + 1 == epochs or (eval_every and epoch % eval_every == 0):
            diverged |= torch.stack([~weights_are_finite(model.trained) for model in models])
            learned = zip(train_accuracy.tolist(), train_loss.tolist(), diverged.tolist(), strict=True)
            scores = [of_run for feed in feeds for of_run in feed.scores()]
            yield [
                EvaluatedEpoch(epoch + 1, train_accuracy=correct, train_loss=loss if isfinite(loss) else None, diverged=bad, **of_run)
                for (correct, loss, bad), of_run in zip(learned, scores, strict=True)
            ]


def weights_are_finite(network: nn.Module) -> Tensor:
    """Whether all weights and statistics are numbers; bool, on the network's device."""
    return torch.stack([torch.isfinite(tensor).all() for tensor in network.state_dict().values()]).all()


class Learner:
    """Runs that are trained as one network."""

    def __init__(self, models: Sequence[CutNetwork], lr: float, momentum: float, weight_decay: float):
        """
        Args:
            models: those of the runs; of several, what is trained of them can be stacked.
            lr: the learning rate with which the first epoch begins.
        """
        self.network, self.n_runs, self.lr = stacking.stack([model.trained for model in models]), len(models), lr
        self.model = models[0]
        self.sgd = Sgd((weight for weight in self.network.parameters() if weight.requires_grad), momentum, weight_decay)

    def step(self, features: Sequence[Tensor], y: Tensor, falls: float) -> tuple[Tensor, Tensor]:
        """A step of all runs on a batch: their mean losses, and how many images they label correctly, both [runs].

        Args:
            features: of each run, the input of what is trained, [batch, ...].
            y: labels, int64 [runs, batch].
            falls: factor of the learning rate.
        """
        with self.model.view.precision(self.model.device):
            logits = inference.widened(self.network(features[0] if self.n_runs == 1 else torch.cat(features, 1)))
        logits = logits.unflatten(1, (self.n_runs, -1)).transpose(0, 1).flatten(0, 1)  # [runs * batch, classes]
        losses = nn.functional.cross_entropy(logits, y.flatten(), reduction="none").unflatten(0, (self.n_runs, -1)).mean(1)
        self.sgd.step(torch.autograd.grad(losses.sum(), self.sgd.weights), self.lr * falls)  # the loss is the sum over runs
        return losses.detach(), (logits.argmax(1) == y.flatten()).unflatten(0, (self.n_runs, -1)).sum(1)


def train_epoch(learners: Sequence[Learner], feeds: Sequence[Feed], epoch: int, batch_size: int, falls: float) -> tuple[Tensor, Tensor]:
    """Train all runs for an epoch: their accuracies in percent and mean losses while the weights still move, both [runs].

    Args:
        feeds: of what runs see; their runs, one feed's after the other, are those of the learners, in the same order.
        falls: factor of the learning rate.
    """
    for learner in learners:
        learner.network.train()
    orders = torch.stack([feed.begin(epoch) for feed in feeds])
    device, n = feeds[0].device, orders.shape[1]
    labels = torch.stack([feed.y for feed in feeds])  # [feeds, n]
    total_loss, correct = torch.zeros(2, sum(learner.n_runs for learner in learners), device=device)
    on_device = batches(orders.to(device), batch_size, LEAST)  # all at once: each copy to a GPU waits until it has done what it has to do
    for batch, rows in zip(batches(orders, batch_size, LEAST), on_device, strict=True):  # [feeds, batch]
        features = [z for feed, *places in zip(feeds, batch, rows, strict=True) for z in feed.features(*places)]  # of each run
        y = labels.gather(1, rows)
        first = 0
        for learner in learners:
            own = slice(first, first := first + learner.n_runs)
            losses, right = learner.step(features[own], y, falls)
            total_loss[own] += losses * batch.shape[1]
            correct[own] += right
    return 100 * correct / n, total_loss / n
