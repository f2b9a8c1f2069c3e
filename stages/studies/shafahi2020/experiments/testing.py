"""The test at the end of each run: accuracy of the test images, and of a part of them after each attack within the ball, image by image."""

from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from stages.lib.attacks import evaluation
from stages.lib.datasets import pixels, sampling
from stages.lib.networks.devices import device_of
from stages.lib.store.tables import CORRECT, DIVERGED, IMAGE
from stages.lib.training import finetuning

SEED = 0  # of the random draws of attacks

Images = tuple[np.ndarray, ...]  # x, uint8 [n, H, W, 1 or 3]; y, int64 [n]; where they are a part of a split, their places in it


def tested(
    network: nn.Sequential, trained_on: Images, test: Images, size: int, measured: dict[str, Any]
) -> tuple[dict[str, float], dict[str, Tensor]]:
    """Percent of images that are labelled correctly: `clean` of all test images, `train` of drawn training images, and one under the name
    of each attack, of drawn test images.

    The same test images are drawn in every run on them, so that differences between runs are paired.

    Of a network with weights that are no numbers, these are the accuracies of the first class, and `diverged` is 1 beside them.

    Args:
        size: pixels a side that the network takes.
        measured: settings of `settings.robustness.MeasuredSettings`.

    Returns:
        the accuracies; and for each, under `correct/<measure>`, which images were labelled correctly (bool), and for those of the
        test, under `image/<measure>`, the places of these images in the split (int64).
    """
    all_x, all_y, all_places = _with_places(test)
    (train_x, train_y, _), (x, y, places) = (_drawn(images, measured["max_images"]) for images in (trained_on, test))
    see = partial(pixels.prepare, device=device_of(network), size=size)
    correct = {
        "train": evaluation.predicted(network, train_x, see) == train_y, "clean": evaluation.predicted(network, all_x, see) == all_y,
    }  # fmt: skip
    for name, attack in measured["attacks"].items():
        at, aim = partial(evaluation.perturbation, attack, measured["norm"]), evaluation.aim_of(attack)
        radii = [measured["eps"]]
        standing = [s for _, s in evaluation.standing_against_eps(network, x, y, see=see, at=at, radii=radii, seed=SEED, aim=aim)]
        correct[name] = standing[-1]
    percent = {name: float(100 * stood.mean()) for name, stood in correct.items()}
    flags = {} if finetuning.weights_are_finite(network) else {DIVERGED: 1.0}
    seen = dict.fromkeys(measured["attacks"], places) | {"clean": all_places}
    arrays = {CORRECT + name: stood for name, stood in correct.items()} | {IMAGE + name: where for name, where in seen.items()}
    return percent | flags, {name: torch.from_numpy(np.array(array)) for name, array in arrays.items()}


def _with_places(images: Images) -> Images:
    """The images with their places in the split."""
    return images if len(images) == 3 else (*images, np.arange(len(images[1])))


def _drawn(images: Images, most: int) -> Images:
    """At most so many of the images, with their places in the split."""
    x, y, places = _with_places(images)
    drawn = sampling.stratified(y, most)
    return np.array(x[drawn]), np.array(y[drawn]), places[drawn]
