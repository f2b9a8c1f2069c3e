"""Accuracy under PGD of a source on test images, at several radii (Utrera et al. 2021, Table 1b)."""

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from stages.lib.attacks import evaluation
from stages.lib.datasets import pixels, sampling
from stages.lib.datasets.sets import card_of, load
from stages.lib.networks.devices import best_device
from stages.lib.networks.pretrained import Pretrained
from stages.lib.store.tables import CORRECT, IMAGE
from stages.studies.utrera2021.shape import categories

if TYPE_CHECKING:
    from stages.lib.runs.experiments import Run

SEED = 0  # of the random draws of attacks; PGD from the image itself makes none


def compute(run: "Run", source: Pretrained, stored: Path | None) -> tuple[dict[str, float], dict[str, Tensor]]:
    """In a worker: percent of the drawn test images that are labelled correctly, under `eps_<radius>` for each radius and for 0."""
    categories.check_classes(run.target, card_of(run.target).classes, source.classes)
    (x, y), size = load(run.target, "test"), card_of(run.target).image_size
    drawn = sampling.stratified(y, run.how["max_images"])
    network, attack = source.network().to(best_device()), {k: v for k, v in run.how["attack"].items() if k != "norm"}
    see = partial(pixels.prepare, device=best_device(), size=size)
    at = partial(evaluation.perturbation, attack, run.how["attack"]["norm"])
    stood = dict(
        evaluation.standing_against_eps(
            network, np.array(x[drawn]), np.array(y[drawn]), see=see, at=at, radii=run.how["eps"], seed=SEED, aim=evaluation.aim_of(attack)
        )
    )
    arrays = {f"eps_{eps:g}": torch.from_numpy(np.array(standing)) for eps, standing in stood.items()}
    percent = {name: 100 * float(standing.double().mean()) for name, standing in arrays.items()}
    tensors = {CORRECT + name: standing for name, standing in arrays.items()}
    return percent, tensors | {IMAGE + name: torch.from_numpy(np.array(drawn)) for name in arrays}
