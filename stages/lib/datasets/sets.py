"""Image sets on disk: `data/raw/<name>/` as published, `data/images/<name>/` as every later stage reads them.

`data/images/<name>/` holds, for each split, `<split>_x.npy` (uint8 [n, stored_size, stored_size, channels]) and `<split>_y.npy`
(int64 [n]), read memory-mapped, and `card.json` with the counts and hashes. Whoever feeds a network gives the card's `image_size`
to `pixels.prepare`, which up-scales on the device images that are stored smaller. Images that are stored whole are packed in one file
(`whole`).
"""

from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, ValidationError

from stages.lib.datasets import whole
from stages.lib.datasets.whole import Whole
from stages.lib.errors import RunError
from stages.lib.store import files, verified

if TYPE_CHECKING:  # what reads images needs no settings
    from stages.lib.settings.catalog import Part

RAW = Path("data/raw")
IMAGES = Path("data/images")


class SplitCard(BaseModel):
    """One split: its number of images and the hash of its images and labels."""

    n: int
    sha256: str


class DatasetCard(BaseModel):
    """What later stages know about an image set without reading its images."""

    model_config = ConfigDict(extra="forbid")

    name: str
    classes: int  # 0 where there are no images and the catalog does not say
    channels: int
    image_size: int  # pixels a side at which a network takes the images
    stored_size: int  # pixels a side of what is read; on disk, too, but of whole images
    mean: list[float] | None  # per channel of 3, of the training images as they are stored, in [0, 1]; None without any
    std: list[float] | None
    published_mean: list[float] | None = None  # that published code normalises the set with, whatever its images are
    published_std: list[float] | None = None
    splits: dict[str, SplitCard]  # none for an optional set that is not there
    label_is_texture: bool = False  # and in nothing else
    class_names: list[str] | None = None  # in the order of the labels, where they are known
    crop: float = 1.0  # side of the central square that was kept, or is read, of each image over its shorter side
    metric: Literal["accuracy", "mean_per_class"] = "accuracy"  # that results on the set are reported in


def card_of(name: str) -> DatasetCard:
    """The card of an image set; raises RunError when the file is missing or holds something else."""
    path = IMAGES / name / "card.json"
    try:
        return DatasetCard(**files.read_json(path))
    except (ValidationError, TypeError) as error:
        raise RunError(f"{path}: no card of a dataset ({' '.join(str(error).split())[:200]}); run `dvc repro` to make it again") from None


def load(name: str, split: str, sha256: str | None = None) -> tuple[np.ndarray | Whole, np.ndarray]:
    """One split, x: uint8 [n, stored_size, stored_size, channels], memory-mapped or whole images that read like it, and y: int64 [n].

    Args:
        sha256: of images and labels, as the key of the result holds it; None: that of the card, of which keys are made.

    Raises:
        RunError: when it is missing, damaged, or not the one of that hash.
    """
    folder = IMAGES / name
    if sha256 is None:
        splits = card_of(name).splits
        if split not in splits:
            raise RunError(f"{folder}: has no split {split}; its card lists: {', '.join(splits) or 'none'}")
        sha256 = splits[split].sha256
    x, y = read(folder, split)
    paths = paths_of(folder, split)
    if digest_of([verified.sha256_of(path) for path in paths], seen=x if isinstance(x, Whole) else None) != sha256:
        raise RunError(
            f"{folder}: {' or '.join(path.name for path in paths)} was damaged or changed: their sha256 is not that of the card; "
            f"`dvc repro upscale@{name}` makes them again"
        )
    return x, y


def read(folder: Path, split: str) -> tuple[np.ndarray | Whole, np.ndarray]:
    """One split of a folder as it is on disk, compared with no hash; raises RunError when it is missing or damaged."""
    x, y, *places = paths_of(folder, split)
    if places:
        card = card_of(folder.name)
        return whole.read(folder, split, card.image_size, card.crop, card.channels)
    try:
        return np.load(x, mmap_mode="r"), np.load(y)
    except (OSError, ValueError, EOFError, SyntaxError) as error:  # SyntaxError: NumPy's reading of a damaged header
        raise RunError(f"{folder}: {split} cannot be read ({error}); run `dvc repro` to make it again") from None


def paths_of(folder: Path, split: str) -> tuple[Path, ...]:
    """The files of a split's images and of its labels, and of the places of its images where these are stored whole."""
    packed = whole.paths_of(folder, split)
    return packed if packed[0].is_file() else array_paths(folder, split)


def array_paths(folder: Path, split: str) -> tuple[Path, Path]:
    """The files of a split whose images are one array, and of its labels."""
    return folder / f"{split}_x.npy", folder / f"{split}_y.npy"


def digest_of(hashes: list[str], seen: Whole | None = None) -> str:
    """The hash of a split, of those of its files and, of whole images, of the square that is read of each."""
    return files.digest_of(hashes if seen is None else [*hashes, f"{seen.crop} of the shorter side at {seen.shape[1]}"])


def classes_of(part: "Part", classes: int) -> np.ndarray:  # int64, rising
    """The classes of a part of a set, drawn from the part's seed."""
    order = np.random.default_rng(part.seed).permutation(classes)
    return np.sort(np.array_split(order, part.of)[part.number])


def n_classes(part: "Part | None", classes: int) -> int:
    """Number of classes of a part of a set that has so many, or of the whole set where no part is given."""
    return classes if part is None else len(classes_of(part, classes))


def only(part: "Part | None", classes: int, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Places of the images whose class is in the part, and their labels, counted anew from 0; without a part, all images and labels."""
    if part is None:
        return np.arange(len(y)), y
    kept = classes_of(part, classes)
    places = np.flatnonzero(np.isin(y, kept))
    return places, np.searchsorted(kept, y[places])


def load_part(name: str, split: str, part: "Part | None", sha256: str | None = None) -> tuple[np.ndarray, np.ndarray]:
    """One split, as `load` gives it; with a part, only the images of its classes, in memory, with labels counted anew from 0."""
    x, y = load(name, split, sha256)
    if part is None:
        return x, y
    places, labels = only(part, card_of(name).classes, y)
    return (x.only(places) if isinstance(x, Whole) else x[places]), labels


def save(folder: Path, split: str, x: np.ndarray, y: np.ndarray) -> str:
    """Write one split as `read` reads it; returns its hash."""
    return digest_of([files.save_array(path, array) for path, array in zip(array_paths(folder, split), (x, y), strict=True)])


def stratified_split(y: np.ndarray, n_train: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Indices of `n_train` training images and of the test images, each class in proportion, both in the order of `y`.

    Raises:
        ValueError: of scikit-learn, where a class has too few images for that.
    """
    from sklearn.model_selection import train_test_split  # here, as it takes a second to import

    train, test = train_test_split(np.arange(len(y)), train_size=n_train, stratify=y, random_state=seed)
    return np.sort(train), np.sort(test)
