"""What every kind of image set offers, so that no stage asks which kind a set is of."""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator
from typing import Literal, Protocol

import numpy as np
from pydantic import model_validator

from stages.lib.datasets.sets import RAW
from stages.lib.fetching.checksums import is_known
from stages.lib.fetching.fetch import fetch
from stages.lib.progress import bytes_bar
from stages.lib.settings.catalog import File, Part
from stages.lib.settings.fields import Count, Moments, Settings
from stages.lib.settings.sections import DownloadSettings


class Images(Protocol):
    """uint8 [n, H, W, channels]: an array, or what reads like one and decodes images when a slice of them is asked for."""

    shape: tuple[int, ...]

    def __len__(self) -> int: ...

    def __getitem__(self, rows: slice | np.ndarray) -> "np.ndarray | Images": ...


Split = tuple[str, Images, np.ndarray]  # name, x uint8 [n, H, W, channels], y int64 [n]


class Dataset(Settings, ABC):
    """An entry of data/catalog.yaml. Counts are those of the whole set, and None where they are not known before it is read.

    A kind is a subclass in a file of its own, with a `kind: Literal[...]` of that file's name; `datasets.catalog` lists them.
    """

    classes: Count | None
    channels: Literal[1, 3]
    train: Count | None
    test: Count | None
    part: Part | None = None  # of its classes
    normalisation: Moments | None = None  # that published code normalises the set with
    class_names: list[str] | None = None  # in the order of the labels
    metric: Literal["accuracy", "mean_per_class"] = "accuracy"  # that results are reported in: of all test images, or the mean over classes

    @model_validator(mode="after")
    def _has_a_name_for_each_class(self) -> "Dataset":
        if self.class_names is not None and self.classes is not None and len(self.class_names) != self.classes:
            raise ValueError(f"{self.classes} names of classes, and class_names has {len(self.class_names)}")
        return self

    @abstractmethod
    def bring(self, name: str, settings: DownloadSettings) -> list[str]:
        """Put the set into its raw folder, `data/raw/<name>/`; returns the names of the files that belong there."""

    @abstractmethod
    def read(self, name: str, image_size: int) -> Iterator[Split]:
        """Each split of the raw set, one after the other, so that one is in memory at a time.

        Images are at their native size; where these differ within a set, they come at `image_size`. What has been extracted goes
        away when the iterator ends or is closed.
        """

    @abstractmethod
    def native_size(self, image_size: int) -> int:
        """Pixels a side of the images that `read` gives."""

    def names_of_classes(self, split: str, x: Images, y: np.ndarray) -> list[str] | None:
        """The name of each class of the whole set, in the order of the labels, from a split that was read; None where none is known."""
        return self.class_names

    @property
    def expected_images(self) -> int:
        """How many images the set is known to have before it is read."""
        return (self.train or 0) + (self.test or 0)

    @property
    def file_bytes(self) -> int:
        """Bytes of the published files, as far as the entry says."""
        return 0

    @property
    def label_is_texture(self) -> bool:
        """Whether the label is in the texture of an image alone, and not in its shapes."""
        return False


def bring_files(name: str, listed: Iterable[File], settings: DownloadSettings) -> list[str]:
    """Files of the set, each verified, into its raw folder; returns their names."""
    return [bring_file(name, file, settings) for file in listed]


def bring_file(name: str, file: File, settings: DownloadSettings) -> str:
    """A file of the set, verified, into its raw folder; one that another set has brought is taken from there. Returns its name."""
    elsewhere = [str(path) for path in sorted(RAW.glob(f"*/{file.name}")) if path.parent.name != name] if is_known(file) else []
    file = file.model_copy(update={"mirrors": [*elsewhere, *file.mirrors]})
    with bytes_bar(f"{name}: {file.name}") as progress:
        fetch(file, RAW / name / file.name, timeout_s=settings.timeout_s, attempts=settings.attempts, progress=progress)
    return file.name
