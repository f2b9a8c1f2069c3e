"""The network and the images of an evaluation, in the worker that computes it."""

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from torch import nn

from stages.lib.datasets import sampling
from stages.lib.datasets.sets import card_of, load, only
from stages.lib.networks import units
from stages.lib.networks.layers import cuts
from stages.lib.networks.pretrained import Pretrained  # for type checkers, and for the key: its methods run here
from stages.lib.store import files, verified
from stages.lib.training import finetuning

if TYPE_CHECKING:
    from stages.lib.runs.attacked import AttackedNetwork


def network_of(attacked: "AttackedNetwork") -> nn.Sequential:
    """The network in eval mode, with the trained part of the cell in place where there is one."""
    source: Pretrained = attacked.source
    if attacked.weights is None:
        return source.network()
    weights = source.tensors() if source.classes is not None else None
    network = finetuning.start(source.architecture, weights, card_of(attacked.dataset).classes, "default", seed=attacked.seed)
    _, trained = cuts.cut(network, attacked.blocks)
    path = Path(attacked.weights)
    verified.check(path, attacked.contents["weights"], "the key", f"run `dvc repro finetune@{source.name}` to make it again")
    kept = files.read_tensors(path)
    units.load(trained, {name: kept[name] for name in trained.state_dict() if name in kept})  # none of them is missing
    units.load(network, network.state_dict() | kept)
    return network.eval()


def images_of(attacked: "AttackedNetwork", most: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Test images, at most so many, drawn from all classes: uint8 [n, H, W, 1 or 3], their labels, and their places in the split."""
    x, y = load(attacked.dataset, "test", attacked.contents["data"])
    places, labels = only(attacked.part, card_of(attacked.dataset).classes, y)
    drawn = sampling.stratified(labels, most)
    return np.array(x[places[drawn]]), labels[drawn], places[drawn]
