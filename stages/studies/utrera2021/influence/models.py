"""The fine-tuned models that are asked about, and images as their last layer sees them."""

from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from stages.lib.curvature import head
from stages.lib.curvature.head import Points
from stages.lib.networks import inference, units
from stages.lib.networks.devices import best_device, device_of
from stages.lib.networks.inference import View
from stages.lib.networks.pretrained import Pretrained
from stages.lib.training import finetuning

if TYPE_CHECKING:
    from stages.lib.datasets.sets import DatasetCard


def fine_tuned(
    source: Pretrained, x: np.ndarray, y: np.ndarray, rows: np.ndarray, images: "DatasetCard", how: dict[str, Any], seed: int
) -> nn.Sequential:  # fmt: skip
    """A source after it was fine-tuned on some of a target's training images x with labels y, in eval mode.

    Args:
        rows: places of these images, int64 [n_images].
        how: `blocks`, and the settings of `finetune`.
    """
    training = dict(how["finetune"])
    begin, augmentation = training.pop("head_init"), training.pop("augmentation")
    network = finetuning.start(source.architecture, source.tensors(), images.classes, begin, seed, training.pop("moments"))
    frozen, trained = units.split(network.to(best_device()), how["blocks"])
    untested = finetuning.Inputs(x, y, x[rows[:1]], y[rows[:1]])  # but on one image: all are seen afterwards
    view = View(images.image_size, augmentation=augmentation)
    for _ in finetuning.finetune(trained, untested, rows, seed=seed, frozen=frozen, view=view, eval_every=0, **training):
        pass
    return network.eval()


def seen(network: nn.Sequential, x: np.ndarray, y: np.ndarray, size: int, rows: np.ndarray | None = None) -> Points:
    """Images as they are tested, in front of the last layer; rows: places of some of them."""
    body, _ = units.split(network, 0)
    features = np.concatenate(list(inference.frozen_activations(body, x, View(size), rows)))
    labels = np.asarray(y if rows is None else y[rows])
    device = device_of(network)
    with torch.no_grad():
        return head.points_of(torch.from_numpy(features).to(device), torch.from_numpy(labels).to(device), *last_layer(network))


def last_layer(network: nn.Sequential) -> tuple[Tensor, Tensor]:
    """Weight [classes, width] and bias [classes]."""
    layer = network.head
    return layer.weight.detach(), layer.bias.detach()
