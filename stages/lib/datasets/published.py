"""The sets that torchvision has a class for, read by that class from the archives that their authors published.

The archives are compared with data/catalog.yaml; torchvision's own MD5s of what is inside are dropped, as they say no more.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from stages.lib.errors import RunError
from stages.lib.settings.catalog import Torchvision
from stages.lib.settings.params import DATA_CATALOG
from stages.lib.store import archives
from stages.lib.store.checksums import digests_of, is_known, problem_of

IDX = [f"{split}-{part}-ubyte.gz" for split in ("train", "t10k") for part in ("images-idx3", "labels-idx1")]
FILES = {
    "CIFAR10": ["cifar-10-python.tar.gz"],
    "CIFAR100": ["cifar-100-python.tar.gz"],
    "SVHN": ["train_32x32.mat", "test_32x32.mat"],
    "FashionMNIST": IDX,
    "KMNIST": IDX,
    "MNIST": IDX,
}


def check(name: str, entry: Torchvision) -> None:
    """The entry names the files that torchvision's class reads, and a checksum where reading them could run code."""
    found, allowed = sorted(file.name for file in entry.files), sorted(FILES[entry.reader])
    if found != allowed:
        raise RunError(f"{DATA_CATALOG}: {name}.files are {', '.join(found)}; allowed for {entry.reader}: {', '.join(allowed)}")
    if entry.reader.startswith("CIFAR") and not is_known(entry.files[0]):
        raise RunError(f"{DATA_CATALOG}: {name}.files: {found[0]} holds pickles, which could run code; give its sha256 or md5")


def splits_of(entry: Torchvision, raw: Path, folder: Path) -> Iterator[tuple[str, np.ndarray, np.ndarray]]:
    """Each split: its name, x uint8 [n, H, W, channels], y int64 [n].

    Args:
        raw: where the archives are.
        folder: an empty one, for what they hold.
    """
    check(raw.name, entry)
    for file in entry.files:
        path = raw / file.name
        if not path.is_file():
            raise RunError(f"{path}: the file is missing; run `dvc repro download@{raw.name}`")
        if problem := problem_of(path, digests_of(path), file):
            raise RunError(f"{path}: {problem}; delete it and run again")
    _lay_out(entry.reader, raw, folder)
    for split in ("train", "test"):
        yield split, *_arrays(_read(entry.reader, raw, folder, split))


def _lay_out(reader: str, raw: Path, folder: Path) -> None:
    """What the archives hold, where torchvision's class looks for it."""
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

    kind = _without_md5s(getattr(datasets, reader))
    try:
        return kind(folder, split=split) if reader == "SVHN" else kind(folder, train=split == "train")
    except Exception as error:  # pickle, scipy and torchvision raise whatever a wrong byte leads them to
        why = " ".join(str(error).split())
        raise RunError(f"{raw}: torchvision.datasets.{reader} cannot read the {split} split ({type(error).__name__}: {why})") from None


def _without_md5s(kind: type) -> type:
    """The class as it is, but for the MD5s of the files inside the archives; its name decides where it looks for them."""
    changed = {part: [[name, None] for name, _ in getattr(kind, part)] for part in ("train_list", "test_list") if hasattr(kind, part)}
    if hasattr(kind, "meta"):
        changed["meta"] = kind.meta | {"md5": None}
    if hasattr(kind, "split_list"):
        changed["split_list"] = {split: [address, name, None] for split, (address, name, _) in kind.split_list.items()}
    return type(kind.__name__, (kind,), changed)


def _arrays(found: Any) -> tuple[np.ndarray, np.ndarray]:
    """Images and labels of torchvision's object, the images as a view of what it holds: NHWC, or NCHW (SVHN), or [n, H, W]."""
    x = np.asarray(found.data)
    y = np.asarray(found.labels if hasattr(found, "labels") else found.targets, np.int64)
    if x.ndim == 3:
        x = x[..., None]
    return (x.transpose(0, 2, 3, 1) if hasattr(found, "labels") else x), y
