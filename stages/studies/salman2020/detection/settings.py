"""The section `detect` of params.yaml: sources as backbones of detectors (Salman et al. 2020, Section 4.3, Figure 4)."""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from stages.lib.settings.fields import Count, Name, NotNegative, OneOrMore, Positive, Real, Settings, Whole, bounded

Pixels = bounded(4096, 8)


class Task(Settings):
    """One detector on one set with objects: how it is trained and tested."""

    dataset: Name
    detector: Literal["faster_rcnn", "mask_rcnn"]
    iterations: Count
    batch_size: Count
    lr: Positive
    drops: list[Count]
    warmup: Whole
    momentum: Annotated[Real, Field(ge=0, lt=1)]
    weight_decay: NotNegative
    freeze_at: bounded(5, 0)
    flip: bool
    shorter: OneOrMore[Pixels]
    longest: Pixels
    recall_points: Literal[11, 101]
    max_images: Count
    sources: OneOrMore[Name] | None = None
    n_seeds: Count | None = None

    @model_validator(mode="after")
    def _ends_after_its_drops(self) -> "Task":
        if [*self.drops, self.iterations] != sorted({*self.drops, self.iterations}):
            raise ValueError(f"`drops` that rise, each below the {self.iterations} iterations")
        if self.longest < self.shorter[-1]:
            raise ValueError(f"`longest` from {self.shorter[-1]} on, the last of `shorter`")
        return self


class DetectSettings(Settings):
    """Sources and numbers of seeds are those of every task that names none of its own."""

    sources: OneOrMore[Name]
    n_seeds: Count
    tasks: Annotated[dict[Name, Task], Field(min_length=1)]
    pictures: Whole

    @property
    def with_objects(self) -> dict[str, str]:
        """The sets that have to have objects, by the keys that name them."""
        return {f"tasks.{name}.dataset": task.dataset for name, task in self.tasks.items()}

    @property
    def with_masks(self) -> dict[str, str]:
        """The sets whose objects have to have masks, by the keys that name them."""
        return {f"tasks.{name}.dataset": task.dataset for name, task in self.tasks.items() if task.detector == "mask_rcnn"}

    def sources_of(self, task: Task) -> list[str]:
        return task.sources or self.sources

    def seeds_of(self, task: Task) -> range:
        return range(task.n_seeds or self.n_seeds)
