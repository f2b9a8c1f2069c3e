"""Features: what a source makes of the training images of a target, without augmentation; computed once, kept for every run."""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from stages.lib.datasets.sets import card_of
from stages.lib.networks import sources
from stages.lib.networks.pretrained import Pretrained
from stages.lib.runs import deciding, missing
from stages.lib.settings.sections import GridSettings
from stages.lib.store import cells, files

MODULE = "stages.studies.shafahi2020.experiments.penultimate"  # computes them


@dataclass(frozen=True, eq=False)
class Features:
    """What the penultimate layer of a source gives: float32 [n_train, width]."""

    source: Pretrained
    target: str

    def __str__(self) -> str:
        return f"features of {self.source.name} on {self.target}"

    @cached_property
    def key(self) -> str:
        """The hash of all that decides the features."""
        target = card_of(self.target)
        return files.digest_of(deciding.code_of(MODULE, deciding.modules_of_architecture(self.source.architecture)) | {
            "source": self.source.sha256, "architecture": self.source.architecture, "target": target.splits["train"].sha256,
            "size": target.image_size,
        })  # fmt: skip


def store(source: str, target: str, settings: GridSettings) -> Path:
    """Compute the features where the store lacks them; returns their file, for `penultimate.stored`."""
    wanted = Features(sources.pretrained_of(sources.card_of(source)), target)
    if cells.load("features", wanted.key) is None:
        missing.compute(str(wanted), "features", {wanted.key: wanted}, _work, settings=settings, preload=[MODULE], unit="run")
    return cells.path_of("features", wanted.key, ".safetensors")


def _work(wanted: Features) -> None:
    """In a worker: compute the features and keep them."""
    from stages.studies.shafahi2020.experiments import penultimate  # here, as torch takes seconds to import

    features = penultimate.compute(wanted.source, wanted.target)
    cells.save("features", wanted.key, {"shape": list(features.shape)}, {"features": features})
