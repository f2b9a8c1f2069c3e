"""Sets as their authors published them, in archives that a class of torchvision.datasets reads.

The archives are compared with data/catalog.yaml; torchvision's own MD5s of what is inside are dropped, as they say no more.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import Field

from stages.lib.datasets.kinds.base import Dataset, Split, bring_files, compare_files
from stages.lib.datasets.sets import RAW
from stages.lib.errors import RunError
from stages.lib.fetching import archives
from stages.lib.fetching.checksums import is_whole
from stages.lib.settings.catalog import File
from stages.lib.settings.fields import Count
from stages.lib.settings.params import DATA_CATALOG
from stages.lib.settings.sections import DownloadSettings
from stages.lib.store import cells

IDX = [f"{split}-{array}-ubyte.gz" for split in ("train", "t10k") for array in ("images-idx3", "labels-idx1")]
FILES = {
    "CIFAR10": ["cifar-10-python.tar.gz"],
    "CIFAR100": ["cifar-100-python.tar.gz"],
    "SVHN": ["train_32x32.mat", "test_32x32.mat"],
    "FashionMNIST": IDX,
    "KMNIST": IDX,
    "MNIST": IDX,
}


SIZES = {"CIFAR10": 32, "CIFAR100": 32, "SVHN": 32, "FashionMNIST": 28, "KMNIST": 28, "MNIST": 28}  # pixels a side


class Published(Dataset):
    """The settings of such a set, and how it is brought, read and counted."""

    kind: Literal["published"]
    classes: Annotated[Count, Field(ge=2)]
    train: Count
    test: Count
    reader: Literal["CIFAR10", "CIFAR100", "SVHN", "FashionMNIST", "KMNIST", "MNIST"]  # the class of torchvision.datasets
    files: Annotated[list[File], Field(min_length=1)]

    def bring(self, name: str, settings: DownloadSettings) -> list[str]:
        self.check(name)
        return bring_files(name, self.files, settings, self.gone)

    def check(self, name: str) -> None:
        """The entry must name the files that torchvision's class reads, and their whole sha256 where reading them could run code."""
        named, allowed = sorted(file.name for file in self.files), sorted(FILES[self.reader])
        if named != allowed:
            raise RunError(f"{DATA_CATALOG}: {name}.files are {', '.join(named)}; allowed for {self.reader}: {', '.join(allowed)}")
        if self.reader.startswith("CIFAR") and not is_whole(self.files[0]):  # somebody can make another file of a few digits, or an MD5
            raise RunError(f"{DATA_CATALOG}: {name}.files: {named[0]} holds pickles, which could run code; give its whole sha256")

    def read(self, name: str, image_size: int) -> Iterator[Split]:
        with archives.extracted([], within=cells.folder("extracted")) as folder:
            yield from splits_within(self, RAW / name, folder)

    def native_size(self, image_size: int) -> int:
        return SIZES[self.reader]

    @property
    def file_bytes(self) -> int:
        return sum(file.size or 0 for file in self.files)


Entry = Published


def splits_within(entry: Published, raw: Path, folder: Path) -> Iterator[Split]:
    """Each split: its name, x uint8 [n, H, W, channels], y int64 [n].

    Args:
        raw: where the archives are.
        folder: an empty one, for what they hold.
    """
    entry.check(raw.name)
    compare_files(raw, entry.files)
    _lay_out(entry.reader, raw, folder)
    for split in ("train", "test"):
        yield split, *_arrays(_read(entry.reader, raw, folder, split))


def _lay_out(reader: str, raw: Path, folder: Path) -> None:
    """Put the content of the archives where torchvision's class looks for it."""
    for name in FILES[reader]:
        if reader.startswith("CIFAR"):
            archives.extract(raw / name, folder)
        elif reader == "SVHN":
            (folder / name).symlink_to((raw / name).resolve())
        else:
            archives.decompress(raw / name, folder / reader / "raw" / name.removesuffix(".gz"))


def _read(reader: str, raw: Path, folder: Path, split: str) -> Any:
    """One split as an object of torchvision's class."""
    from torchvision import datasets  # here, as it takes seconds to import

    reading = _without_md5s(getattr(datasets, reader))
    try:
        return reading(folder, split=split) if reader == "SVHN" else reading(folder, train=split == "train")
    except Exception as error:  # pickle, scipy and torchvision raise whatever a wrong byte leads them to
        why = " ".join(str(error).split())
        raise RunError(f"{raw}: torchvision.datasets.{reader} cannot read the {split} split ({type(error).__name__}: {why})") from None


def _without_md5s(reading: type) -> type:
    """The class of torchvision as it is, but for the MD5s of the files in the archives; its name decides where it looks for them."""
    lists = [name for name in ("train_list", "test_list") if hasattr(reading, name)]
    changed = {name: [[file, None] for file, _ in getattr(reading, name)] for name in lists}
    if hasattr(reading, "meta"):
        changed["meta"] = reading.meta | {"md5": None}
    if hasattr(reading, "split_list"):
        changed["split_list"] = {split: [address, name, None] for split, (address, name, _) in reading.split_list.items()}
    return type(reading.__name__, (reading,), changed)


def _arrays(read: Any) -> tuple[np.ndarray, np.ndarray]:
    """Images and labels of torchvision's object, the images as a view of what it holds: NHWC, or NCHW (SVHN), or [n, H, W]."""
    x = np.asarray(read.data)
    y = np.asarray(read.labels if hasattr(read, "labels") else read.targets, np.int64)
    if x.ndim == 3:
        x = x[..., None]
    return (x.transpose(0, 2, 3, 1) if hasattr(read, "labels") else x), y
