"""Gradient descent on a part of a network by steps, and what of it is common to the experiments of Shafahi et al. (ICLR 2020).

A loss is a function of rows of the training set, so that one loop trains heads on stored features, pieces of a network on
augmented images, and whole networks on adversarial examples or under a penalty.
"""

from collections.abc import Callable, Iterable
from itertools import count, islice
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from stages.lib.datasets import cropping
from stages.lib.datasets.cropping import Shifts
from stages.lib.networks import inference
from stages.lib.networks import units as networks
from stages.lib.networks.devices import device_of
from stages.lib.networks.inference import View
from stages.lib.training import finetuning
from stages.lib.training.feed import Rows
from stages.lib.training.free import Free, Moved
from stages.lib.training.schedules import at_drops
from stages.lib.training.sgd import Sgd, endless_batches

Perturb = Callable[[nn.Module, Tensor, Tensor], Tensor]


def descend(
    weights: Iterable[nn.Parameter], loss_of: Callable[[Tensor], Tensor], n: int, *, steps: int, batch_size: int, lr: float,
    drops: list[float], momentum: float, weight_decay: float, seed: int, first: int = 0, last: int | None = None,
    replay: int = 1, decays: Callable[[nn.Parameter], bool] = lambda weight: True,
) -> int:  # fmt: skip
    """SGD with momentum over batches in an order from the seed; returns the number of images that were trained on.

    Args:
        weights: that are trained; each batch moves them down the gradient of `loss_of(rows)`, rows int64 [batch] of 0 to n - 1.
        drops: fractions of the steps at which the rate falls to a tenth.
        first, last: which of the steps are taken, as one training may have several phases; all by default.
        replay: steps on each batch.
        decays: whether `weight_decay` is of this weight, too.

    A loss that is no longer finite stops nothing: the weights are then no numbers, and are tested as they are.
    """
    groups: dict[bool, list[nn.Parameter]] = {}
    for weight in weights:
        groups.setdefault(decays(weight), []).append(weight)
    learners = [Sgd(group, momentum, weight_decay if decayed else 0.0) for decayed, group in groups.items()]
    torch.manual_seed((seed << 1) + 1)  # of dropout and attacks
    last, trained_on = steps if last is None else last, 0
    batches = (rows for rows in endless_batches(n, batch_size, seed) for _ in range(replay))
    for step, rows in islice(enumerate(batches), first, last):
        loss = loss_of(rows)
        loss.backward()  # which may also leave the gradient of the images
        for learner in learners:
            learner.step(learner.gradients(), lr * at_drops(step / steps, drops))
        trained_on += len(rows)
    return trained_on


class Images:
    """Training images as the network sees them: cropped and flipped where they are augmented, then up-scaled to its size."""

    def __init__(self, x: np.ndarray, y: np.ndarray, device: torch.device, size: int, augmented: bool, seed: int):
        self.x = Rows(x, np.arange(len(x)), device, inference.HELD_BYTES[device.type])
        self.y, self.device, self.size, self.augmented = torch.from_numpy(y).to(device), device, size, augmented
        self.generator = torch.Generator().manual_seed(seed)

    def __len__(self) -> int:
        return len(self.y)

    def __getitem__(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        """float [batch, 3, size, size] in [0, 1], and labels."""
        drawn = Shifts.drawn(len(rows), self.generator) if self.augmented else None
        on_device = rows.to(self.device, non_blocking=True)
        return cropping.prepare(self.x.at(rows, on_device), self.device, self.size, drawn), self.y[on_device]


def train(
    network: nn.Sequential, trained: list[str], data: Images, how: dict[str, Any], seed: int,
    perturb: Perturb | None = None, free: Free | None = None,
) -> int:  # fmt: skip
    """Train some units on the cross-entropy, while the others stay in eval mode; returns the number of images trained on.

    Args:
        trained: names of units.
        how: settings of `settings.robustness.Descent`, as `of_images` gives them.
        perturb: changes each batch before the training step.
        free: trains on each batch several times instead, cropped and flipped once, and lets the gradient of each step move the images.
    """
    weights = only_these_learn(network, [network.get_submodule(name) for name in trained])
    moved, replay = Moved(free) if free else None, free.replay if free else 1
    steps, batch, x = count(), None, None

    def loss_of(rows: Tensor) -> Tensor:
        nonlocal batch, x
        if moved and x is not None:
            moved.follow(x.grad, 0.0)  # the gradient that the previous step left
        batch = data[rows] if next(steps) % replay == 0 else batch  # as the perturbation belongs to these crops of these images
        x, y = batch
        x = moved.images(x, len(x)) if moved else x
        logits = network(x if perturb is None else perturb(network, x, y))
        return nn.functional.cross_entropy(logits, y, reduction="none").mean()

    done = descend(weights, loss_of, len(data), seed=seed, replay=replay, **steps_of(how))
    network.eval()
    return done


def only_these_learn(network: nn.Module, units: Iterable[nn.Module]) -> list[nn.Parameter]:
    """Put these units in train mode and all else in eval mode, without gradients; returns their weights."""
    network.eval().requires_grad_(False)
    weights = []
    for unit in units:
        weights += list(unit.train().requires_grad_(True).parameters())
    return weights


def of_images(how: dict[str, Any], n: int) -> dict[str, Any]:
    """The settings of a `settings.robustness.Descent` on n images, with its number of steps where they give epochs.

    An epoch has as many steps as there are full batches, as `sgd.endless_batches` gives them, and at least one.
    """
    by_steps = {name: value for name, value in how.items() if name != "epochs"}
    epochs = how.get("epochs")
    return by_steps if epochs is None else by_steps | {"steps": epochs * max(1, n // how["batch_size"])}


def steps_of(how: dict[str, Any]) -> dict[str, Any]:
    """The settings that `descend` takes, of those that `of_images` gives."""
    return {name: value for name, value in how.items() if name != "augmentation"}


def begin(architecture: str, weights: dict[str, Tensor], classes: int, seed: int, fresh: int | str = 1) -> nn.Sequential:
    """A source's network with its last pieces drawn anew from the seed.

    Args:
        architecture, weights: those of the source.
        fresh: number of pieces that are drawn anew (`units.last_pieces`): 1 is the head; or `all`.
    """
    network = finetuning.start(architecture, None, classes, "default", seed)
    drawn = networks.last_pieces(network, fresh)
    kept = {name: tensor for name, tensor in weights.items() if name.split(".")[0] not in drawn}
    networks.load(network, network.state_dict() | kept)
    return network.to(memory_format=torch.channels_last).eval()


def features_of(network: nn.Sequential, x: np.ndarray, size: int) -> Tensor:
    """The input of the head for images that are not augmented: float [n, width]."""
    body, _ = networks.split(network, 0)
    features = np.concatenate(list(inference.frozen_activations(body, x, View(size))))
    return torch.from_numpy(features).to(device_of(network))
