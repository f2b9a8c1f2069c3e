"""What the penultimate layer of a source makes of a target's training images. All of it is in the key of the features."""

from pathlib import Path

from torch import Tensor

from stages.lib.datasets.sets import card_of, load
from stages.lib.networks.devices import best_device
from stages.lib.networks.pretrained import Pretrained
from stages.lib.store import files
from stages.lib.training import descent


def compute(source: Pretrained, target: str) -> Tensor:
    """Float32 [n_train, width], on the CPU."""
    network = source.network().to(best_device())
    return descent.features_of(network, load(target, "train")[0], card_of(target).image_size).cpu()


def stored(path: Path) -> Tensor:
    """The features that `features.store` has kept."""
    return files.read_tensors(path)["features"]
