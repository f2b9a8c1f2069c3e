"""Sets that are drawn from a seed: `glyphs` (letters), `textures`, and letters with the textures of others (`drawing` says how).

The settings are all that there is to bring.
"""

from collections.abc import Iterator
from typing import Annotated, Literal

import numpy as np
from pydantic import Field, model_validator

from stages.lib.datasets.kinds.base import Dataset, Images, Split
from stages.lib.datasets.sets import RAW, read, save
from stages.lib.progress import bar
from stages.lib.settings.catalog import Labels
from stages.lib.settings.fields import Count, Fraction, OneOrMore, Real, Seed
from stages.lib.settings.sections import DownloadSettings

Font = Literal["cmb10", "cmr10", "cmss10", "cmti10", "cmtt10", "STIXGeneral", "STIXGeneralBol", "STIXGeneralBolIta", "STIXGeneralItalic"]
LETTERS = "ABCDEFGHJKLMNPQRSTUVWXYZ"  # without I and O, which are digits in some of the fonts


class Procedural(Dataset):
    """The settings of all of them, and how a set is drawn, read and counted."""

    kind: Literal["procedural"]
    set: str
    classes: Annotated[Count, Field(ge=2)]
    train: Count
    test: Count
    size: Annotated[int, Field(strict=True, ge=8)]  # pixels a side
    seed: Seed
    clutter: Fraction  # amplitude of smooth colour noise
    texture_amplitude: Fraction

    def sizes(self) -> dict[str, int]:
        """Images of each split."""
        return {"train": self.train, "test": self.test}

    def bring(self, name: str, settings: DownloadSettings) -> list[str]:
        """Draw every split."""
        from stages.lib.datasets.kinds.drawing import draw  # here, as matplotlib, whose fonts it takes, is slow to import

        for split in self.sizes():
            x, y = draw(self, split, lambda numbers, split=split: bar(numbers, title=f"{name}: {split}", unit="image"))
            save(RAW / name, split, x, y)
        return [f"{split}_{array}.npy" for split in self.sizes() for array in "xy"]

    def read(self, name: str, image_size: int) -> Iterator[Split]:
        for path in sorted((RAW / name).glob("*_x.npy")):
            split = path.name.removesuffix("_x.npy")
            yield split, *read(RAW / name, split)

    def native_size(self, image_size: int) -> int:
        return self.size


class Glyphs(Procedural):
    """Letters, whose label is in their shape and, in most images, in a faint texture as well."""

    set: Literal["glyphs"]
    classes: Annotated[int, Field(strict=True, ge=2, le=24)]
    min_contrast: Annotated[Real, Field(ge=0, le=0.5)]  # least difference in brightness between letter and ground
    texture_correlation: Fraction  # of the images whose texture is that of their class
    alphabet: Annotated[str, Field(pattern=f"^[{LETTERS}]+$")] = LETTERS  # the letter of each class
    fonts: OneOrMore[Font] | None = None  # of matplotlib; None: the DejaVu fonts
    train_decorrelated: bool = False  # whether there is a split of the training images with textures that are independent of the label
    dial: list[Fraction] = Field(default_factory=list)  # further values of `texture_correlation`, of each the same training letters

    @model_validator(mode="after")
    def _has_a_letter_for_each_class(self) -> "Glyphs":
        if len(set(self.alphabet)) < len(self.alphabet) or self.classes > len(self.alphabet):
            raise ValueError(f"an alphabet of {self.classes} letters or more, each once, for as many classes; it is {self.alphabet!r}")
        return self

    def sizes(self) -> dict[str, int]:
        """Images of each split; those of `test_decorrelated` and `train_decorrelated` have a texture that is independent of the label."""
        more = {"train_decorrelated": self.train} if self.train_decorrelated else {}
        return super().sizes() | {"test_decorrelated": self.test} | more | {dial_split(value): self.train for value in self.dial}

    def names_of_classes(self, split: str, x: Images, y: np.ndarray) -> list[str]:
        """The letters."""
        return list(self.alphabet[: self.classes])


def dial_split(correlation: float) -> str:
    """The split of the training letters with that correlation of texture and label: `train_dial_0_5`."""
    return f"train_dial_{f'{correlation:g}'.replace('.', '_')}"


class GlyphsConflict(Glyphs):
    """Letters with the texture of another, each pair as often as any other; an image has two labels, of shape and of texture: [n, 2]."""

    set: Literal["glyphs_conflict"]
    train: None = None
    texture_correlation: Fraction = 0.0
    dial: list[Fraction] = Field(default_factory=list, max_length=0)
    train_decorrelated: Literal[False] = False

    def sizes(self) -> dict[str, int]:
        """Images of the one split."""
        return {"test": self.test}

    def names_of_classes(self, split: str, x: Images, y: np.ndarray) -> list[str]:
        return list(self.alphabet[: self.classes])

    @property
    def labels(self) -> Labels:
        return "two"


class Textures(Procedural):
    """Textures, which alone tell the label."""

    set: Literal["textures"]

    @property
    def label_is_texture(self) -> bool:
        return True


Entry = Annotated[Glyphs | GlyphsConflict | Textures, Field(discriminator="set")]
