"""Whether the evaluation of a network with PGD can be trusted. All of it is in the key."""

from dataclasses import asdict
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from stages.lib.attacks import checks, evaluation
from stages.lib.datasets import pixels
from stages.lib.datasets.sets import card_of
from stages.lib.networks.devices import best_device
from stages.lib.runs.work.attacked import images_of, network_of

if TYPE_CHECKING:
    from stages.lib.runs.attacked import Evaluation

SEED = 0  # of the attacks' random starts


def compute(asked: "Evaluation") -> tuple[dict[str, Any], None]:
    """The checks, of the first images that the network labels correctly; none where there are no such images or no radii above 0."""
    device = best_device()
    network = network_of(asked.network).to(device)
    x, y = images_of(asked.network, asked.max_images)
    see = partial(pixels.prepare, device=device, size=card_of(asked.network.dataset).image_size, resolution=asked.network.resolution)
    right = np.flatnonzero(evaluation.predicted(network, x, see) == y)[: asked.check_images]
    radii = asked.radii[1:]
    if not len(right) or not radii:
        return {"checks": []}, None
    how = {name: asked.attack[name] for name in ("steps", "step_ratio")}
    results = checks.checks(network, x[right], y[right], see=see, norm=asked.norm, radii=radii, **how, seed=SEED)
    return {"checks": [asdict(check) for check in results]}, None
