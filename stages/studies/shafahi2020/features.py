"""What a source makes of the training images of a target, without augmentation: computed once, and kept for every run that needs it."""

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

from stages.lib.datasets.sets import card_of, load
from stages.lib.networks import sources
from stages.lib.runs import missing
from stages.lib.settings.sections import GridSettings
from stages.lib.store import cells, code, files

if TYPE_CHECKING:  # torch takes seconds to import
    from torch import Tensor

MODULE = "stages.lib.training.descent"


@dataclass(frozen=True, eq=False)
class Features:
    """Of the penultimate layer: float32 [n_train, width]."""

    source: str
    target: str

    def __str__(self) -> str:
        return f"features of {self.source} on {self.target}"

    @cached_property
    def key(self) -> str:
        target = card_of(self.target)
        return files.digest_of({
            "source": sources.card_of(self.source).sha256, "target": target.splits["train"].sha256, "size": target.image_size,
            "code": code.digest(MODULE), "torch": code.torch_version(),
        })  # fmt: skip

    def load(self) -> "Tensor":
        return cells.tensors("features", self.key)["features"]


def store(source: str, target: str, settings: GridSettings) -> None:
    """Compute the features of a source on a target where the store lacks them."""
    wanted = Features(source, target)
    if cells.load("features", wanted.key) is None:
        missing.compute(str(wanted), "features", {wanted.key: wanted}, compute, settings=settings, preload=[MODULE], unit="pass")


def compute(wanted: Features) -> None:
    """In a worker."""
    from stages.lib.networks.devices import best_device  # here, as torch takes seconds to import
    from stages.lib.training import descent

    network = sources.load(wanted.source).to(best_device())
    found = descent.features_of(network, load(wanted.target, "train")[0], card_of(wanted.target).image_size)
    cells.save("features", wanted.key, {"shape": list(found.shape)}, {"features": found.cpu()})


def of(run: Any) -> "Tensor":
    """The features of a run's source on its target."""
    return Features(run.source, run.target).load()
