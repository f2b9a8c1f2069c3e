"""A source as a worker is told of it: where its weights are, whose they are, and what makes a network of them."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from stages.lib.errors import RunError
from stages.lib.store import files

if TYPE_CHECKING:
    from torch import Tensor, nn


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
        path = Path(self.weights)
        if not path.is_file() or files.sha256_of(path) != self.sha256:
            raise RunError(f"{path}: its sha256 is not that of its card; run `dvc repro source@{self.name}` to make it again")
        return files.read_tensors(path)

    def network(self) -> "nn.Sequential":
        """The source in eval mode."""
        from stages.lib.networks import units  # here, as torch takes seconds to import

        network = units.build(self.architecture, self.classes, list(self.mean), list(self.std))
        units.load(network, self.tensors())
        return network.eval()
