"""How well test images are labelled: top-1 accuracy, and its mean over the classes."""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Scores:
    """In percent, under the names of the metrics of data/catalog.yaml."""

    accuracy: float  # of the images
    mean_per_class: float  # mean, over the classes that have an image, of the accuracy on the images of each


def scores(predicted: np.ndarray, y: np.ndarray) -> Scores:
    """The scores of predicted classes against labels, both int64 [n]; a class without an image does not count."""
    right = predicted == y
    images = np.bincount(y)
    recall = np.bincount(y[right], minlength=len(images))[images > 0] / images[images > 0]
    return Scores(float(100 * right.sum() / len(y)), float(100 * recall.mean()))
