"""Sets of photographs of any size as their authors published them: archives of image files, with lists that say which is of what class."""

from collections.abc import Iterator
from typing import Annotated, Literal

import numpy as np
from pydantic import Field, model_validator

from stages.lib.datasets.kinds import lists
from stages.lib.datasets.kinds.base import Dataset, Images, Split, bring_files, compare_files
from stages.lib.datasets.pictures import Pictures
from stages.lib.datasets.sets import RAW
from stages.lib.datasets.whole import RATIO
from stages.lib.errors import RunError
from stages.lib.fetching import archives
from stages.lib.settings.catalog import File
from stages.lib.settings.fields import Count, Real, bounded
from stages.lib.settings.params import DATA_CATALOG
from stages.lib.settings.sections import DownloadSettings
from stages.lib.store import cells


class Photographs(Dataset):
    """The settings of such a set, and how it is brought, read and counted."""

    kind: Literal["photographs"]
    reader: Literal[
        "FGVCAircraft",
        "Caltech101",
        "Caltech256",
        "StanfordCars",
        "DTD",
        "Flowers102",
        "Food101",
        "OxfordIIITPet",
        "SUN397",
        "CUB200",
        "StanfordDogs",
        "Indoor67",
        "CINIC10ImageNet",
    ]  # the class of torchvision.datasets; of the last four it has none
    channels: Literal[1, 3] = 3
    classes: Annotated[Count, Field(ge=2)]
    train: Count
    test: Count
    files: Annotated[list[File], Field(min_length=1)]
    crop: Annotated[Real, Field(gt=0, le=1)] = RATIO  # side of the central square that a test sees over the shorter side: 224 of 256
    train_of_each_class: Count | None = None  # of the Caltech sets, which have no lists: the first files of each class
    partition: bounded(10) = 1  # of DTD and SUN397, which have ten

    @model_validator(mode="after")
    def _has_a_split(self) -> "Photographs":
        if self.reader.startswith("Caltech") == (self.train_of_each_class is None):
            raise ValueError("`train_of_each_class` for the Caltech sets, and for them alone")
        return self

    def bring(self, name: str, settings: DownloadSettings) -> list[str]:
        self.check(name)
        return bring_files(name, self.files, settings, self.gone)

    def check(self, name: str) -> None:
        """The entry must name the files that the reader reads."""
        named, allowed = sorted(file.name for file in self.files), sorted(lists.FILES[self.reader])
        if named != allowed:
            raise RunError(f"{DATA_CATALOG}: {name}.files are {', '.join(named)}; allowed for {self.reader}: {', '.join(allowed)}")

    def read(self, name: str, image_size: int) -> Iterator[Split]:
        self.check(name)
        compare_files(RAW / name, self.files)
        with archives.extracted([], within=cells.folder("extracted")) as folder:
            lists.lay_out(self.reader, RAW / name, folder)
            found = lists.read(self.reader, folder, RAW / name, self.train_of_each_class, self.partition)
            for split, (paths, y) in found.splits.items():
                x = Pictures(folder, paths, image_size, self.crop, self.channels, sha256=None, shown=str(RAW / name))
                x.class_names = found.class_names
                yield split, x, y

    def names_of_classes(self, split: str, x: Images, y: np.ndarray) -> list[str]:
        """The names that the set's lists give."""
        return self.class_names or x.class_names

    def native_size(self, image_size: int) -> int:
        return image_size  # as images differ in size, they are decoded to the one that is asked for

    @property
    def file_bytes(self) -> int:
        return sum(file.size or 0 for file in self.files)


Entry = Photographs
