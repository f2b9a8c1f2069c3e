"""Image sets on disk: `data/raw/<name>/` as published, `data/images/<name>/` as every later stage reads them.

`data/images/<name>/` holds, for each split, `<split>_x.npy` (uint8 [n, size, size, channels]) and `<split>_y.npy`
(int64 [n]), read memory-mapped, and `card.json` with the counts and hashes.
"""

import gzip
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image
from pydantic import BaseModel, ConfigDict, ValidationError

from stages.lib import files
from stages.lib.catalog import Glyphs, Packaged, Textures
from stages.lib.errors import RunError

RAW = Path("data/raw")
IMAGES = Path("data/images")
SUBSETS = Path("data/subsets")


class SplitCard(BaseModel):
    """One split: its number of images and the hash of its images and labels."""

    n: int
    sha256: str


class Card(BaseModel):
    """What later stages know of an image set without reading it."""

    model_config = ConfigDict(extra="forbid")

    name: str
    classes: int
    channels: int
    image_size: int
    mean: list[float]  # per channel of 3, of the training images in [0, 1]
    std: list[float]
    splits: dict[str, SplitCard]


def card_of(name: str) -> Card:
    """Raises RunError when the card is missing or is not one."""
    path = IMAGES / name / "card.json"
    try:
        return Card(**files.read_json(path))
    except (ValidationError, TypeError) as error:
        raise RunError(f"{path}: no card of a dataset ({' '.join(str(error).split())[:200]}); run `dvc repro` to make it again") from None


def load(name: str, split: str, folder: Path = IMAGES) -> tuple[np.ndarray, np.ndarray]:
    """x: uint8 [n, H, W, channels], memory-mapped, and y: int64 [n] of one split."""
    x, y = (folder / name / f"{split}_{part}.npy" for part in "xy")
    try:
        return np.load(x, mmap_mode="r"), np.load(y)
    except (FileNotFoundError, ValueError, EOFError) as error:
        raise RunError(f"{folder / name}: {split} cannot be read ({error}); run `dvc repro` to make it again") from None


def save(folder: Path, split: str, x: np.ndarray, y: np.ndarray) -> None:
    files.save_array(folder / f"{split}_x.npy", x)
    files.save_array(folder / f"{split}_y.npy", y)


def splits_of_raw(name: str, entry: Glyphs | Textures | Packaged) -> Iterator[tuple[str, np.ndarray, np.ndarray]]:
    """Each split of a raw set at its native size: name, x uint8 [n, H, W, channels], y int64 [n]."""
    if isinstance(entry, Packaged):
        x, y = read_digits_csv(RAW / name / entry.file)
        train, test = stratified_split(y, entry.train, entry.split_seed)
        yield from (("train", x[train], y[train]), ("test", x[test], y[test]))
    else:
        for path in sorted((RAW / name).glob("*_x.npy")):
            split = path.name.removesuffix("_x.npy")
            yield split, *load(name, split, RAW)


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


def stratified_split(y: np.ndarray, n_train: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Indices of training and test images, each class in proportion, both in the order of the file."""
    from sklearn.model_selection import train_test_split  # here, as it takes a second to import

    train, test = train_test_split(np.arange(len(y)), train_size=n_train, stratify=y, random_state=seed)
    return np.sort(train), np.sort(test)


def resize(x: np.ndarray, size: int) -> np.ndarray:
    """Bilinear, by Pillow, as the released transforms do it: uint8 [n, H, W, C] to uint8 [n, size, size, C]."""
    if x.shape[1:3] == (size, size):
        return np.asarray(x)
    grey = x.shape[-1] == 1
    pictures = (Image.fromarray(picture[..., 0] if grey else picture) for picture in x)
    resized = np.stack([np.asarray(picture.resize((size, size), Image.Resampling.BILINEAR)) for picture in pictures])
    return resized[..., None] if grey else resized
