"""Accuracy of one network under one attack, image by image, and pictures of what the attack does. All of it is in the key."""

from dataclasses import asdict
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from stages.lib.attacks import evaluation
from stages.lib.datasets import pixels, sampling
from stages.lib.datasets.sets import card_of
from stages.lib.networks.devices import best_device
from stages.lib.runs.work.attacked import images_of, network_of

if TYPE_CHECKING:
    from stages.lib.runs.attacked import Evaluation

SEED = 0  # of the attacks' random starts
EXAMPLES = 8  # images of which there are pictures


def compute(asked: "Evaluation") -> tuple[dict[str, Any], dict[str, Tensor]]:
    """The radii, and beside them the images' places in the split, and which of them stand at each radius (bool [radii, images]).

    Where pictures are asked for, they are of images of different classes, at the largest radius.
    """
    device = best_device()
    network = network_of(asked.network).to(device)
    x, y, places = images_of(asked.network, asked.max_images)
    see = partial(pixels.prepare, device=device, size=card_of(asked.network.dataset).image_size, resolution=asked.network.resolution)
    [attack] = asked.attacks
    at, aim = partial(evaluation.perturbation, attack, asked.norm), evaluation.aim_of(attack)
    how = {"see": see, "at": at, "aim": aim, "from_largest": attack.get("from_largest", False)}
    standing = dict(evaluation.standing_against_eps(network, x, y, radii=asked.radii, seed=SEED, **how))
    arrays = {"standing": np.stack(list(standing.values())), "tested": places}
    if asked.examples and (eps := max(asked.radii)) > 0:
        shown = sampling.stratified(y, EXAMPLES)
        examples = evaluation.examples(network, x[shown], y[shown], see=see, perturb=at(eps), eps=eps, seed=SEED, aim=aim)
        arrays |= asdict(examples) | {"image": places[shown]}
    return {"radii": list(standing)}, {name: torch.from_numpy(np.array(array)) for name, array in arrays.items()}
