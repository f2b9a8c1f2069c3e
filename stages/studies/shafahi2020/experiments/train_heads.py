"""Heads on a frozen source, with hidden layers as wide as its features (Shafahi et al. 2020, Sections 4 and 5)."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from stages.lib.attacks.attack import cross_entropy, loss_gradient
from stages.lib.datasets import pixels
from stages.lib.datasets.sets import card_of, load
from stages.lib.networks.devices import best_device, device_of
from stages.lib.networks.pretrained import Pretrained
from stages.lib.training import descent
from stages.studies.shafahi2020.experiments import penultimate
from stages.studies.shafahi2020.experiments.testing import tested

if TYPE_CHECKING:
    from stages.lib.runs.experiments import Run


def compute(run: "Run", source: Pretrained, stored: Path | None) -> tuple[dict[str, float], dict[str, Tensor]]:
    """In a worker: train the head and test; and the gradients of the first image of each class, where the run asks for them."""
    size, device = card_of(run.target).image_size, best_device()
    (x, y), test = (load(run.target, split) for split in ("train", "test"))
    network = with_head(run, source).to(device)
    how = descent.of_images(run.how["training"], len(y))
    if how["augmentation"] == "none":
        train_on_features(network.head, penultimate.stored(stored).to(device), torch.from_numpy(y).to(device), how, run.seed)
    else:
        data = descent.Images(x, y, device, size, True, run.seed)
        descent.train(network, ["head"], data, how, run.seed)
    network.eval()
    percent, correct = tested(network, (x, y), test, size, run.measured)
    return percent, correct | gradients(network, *test, size, run.how["gradients"])


def with_head(run: "Run", source: Pretrained) -> nn.Sequential:
    """The source with a new head, drawn from the seed."""
    classes = card_of(run.target).classes
    network = descent.begin(source.architecture, source.tensors(), classes, run.seed)
    torch.manual_seed(run.seed)
    network.head = perceptron(network.head.in_features, classes, int(run.setting), run.how["dropout"], run.how["batchnorm"])
    return network


def perceptron(width: int, classes: int, hidden: int = 0, dropout: float = 0.0, batchnorm: bool = False) -> nn.Module:
    """A linear layer, or a perceptron whose hidden layers are as wide as the features (Shafahi et al. 2020, Section 4.2.1).

    Args:
        width: of the features, [batch, width].
        hidden: layers before the last; each is a linear layer, batch norm where asked for, ReLU, and dropout with that probability.
    """
    if not hidden:
        return nn.Linear(width, classes)
    layers: list[nn.Module] = []
    for _ in range(hidden):
        layers.append(nn.Linear(width, width))
        layers += [nn.BatchNorm1d(width)] if batchnorm else []
        layers.append(nn.ReLU())
        layers += [nn.Dropout(dropout)] if dropout else []
    return nn.Sequential(*layers, nn.Linear(width, classes))


def train_on_features(head: nn.Module, z: Tensor, y: Tensor, how: dict, seed: int, **phase: Any) -> int:
    """Train a head on the features of images (z: [n, width]); `phase`: `last` and `decays`, as `descent.descend` takes them."""

    def loss_of(rows: Tensor) -> Tensor:
        return cross_entropy(head(z[rows]), y[rows]).mean()

    return descent.descend(descent.only_these_learn(head, [head]), loss_of, len(y), seed=seed, **phase, **descent.steps_of(how))


def log_odds(logits: Tensor, y: Tensor) -> Tensor:  # [batch, classes], [batch] -> [batch]
    """The logarithm of the odds against the label."""
    return logits.scatter(1, y[:, None], -torch.inf).logsumexp(1) - logits.gather(1, y[:, None]).squeeze(1)


def gradients(network: nn.Sequential, x: np.ndarray, y: np.ndarray, size: int, count: int) -> dict[str, Tensor]:
    """The gradient of the log odds by the first image of each of the first classes, and the image; [k, H, W, 3] (Figure 5).

    The gradient of the cross-entropy is a multiple of it, which vanishes where the softmax saturates.
    """
    if not count:
        return {}
    chosen = np.sort(np.unique(y, return_index=True)[1][:count])
    seen = pixels.prepare(x[chosen], device_of(network), size)
    labels = torch.from_numpy(y[chosen]).to(seen.device)
    gradient = loss_gradient(network, seen, labels, log_odds)
    return {name: part.permute(0, 2, 3, 1).contiguous().cpu() for name, part in (("image", seen), ("gradient", gradient))} | {
        "label": labels.cpu()
    }
