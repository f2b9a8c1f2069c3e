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

SEED = 0  # of the random draws of attacks
PARTS = {"validation": slice(0, None, 2), "test": slice(1, None, 2)}  # of the images that are tested: to choose on, and to judge on

Images = tuple[np.ndarray, np.ndarray]  # x, uint8 [n, H, W, 1 or 3], and y, int64 [n]


def tested(network: nn.Sequential, trained_on: Images, test: Images, size: int, measured: dict[str, Any]) -> dict[str, float]:
    """Percent of the first images that are labelled correctly: `train`, and of the test `clean` and one under the name of each attack.

    Args:
        size: pixels a side that the network takes.
        measured: settings of `settings.robustness.MeasuredSettings`.
    """
    return {name: value for name, value in tested_in_parts(network, trained_on, test, size, measured).items() if ", " not in name}


def tested_in_parts(network: nn.Sequential, trained_on: Images, test: Images, size: int, measured: dict[str, Any]) -> dict[str, float]:
    """What `tested` gives, and each of it of every second test image, as `clean, validation`, and of the others, as `clean, test`.

    What is chosen by the validation part is judged by the other one.
    """
    (train_x, train_y), (x, y) = ([part[: measured["max_images"]] for part in images] for images in (trained_on, test))
    see = partial(pixels.prepare, device=device_of(network), size=size)
    percent = {"train": inference.accuracy(CutNetwork(None, network.eval(), View(size)), train_x, train_y)}
    for name, attack in measured["attacks"].items():
        at, aim = partial(evaluation.perturbation, attack, measured["norm"]), evaluation.aim_of(attack)
        radii = [measured["eps"]]
        standing = [s for _, s in evaluation.standing_against_eps(network, x, y, see=see, at=at, radii=radii, seed=SEED, aim=aim)]
        for measure, right in (("clean", standing[0]), (name, standing[-1])):
            percent[measure] = 100 * right.mean()
            percent |= {f"{measure}, {part}": 100 * right[images].mean() for part, images in PARTS.items()}
    return {name: float(value) for name, value in percent.items()}
