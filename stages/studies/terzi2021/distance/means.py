"""Class means of a source's own data, which its distances to all targets begin with: computed once, kept under a key."""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from stages.lib.datasets.sets import card_of
from stages.lib.networks import sources
from stages.lib.networks.pretrained import Pretrained
from stages.lib.runs import deciding, missing
from stages.lib.runs.experiments import Run
from stages.lib.settings.catalog import Part
from stages.lib.settings.sections import GridSettings
from stages.lib.store import cells, files

MODULE = "stages.studies.terzi2021.experiments.class_means"  # computes them
KIND = "class_means"  # of the cells


@dataclass(frozen=True, eq=False)
class ClassMeans:
    """What `class_means` makes of the training images that a model has learnt."""

    source: Pretrained
    dataset: str
    part: Part | None  # of its classes
    per_class: int | None

    def __str__(self) -> str:
        return f"class means of {self.source.name} on {self.dataset}"

    @cached_property
    def key(self) -> str:
        """The hash of all that decides them."""
        images = card_of(self.dataset)
        return files.digest_of(deciding.code_of(MODULE, deciding.modules_of_architecture(self.source.architecture)) | {
            "source": self.source.sha256, "architecture": self.source.architecture, "images": images.splits["train"].sha256,
            "size": images.image_size, "part": self.part and self.part.model_dump(), "per_class": self.per_class,
        })  # fmt: skip

    @property
    def path(self) -> Path:
        return cells.path_of(KIND, self.key, ".safetensors")


def prepare(runs: list[Run], settings: GridSettings) -> dict[str, Path]:
    """Compute those of the models of the runs that the store lacks; returns the file of each run by its key."""
    models = {(run.source, run.number): run for run in runs}
    wanted = {model: means_of_model(*model, run.how["per_class"]) for model, run in models.items()}
    missing.compute(
        "class means", KIND, {each.key: each for each in wanted.values()}, _work, settings=settings, preload=[MODULE], unit="model"
    )
    return {run.key: wanted[run.source, run.number].path for run in runs}


def means_of_model(source: str, number: int, per_class: int | None) -> ClassMeans:
    card = sources.card_of(source, number)
    return ClassMeans(sources.pretrained_of(card), card.dataset, card.part, per_class)


def _work(wanted: ClassMeans) -> None:
    """In a worker: compute class means and keep them."""
    from stages.studies.terzi2021.experiments import class_means  # here, as torch takes seconds to import

    means = class_means.class_means(wanted.source, wanted.dataset, wanted.part, wanted.per_class)
    cells.save(KIND, wanted.key, {"classes": len(means["counts"])}, means)
