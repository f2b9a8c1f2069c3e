"""Raw image sets, `data/raw/<name>/`, as arrays: each kind of the catalog by its reader."""

import gzip
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from stages.lib.datasets import folders, published
from stages.lib.datasets.folders import Pictures
from stages.lib.datasets.sets import RAW, load, stratified_split
from stages.lib.errors import RunError
from stages.lib.settings.catalog import AnyDataset, Folder, Packaged, Torchvision
from stages.lib.store import archives, cells

Split = tuple[str, np.ndarray | Pictures, np.ndarray]  # name, x uint8 [n, H, W, channels], y int64 [n]


def splits_of(name: str, entry: AnyDataset, image_size: int) -> Iterator[Split]:
    """Each split of a raw set, one after the other, so that one is in memory at a time.

    Images are at their native size; those of a folder, which differ in size, are decoded to `image_size` as a slice of them is
    asked for. What has been extracted goes away when the iterator ends or is closed.
    """
    if isinstance(entry, Packaged):
        x, y = read_digits_csv(RAW / name / entry.file)
        train, test = stratified_split(y, entry.train, entry.split_seed)
        yield from (("train", x[train], y[train]), ("test", x[test], y[test]))
    elif isinstance(entry, Torchvision):
        with archives.extracted([], within=cells.folder("extracted")) as folder:
            yield from published.splits_of(entry, RAW / name, folder)
    elif isinstance(entry, Folder):
        yield from _folder_splits(name, entry, image_size)
    else:
        for path in sorted((RAW / name).glob("*_x.npy")):
            split = path.name.removesuffix("_x.npy")
            yield split, *load(name, split, RAW)


def _folder_splits(name: str, entry: Folder, size: int) -> Iterator[Split]:
    if entry.path is not None:
        root, sha256 = folders.root_of(entry), folders.read_manifest(RAW / name)
        found = folders.find(name, root, entry)
        folders.compare(name, root, found, sha256)
        yield from folders.pictures(root, found, entry, size, sha256)
    else:
        with archives.extracted([RAW / name / file.name for file in entry.files], within=cells.folder("extracted")) as folder:
            root = folders.root_within(folder, entry)
            yield from folders.pictures(root, folders.find(name, root, entry), entry, size)


def read_digits_csv(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """The UCI digits as scikit-learn carries them: 64 pixels of 0 to 16 and the label, one image a line.

    Returns:
        x: uint8 [1797, 8, 8, 1], 16 becoming 255, and y: int64 [1797].
    """
    try:
        with gzip.open(path, "rt") as file:
            table = np.loadtxt(file, delimiter=",", dtype=np.int64, ndmin=2)
        if table.shape[1] != 65:
            raise ValueError(f"{table.shape[1]} columns")
    except (OSError, EOFError, ValueError) as error:
        raise RunError(f"{path}: not the gzipped table of digits that was expected ({error})") from None
    x = np.round(table[:, :64] * (255 / 16)).astype(np.uint8)
    return x.reshape(-1, 8, 8, 1), table[:, 64]
