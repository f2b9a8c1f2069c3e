"""Scenes that are drawn from a seed: several letters at random places and sizes on a background, with their boxes and masks."""

from collections.abc import Iterator
from typing import Annotated, Literal

from pydantic import Field, model_validator

from stages.lib.datasets.kinds.detection import WithObjects
from stages.lib.datasets.kinds.procedural import LETTERS
from stages.lib.datasets.objects.scenes import Scene, Scenes, save
from stages.lib.datasets.sets import RAW, DatasetCard, read
from stages.lib.progress import bar
from stages.lib.settings.fields import Count, Fraction, Real, Seed
from stages.lib.settings.sections import DownloadSettings

Side = Annotated[int, Field(strict=True, ge=8)]


class Letters(WithObjects):
    """The settings of such a set, and how it is drawn, read and counted. `scenery` says how a scene is drawn."""

    kind: Literal["scenes"]
    classes: Annotated[int, Field(strict=True, ge=2, le=24)]
    train: Count
    test: Count
    size: Side  # pixels a side of a scene
    fewest: Count  # letters that are put into a scene; one that would hide another is left out
    most: Count
    smallest: Side  # pixels a side of the square that a letter is drawn in
    largest: Side
    seed: Seed
    clutter: Fraction  # amplitude of smooth colour noise
    min_contrast: Annotated[Real, Field(ge=0, le=0.5)]  # least difference in brightness between a letter and the ground

    @model_validator(mode="after")
    def _fits(self) -> "Letters":
        if not self.fewest <= self.most:
            raise ValueError(f"`fewest` up to `most`, which is {self.most}")
        if not self.smallest <= self.largest <= self.size:
            raise ValueError(f"`smallest` up to `largest`, and that up to `size`, which is {self.size}")
        return self

    def bring(self, name: str, settings: DownloadSettings) -> list[str]:
        """Draw both splits."""
        from stages.lib.datasets.kinds.scenery import draw  # here, as matplotlib, whose fonts it takes, is slow to import

        for split in ("train", "test"):
            numbers = bar(range(getattr(self, split)), title=f"{name}: {split}", unit="scene")
            save(RAW / name, split, [draw(self, split, number) for number in numbers])
        return [f"{split}_{array}.npy" for split in ("train", "test") for array in "xy"]

    def scenes(self, name: str) -> Iterator[tuple[str, list[Scene]]]:
        for split in ("train", "test"):
            raw = Scenes(name, *read(RAW / name, split))
            yield split, [Scene(raw.file(i), *raw.size(i), raw.objects(i)) for i in range(len(raw))]

    def store(self, name: str, image_size: int) -> DatasetCard:
        card = super().store(name, image_size)
        return card.model_copy(update={"class_names": list(LETTERS[: self.classes]), "image_size": self.size, "stored_size": self.size})


Entry = Letters
