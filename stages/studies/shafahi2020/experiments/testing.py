"""The test at the end of each run: accuracy of the first images, clean and after each attack within the ball."""

from functools import partial
from typing import Any

import numpy as np
from torch import nn

from stages.lib.attacks import evaluation
from stages.lib.datasets import pixels
from stages.lib.networks import inference
from stages.lib.networks.devices import device_of
from stages.lib.networks.inference import CutNetwork, View
from stages.lib.store.tables import DIVERGED
from stages.lib.training import finetuning

SEED = 0  # of the random draws of attacks

Images = tuple[np.ndarray, np.ndarray]  # x, uint8 [n, H, W, 1 or 3], and y, int64 [n]


def tested(network: nn.Sequential, trained_on: Images, test: Images, size: int, measured: dict[str, Any]) -> dict[str, float]:
    """Percent of the first images that are labelled correctly: `train`, and of the test `clean` and one under the name of each attack.

    Of a network with weights that are no numbers, these are the accuracies of the first class, and `diverged` is 1 beside them.

    Args:
        size: pixels a side that the network takes.
        measured: settings of `settings.robustness.MeasuredSettings`.
    """
    (train_x, train_y), (x, y) = ([part[: measured["max_images"]] for part in images] for images in (trained_on, test))
    see = partial(pixels.prepare, device=device_of(network), size=size)
    percent = {"train": inference.accuracy(CutNetwork(None, network.eval(), View(size)), train_x, train_y)}
    for name, attack in measured["attacks"].items():
        at, aim = partial(evaluation.perturbation, attack, measured["norm"]), evaluation.aim_of(attack)
        radii = [measured["eps"]]
        standing = [s for _, s in evaluation.standing_against_eps(network, x, y, see=see, at=at, radii=radii, seed=SEED, aim=aim)]
        percent |= {"clean": 100 * standing[0].mean(), name: 100 * standing[-1].mean()}
    flags = {} if finetuning.weights_are_finite(network) else {DIVERGED: 1}
    return {name: float(value) for name, value in (percent | flags).items()}
