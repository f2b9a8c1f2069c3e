"""Mean features of the classes of a set, of the layer before the head. All of it is in the key of class means, and of distances."""

from typing import TYPE_CHECKING

import numpy as np
from torch import Tensor, nn

from stages.lib.datasets import sets
from stages.lib.networks import inference, units
from stages.lib.networks.devices import best_device
from stages.lib.networks.pretrained import Pretrained

if TYPE_CHECKING:
    from stages.lib.settings.catalog import Part


def class_means(source: Pretrained, dataset: str, part: "Part | None", per_class: int | None) -> dict[str, Tensor]:
    """Mean features of each class of a set's training images, and how many images it has.

    Args:
        part: of the classes of the set; None: all.
        per_class: images of a class that are looked at, the first ones; None: all.

    Returns:
        means: float64 [classes, width]; counts: int64 [classes]. Classes without an image are not among them.
    """
    network, size = source.network().to(best_device()), sets.card_of(dataset).image_size
    return means_of(network, *sets.load_part(dataset, "train", part), size, per_class)


def means_of(network: nn.Sequential, x: np.ndarray, y: np.ndarray, size: int, per_class: int | None = None) -> dict[str, Tensor]:
    """The same of a network in eval mode and of images uint8 [n, H, W, C] with their labels, int64 [n]."""
    import torch  # the tensors of the result

    classes, labels, counts = np.unique(y, return_inverse=True, return_counts=True)
    body, _ = units.split(network, 0)
    rows, sums, done = first_of_each(labels, per_class), None, 0
    for features in inference.frozen_activations(body, x, inference.View(size), rows):  # [batch, width]: a set may be larger than memory
        sums = np.zeros((len(classes), features.shape[1])) if sums is None else sums
        np.add.at(sums, labels[rows[done : done + len(features)]], features)
        done += len(features)
    seen = np.bincount(labels[rows], minlength=len(classes))
    return {"means": torch.from_numpy(sums / seen[:, None]), "counts": torch.from_numpy(counts)}


def first_of_each(labels: np.ndarray, per_class: int | None) -> np.ndarray:
    """Places of the first images of each class, int64, rising; of all images for None."""
    if per_class is None:
        return np.arange(len(labels))
    return np.sort(np.concatenate([np.flatnonzero(labels == label)[:per_class] for label in np.unique(labels)]))
