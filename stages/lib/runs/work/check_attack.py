"""Whether the evaluation of a network can be trusted. All of it is in the key."""

from dataclasses import asdict
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from stages.lib.attacks import checks, evaluation
from stages.lib.datasets import pixels, sampling
from stages.lib.datasets.sets import card_of
from stages.lib.networks.devices import best_device
from stages.lib.runs.work import other
from stages.lib.runs.work.attacked import images_of, network_of

if TYPE_CHECKING:
    from stages.lib.runs.attacked import Evaluation

SEED = 0  # of the attacks' random starts


def compute(asked: "Evaluation") -> tuple[dict[str, Any], None]:
    """The checks, of images that the network labels correctly; none where there are no such images or no radii above 0."""
    device = best_device()
    network = network_of(asked.network).to(device)
    x, y, _ = images_of(asked.network, asked.max_images)
    see = partial(pixels.prepare, device=device, size=card_of(asked.network.dataset).image_size, resolution=asked.network.resolution)
    right = np.flatnonzero(evaluation.predicted(network, x, see) == y)
    radii = asked.radii[1:]
    if not len(right) or not radii:
        return {"checks": []}, None
    right = right[sampling.stratified(y[right], asked.check_images)]
    attacks = [checks.Attack(partial(evaluation.perturbation, attack, asked.norm), evaluation.aim_of(attack)) for attack in asked.attacks]
    results = checks.checks(
        checks.Trial(network, x[right], y[right], see, SEED), norm=asked.norm, radii=radii, attacks=attacks,
        other=asked.other and other.network_of(asked.other, asked.network, see, device),
    )  # fmt: skip
    return {"checks": [asdict(check) for check in results]}, None
