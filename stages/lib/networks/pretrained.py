"""A source as a worker is told of it: where its weights are, whose they are, and what makes a network of them."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from stages.lib.store import files, verified

if TYPE_CHECKING:
    from torch import Tensor, nn


def check(path: str, sha256: str, source: str) -> None:
    """Raises RunError when a file of weights is not the one that the card of its source, and so the key, speaks of."""
    verified.check(Path(path), sha256, "its card", f"run `dvc repro source@{source}` to make it again")


@dataclass(frozen=True)
class Pretrained:
    """The weights of a source; small, as every worker is sent it."""

    name: str
    architecture: str
    classes: int | None  # None: without pre-training
    mean: tuple[float, ...]  # that the first unit normalises with
    std: tuple[float, ...]
    weights: str  # path of the file
    sha256: str  # of the file

    def tensors(self) -> "dict[str, Tensor]":
        """Raises RunError when the weights are not those of the source's card."""
        self.check()
        return files.read_tensors(Path(self.weights))

    def check(self) -> None:
        """Raises RunError when the weights are not those of the source's card."""
        check(self.weights, self.sha256, self.name)

    def network(self) -> "nn.Sequential":
        """The source in eval mode."""
        from stages.lib.networks import units  # here, as torch takes seconds to import

        network = units.build(self.architecture, self.classes, list(self.mean), list(self.std))
        units.load(network, self.tensors())
        return network.eval()
