"""A source that is fine-tuned on images of another set, as these experiments do it (Utrera et al. 2021, Section 5)."""

from typing import Any

import numpy as np
from torch import nn

from stages.lib.datasets import sampling
from stages.lib.datasets.sets import card_of, load
from stages.lib.networks import units
from stages.lib.networks.devices import best_device
from stages.lib.networks.inference import View
from stages.lib.networks.pretrained import Pretrained
from stages.lib.training import finetuning

OPTIMISER = ("epochs", "batch_size", "lr", "momentum", "weight_decay", "frozen_batchnorm")


def finetuned(source: Pretrained, target: str, blocks: int | str, how: dict[str, Any], seed: int) -> tuple[nn.Sequential, float, bool]:
    """The network in eval mode, its accuracy in percent on the test images of the target, and whether it has diverged.

    Args:
        blocks: that are trained besides the head; `all`: the whole network.
        how: settings of `shape.settings.Tuning`.
        seed: of the head, the subset and the order of its images.
    """
    card, device = card_of(target), best_device()
    (x, y), (test_x, test_y) = load(target, "train"), load(target, "test")
    network = finetuning.start(source.architecture, source.tensors(), card.classes, how["head_init"], seed).to(device)
    frozen, trained = (None, network) if blocks == "all" else units.split(network, blocks)
    chosen = sampling.stratified(y, len(y) if how["n_images"] == "all" else how["n_images"], seed)
    settings = {name: how[name] for name in OPTIMISER} | {"eval_every": 0}  # the last epoch alone is tested
    inputs, view = finetuning.Inputs(x, y, test_x, np.asarray(test_y)), View(card.image_size, augmentation=how["augmentation"])
    [last] = finetuning.finetune(trained, inputs, chosen, seed=seed, frozen=frozen, view=view, **settings)
    return network.eval(), last.test_accuracy, last.diverged
