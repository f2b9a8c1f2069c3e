"""Three ways to a robust model of a target with few images of each class (Shafahi et al. 2020, Section 4.2, Figure 3).

`adversarial`: a network from random weights, trained on the target's adversarial examples, by PGD or free. `finetuned`: a robust
source, of which the head or more learns from the target's adversarial examples. `transferred`: a head on the features of that
source, trained on the target's images as they are.
"""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from stages.lib.attacks import pgd
from stages.lib.attacks.attack import Perturb
from stages.lib.datasets.sets import card_of, load
from stages.lib.errors import RunError
from stages.lib.networks import units as networks
from stages.lib.networks.devices import best_device
from stages.lib.networks.pretrained import Pretrained
from stages.lib.norms.table import norm_of
from stages.lib.training import descent
from stages.lib.training.free import Free
from stages.studies.shafahi2020.experiments import penultimate, train_heads
from stages.studies.shafahi2020.experiments.testing import tested

if TYPE_CHECKING:
    from stages.lib.runs.experiments import Run


def compute(run: "Run", source: Pretrained, stored: Path | None) -> tuple[dict[str, float], dict[str, Tensor]]:
    """In a worker: draw the images, train and test; `passes`: how many images the training sent forth and back through the network.

    They are counted as in the paper (Section 4.2): an image of a batch once for the step, and once for every step of an attack on it. A
    head that learns from stored features costs less, as the images go forth once: its passes are those that it would take without.
    """
    target, device = card_of(run.target), best_device()
    (x, y), test = (load(run.target, split) for split in ("train", "test"))
    rows = few(y, int(run.setting), run.seed, run.target)
    few_x, few_y = x[rows], y[rows]
    fresh = "all" if run.method == "adversarial" else 1
    network = descent.begin(source.architecture, source.tensors(), target.classes, run.seed, fresh).to(device)
    how = descent.of_images(run.how["training"], len(rows))
    data = descent.Images(few_x, few_y, device, target.image_size, how["augmentation"] == "crop_flip", run.seed)
    if run.method == "adversarial":
        networks.normalise_by(network, target.mean, target.std)
        passes = adversarial(run, network, data, how)
    elif run.method == "finetuned":
        trained = networks.last_pieces(network, run.how["pieces"])
        passes = descent.train(network, trained, data, how, run.seed, attack_of(run)) * (run.how["attack"]["steps"] + 1)
    else:
        passes = train_heads.train_on_features(network.head, penultimate.stored(stored)[rows].to(device), data.y, how, run.seed)
    percent, correct = tested(network, (few_x, few_y), test, target.image_size, run.measured)
    return {"passes": passes} | percent, correct


def adversarial(run: "Run", network: torch.nn.Sequential, data: descent.Images, how: dict[str, Any]) -> int:
    """Train every unit on adversarial examples; a batch `replay` times where the section says so, else each after PGD."""
    attack, units = run.how["attack"], [name for name, _ in network.named_children() if name != "normalise"]
    if attack["replay"] is None:
        return descent.train(network, units, data, how, run.seed, attack_of(run)) * (attack["steps"] + 1)
    free = Free(attack["replay"], norm_of(attack["norm"]), lambda progress: attack["eps"])
    return descent.train(network, units, data, how, run.seed, free=free)


def attack_of(run: "Run") -> Perturb:
    """The attack that the run trains with."""
    return pgd.make(**{name: value for name, value in run.how["attack"].items() if name != "replay"}, random_start=True)


def few(y: np.ndarray, n: int, seed: int, target: str) -> np.ndarray:
    """Places of n images of each class, drawn without replacement; int64 [n * classes], rising.

    Raises:
        RunError: when a class has fewer.
    """
    random, counts = np.random.default_rng(seed), np.bincount(y)
    if counts.min() < n:
        raise RunError(f"harden.n_per_class is {n}; allowed: 1 to {counts.min()}, the images of the smallest class of {target}")
    return np.sort(np.concatenate([random.choice(np.flatnonzero(y == label), n, replace=False) for label in range(len(counts))]))
