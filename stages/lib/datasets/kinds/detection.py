"""Sets whose images have several objects each, with boxes and masks: PASCAL VOC and COCO, in the archives of their authors.

Their images are kept as they were published, at any size; no square with one label stands for them.
"""

from abc import abstractmethod
from collections.abc import Iterator
from contextlib import closing
from typing import Annotated, Literal

from pydantic import Field, model_validator

from stages.lib.datasets.kinds.base import Dataset, Split, bring_files, compare_files
from stages.lib.datasets.objects import coco, scenes, voc
from stages.lib.datasets.objects.scenes import Scene
from stages.lib.datasets.sets import IMAGES, RAW, DatasetCard, SplitCard
from stages.lib.errors import RunError
from stages.lib.fetching import archives
from stages.lib.settings.catalog import File, Labels
from stages.lib.settings.fields import Count, OneOrMore
from stages.lib.settings.params import DATA_CATALOG
from stages.lib.settings.sections import DownloadSettings
from stages.lib.store import cells


class WithObjects(Dataset):
    """What such sets have in common, whether they are published or drawn."""

    classes: Count
    channels: Literal[3] = 3

    @abstractmethod
    def scenes(self, name: str) -> Iterator[tuple[str, list[Scene]]]:
        """Each split of the raw set; what has been extracted goes away when the iterator ends or is closed."""

    def store(self, name: str, image_size: int) -> DatasetCard:
        """Write the set as `objects.scenes` reads it."""
        splits = {}
        with closing(self.scenes(name)) as whole:
            for split, listed in whole:
                wanted = {"train": self.train, "test": self.test}[split]
                if wanted is not None and len(listed) != wanted:
                    raise RunError(f"{DATA_CATALOG}: {name}: its {split} split has {len(listed)} images; the entry says {wanted}")
                splits[split] = SplitCard(n=len(listed), sha256=scenes.save(IMAGES / name, split, listed))
        return DatasetCard(
            name=name, classes=self.classes, channels=3, image_size=image_size, stored_size=0, mean=None, std=None, splits=splits,
            class_names=self.class_names,
        )  # fmt: skip

    def read(self, name: str, image_size: int) -> Iterator[Split]:
        return iter(())

    def native_size(self, image_size: int) -> int:
        return image_size

    @property
    def labels(self) -> Labels:
        return "objects"


class Detection(WithObjects):
    """The settings of a published set, and how it is brought, read and counted."""

    kind: Literal["detection"]
    format: Literal["voc", "coco"]
    files: Annotated[list[File], Field(min_length=1)]
    image_sets: dict[Literal["train", "test"], OneOrMore[str]]  # of VOC with the year, such as 2007_trainval
    class_names: Annotated[list[str], Field(min_length=1)]

    @model_validator(mode="after")
    def _names_image_sets(self) -> "Detection":
        if set(self.image_sets) != {"train", "test"}:
            raise ValueError("image_sets for both `train` and `test`")
        named = [image_set for sets in self.image_sets.values() for image_set in sets]
        if self.format == "voc" and not all(year.isdecimal() and rest for year, _, rest in (one.partition("_") for one in named)):
            raise ValueError("image_sets of VOC with the year before them: 2007_trainval")
        return self

    def bring(self, name: str, settings: DownloadSettings) -> list[str]:
        return bring_files(name, self.files, settings, self.gone)

    def scenes(self, name: str) -> Iterator[tuple[str, list[Scene]]]:
        archived, shown = [RAW / name / file.name for file in self.files], str(RAW / name)
        compare_files(RAW / name, self.files)
        with archives.extracted(archived, within=cells.folder("extracted")) as folder:
            for split in ("train", "test"):
                found = []
                for image_set in self.image_sets[split]:
                    if self.format == "voc":
                        found += voc.read(folder, *image_set.split("_", 1), self.class_names, shown)
                    else:
                        found += coco.read(folder, image_set, self.class_names, shown)
                yield split, found

    @property
    def expected_images(self) -> int:
        """None, as images are kept in the files that `file_bytes` counts."""
        return 0

    @property
    def file_bytes(self) -> int:
        """Bytes of the archives, and once more of the images that are stored from them."""
        return 2 * sum(file.size or 0 for file in self.files)


Entry = Detection
