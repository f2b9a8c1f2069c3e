"""The earth mover's distance between the data of a source and a target (Cui et al. 2018, Section 4.1; Terzi et al. 2021, Section 5).

Of each class the mean of its training images' features is taken, of the layer before the head. A class weighs as much as its share of the
images; what is moved from one class to another goes as far as their means are apart (Euclid). All of it is in the key of a run.
"""

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from torch import Tensor, nn

from stages.lib.datasets import sets
from stages.lib.errors import RunError
from stages.lib.networks import inference, units
from stages.lib.networks.devices import best_device
from stages.lib.networks.pretrained import Pretrained
from stages.lib.store import files

if TYPE_CHECKING:
    from stages.lib.runs.experiments import Run
    from stages.lib.settings.catalog import Part

MOST_ITERATIONS = 10_000_000  # of the network simplex; a thousand classes need less than a hundred thousand


def compute(run: "Run", source: Pretrained, stored: Path) -> tuple[dict[str, float], None]:
    """In a worker: the distance `emd`, in units of the features.

    Args:
        stored: the class means of the source's own data, as `class_means` gives them.
    """
    own = {name: tensor.numpy() for name, tensor in files.read_tensors(stored).items()}
    target = {name: tensor.numpy() for name, tensor in class_means(source, run.target, None, run.how["per_class"]).items()}
    frequent = own["counts"] >= run.how["least"]
    if not frequent.any():
        most = int(own["counts"].max())
        raise RunError(
            f"measure_distance.least is {run.how['least']}, and no class of {source.name} has so many images; allowed: 1 to {most}"
        )
    return {"emd": earth_movers(own["means"][frequent], own["counts"][frequent], target["means"], target["counts"])}, None


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


def earth_movers(left: np.ndarray, left_counts: np.ndarray, right: np.ndarray, right_counts: np.ndarray) -> float:
    """The earth mover's distance of two sets of points, [m, width] and [n, width], that weigh as their counts say; exact."""
    import ot  # here, as it takes a second to import
    from scipy.spatial.distance import cdist

    weights = [counts / counts.sum() for counts in (left_counts, right_counts)]
    distance, log = ot.emd2(*weights, cdist(left, right), numItermax=MOST_ITERATIONS, log=True)
    if log["warning"]:
        raise RunError(f"the earth mover's distance was not found: {log['warning']}")
    return float(distance)
