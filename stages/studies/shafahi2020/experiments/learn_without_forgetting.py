"""Learning without forgetting: fine-tuning that keeps the features of a robust source (Shafahi et al. 2020, Section 6, eq. 3).

The loss is the cross-entropy plus lambda_d times the distance of the features from those of the source, which were stored once. The
head alone learns for the first part of the steps; then all does. The statistics of batch norm stay as the source has them. By the text
of the paper (A.1) its scale and shift stay, too, and the distance is in L2; in the code that its authors released both are trained, the
distance is in L1, and kernels and matrices decay.
"""

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor, nn

from stages.lib.attacks.attack import cross_entropy
from stages.lib.datasets import cropping, sampling
from stages.lib.datasets.cropping import Shifts
from stages.lib.datasets.sets import card_of, load
from stages.lib.networks import units
from stages.lib.networks.devices import best_device
from stages.lib.networks.inference import BATCH
from stages.lib.networks.pretrained import Pretrained
from stages.lib.training import descent
from stages.studies.shafahi2020.experiments import penultimate, train_heads
from stages.studies.shafahi2020.experiments.testing import tested

if TYPE_CHECKING:
    from stages.lib.runs.experiments import Run

ORDER = {"l1": 1, "l2": 2}  # of the norms that features can be compared in


def compute(run: "Run", source: Pretrained, stored: Path | None) -> tuple[dict[str, float], dict[str, Tensor]]:
    """In a worker: train as the method says, and test."""
    if run.method == "distance":
        return distances(run, source)
    target, device = card_of(run.target), best_device()
    (x, y), test = (load(run.target, split) for split in ("train", "test"))
    fresh = 0 if run.method == "source" else 1
    network = descent.begin(source.architecture, source.tensors(), target.classes, run.seed, fresh).to(device)
    if run.method != "source":
        data = descent.Images(x, y, device, target.image_size, False, run.seed)
        kept, training = penultimate.stored(stored).to(device), descent.of_images(run.how["training"], len(y))
        warm = training["steps"] if run.method == "frozen" else round(run.how["warm_start"] * training["steps"])
        if warm:
            train_heads.train_on_features(network.head, kept, data.y, training, run.seed, last=warm, decays=is_kernel)
        if warm < training["steps"]:
            train_without_forgetting(network, data, kept, run.setting, run.how | {"training": training}, run.seed, warm)
    return tested(network, (x, y), test, target.image_size, run.measured)


def train_without_forgetting(
    network: nn.Sequential, data: descent.Images, kept: Tensor, lambda_d: float, how: dict, seed: int, first: int
) -> None:
    """Train all weights, but those of batch norm where they are fixed, from a step on.

    Args:
        kept: the source's features, [n, width].
        how: settings of `settings.WayOfLearning`.
    """
    body, head = units.split(network, 0)
    leaves = [module for module in network.modules() if not list(module.children())]
    norms = [module for module in leaves if isinstance(module, nn.modules.batchnorm._BatchNorm)]
    weights = descent.only_these_learn(network, [module for module in leaves if module not in norms])
    if how["batchnorm"] == "affine":  # in eval mode, so that the statistics stay
        weights += [weight for norm in norms for weight in norm.requires_grad_(True).parameters()]
    order = ORDER[how["distance"]]

    def loss_of(rows: Tensor) -> Tensor:
        x, y = data[rows]
        z = body(x)
        distance = (z - kept[rows]).norm(p=order, dim=1)
        return (cross_entropy(head(z), y) + lambda_d * distance).mean()

    descent.descend(weights, loss_of, len(data), seed=seed, first=first, decays=is_kernel, **descent.steps_of(how["training"]))
    network.eval()


def is_kernel(weight: nn.Parameter) -> bool:
    """Whether a weight is a kernel or a matrix: the released code lets no bias and nothing of batch norm decay."""
    return weight.ndim > 1


def distances(run: "Run", source: Pretrained) -> tuple[dict[str, float], dict[str, Tensor]]:
    """How far the features of an image are from those of its augmentation, for images of all classes of each split (Figure 7)."""
    target, device = card_of(run.target), best_device()
    body, _ = units.split(source.network().to(device), 0)

    def features(part: np.ndarray, drawn: Shifts | None) -> Tensor:
        return body(cropping.prepare(part, device, target.image_size, drawn))

    lengths = {}
    for split in ("train", "test"):
        (x, y), generator = load(run.target, split), torch.Generator().manual_seed(run.seed)
        x = x[sampling.stratified(y, run.how["images"])]
        parts = [x[i : i + BATCH] for i in range(0, len(x), BATCH)]
        with torch.no_grad():
            lengths[split] = torch.cat(
                [(features(part, None) - features(part, Shifts.drawn(len(part), generator))).norm(dim=1) for part in parts]
            ).cpu()
    return {f"{split} distance": float(np.mean(values.numpy())) for split, values in lengths.items()}, lengths
