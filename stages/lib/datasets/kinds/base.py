"""What every kind of image set offers, so that no stage asks which kind a set is of."""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Literal, Protocol

import numpy as np
from pydantic import model_validator

from stages.lib.datasets.reduced import Reading
from stages.lib.datasets.sets import RAW, DatasetCard
from stages.lib.datasets.whole import RATIO, shorter_side
from stages.lib.errors import RunError
from stages.lib.fetching.checksums import digests_of, is_known, problem_of
from stages.lib.fetching.fetch import fetch
from stages.lib.progress import bytes_bar
from stages.lib.settings.catalog import File, Labels, Part
from stages.lib.settings.fields import MOST_PIXELS, Count, Moments, Settings, bounded
from stages.lib.settings.params import DATA_CATALOG, PARAMS
from stages.lib.settings.sections import DownloadSettings, UpscaleSettings


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
    low_resolution: bounded(MOST_PIXELS) | None = None  # pixels a side to which its images are reduced first, and then up again
    low_pass: bounded(MOST_PIXELS) | None = None  # of the frequencies of its images at the size that networks take (`reduced.low_passed`)
    low_pass_reading: Reading = "square"  # which frequencies go
    normalisation: Moments | None = None  # that published code normalises the set with
    class_names: list[str] | None = None  # in the order of the labels
    gone: str | None = None  # why its files are no longer published, so that they are put there by hand
    metric: Literal["accuracy", "mean_per_class"] = "accuracy"  # that results are reported in: of all test images, or the mean over classes

    @model_validator(mode="after")
    def _has_a_name_for_each_class(self) -> "Dataset":
        if self.class_names is not None and self.classes is not None and len(self.class_names) != self.classes:
            raise ValueError(f"{self.classes} names of classes, and class_names has {len(self.class_names)}")
        return self

    @model_validator(mode="after")
    def _loses_detail_in_one_way(self) -> "Dataset":
        if None not in (self.low_resolution, self.low_pass):
            raise ValueError("either `low_resolution` or `low_pass`")
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

    def read_size(self, name: str, settings: UpscaleSettings) -> int:
        """Pixels a side of the images that later stages read."""
        is_native = settings.store_of(name) == "native" and self.low_pass is None
        return self.native_size(settings.image_size) if is_native else settings.image_size

    def image_bytes(self, name: str, settings: UpscaleSettings) -> float:
        """Bytes of a stored image; of photographs that are stored whole, of one that is large enough and as wide as usual, 4 to 3."""
        if settings.store_of(name) != "whole":
            return self.read_size(name, settings) ** 2 * self.channels
        most = settings.shorter_side or shorter_side(settings.image_size, getattr(self, "crop", RATIO))
        side = min(most, self.native_size(most))
        return side**2 * self.channels * (4 / 3 if side == most else 1)

    def store(self, name: str, image_size: int) -> DatasetCard | None:
        """Write the set to `data/images/<name>/` in a form of its own, and give its card; None where `read` gives all that there is."""
        return None

    def size_problems(self, name: str, settings: UpscaleSettings) -> list[str]:
        """A line where images of the size that networks take lose no detail, or all of it; and for frequencies of images of no one size."""
        sides = {"low_resolution": self.low_resolution, "low_pass": self.low_pass}
        allowed = f"1 to {settings.image_size - 1}, below upscale.image_size"
        wrong = [
            f"{DATA_CATALOG}: {name}.{key} is {side}; allowed: {allowed}"
            for key, side in sides.items()
            if side is not None and side >= settings.image_size
        ]
        if self.low_pass is not None and settings.store_of(name) == "whole":
            allowed = "upscaled, whose images are squares of one size"
            wrong.append(f"{PARAMS}: upscale.store: whole, and {DATA_CATALOG}: {name}.low_pass is {self.low_pass}; allowed: {allowed}")
        return wrong

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

    @property
    def labels(self) -> Labels:
        """What an image has: one label, several objects with boxes, or two labels, of its shape and of its texture."""
        return "one"


def bring_files(name: str, listed: Sequence[File], settings: DownloadSettings, gone: str | None = None) -> list[str]:
    """Files of the set, each verified, into its raw folder; returns their names.

    Args:
        gone: why they are no longer published, and no address is asked for them.

    Raises:
        RunError: where a file cannot be had, or is another one.
    """
    lacking = [file.name for file in listed if not (RAW / name / file.name).exists() and not _elsewhere(name, file)]
    if gone and lacking:
        raise RunError(f"{name}: its files are no longer published ({gone}); put {', '.join(lacking)} into {RAW / name}/ by hand")
    return [bring_file(name, file.model_copy(update={"mirrors": []}) if gone else file, settings) for file in listed]


def bring_file(name: str, file: File, settings: DownloadSettings) -> str:
    """A file of the set, verified, into its raw folder; one that another set has brought is taken from there. Returns its name."""
    file = file.model_copy(update={"mirrors": [*_elsewhere(name, file), *file.mirrors]})
    with bytes_bar(f"{name}: {file.name}") as progress:
        fetch(file, RAW / name / file.name, timeout_s=settings.timeout_s, attempts=settings.attempts, progress=progress)
    return file.name


def _elsewhere(name: str, file: File) -> list[str]:
    """Where other sets have a file of this name, if a checksum can tell whether it is the same."""
    return [str(path) for path in sorted(RAW.glob(f"*/{file.name}")) if path.parent.name != name] if is_known(file) else []


def compare_files(raw: Path, listed: Iterable[File]) -> None:
    """Compare the files in the raw folder of a set with its entry; raises RunError where one is missing or another one."""
    for file in listed:
        path = raw / file.name
        if not path.is_file():
            raise RunError(f"{path}: the file is missing; run `dvc repro download@{raw.name}`")
        if problem := problem_of(path, digests_of(path), file):
            raise RunError(f"{path}: {problem}; delete it and run again")
