"""Images in sub-folders that are named after their classes: found, listed with their hashes, and decoded slice by slice."""

import csv
import hashlib
import io
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image, UnidentifiedImageError

from stages.lib.datasets.sets import stratified_split
from stages.lib.errors import RunError
from stages.lib.progress import log
from stages.lib.settings.catalog import Folder
from stages.lib.store import files

SUFFIXES = (".bmp", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp")
MANIFEST = "manifest.csv"
BLOCK = 256  # images that are read side by side


class Listed(NamedTuple):
    """The images of one split, class after class in the order of their names."""

    paths: list[str]  # from the root
    y: np.ndarray  # int64 [n]


class Pictures:
    """Images that are decoded when a slice of them is asked for: reads like a uint8 array [n, size, size, channels]."""

    def __init__(self, root: Path, paths: list[str], size: int, crop: float, channels: int, sha256: dict[str, str] | None):
        self.shape = (len(paths), size, size, channels)
        self._root, self._paths, self._crop, self._sha256 = root, paths, crop, sha256

    def __len__(self) -> int:
        return len(self._paths)

    def __getitem__(self, rows: slice | np.ndarray) -> "np.ndarray | Pictures":
        """The images of a slice, decoded; of an array of places, those that are decoded when they are asked for."""
        if isinstance(rows, np.ndarray):
            size, channels = self.shape[2:]
            return Pictures(self._root, [self._paths[row] for row in rows], size, self._crop, channels, self._sha256)
        with ThreadPoolExecutor() as pool:  # Pillow decodes and resizes outside the interpreter's lock
            images = list(pool.map(self._decode, self._paths[rows]))
        return np.stack(images) if images else np.empty((0, *self.shape[1:]), np.uint8)

    def _decode(self, path: str) -> np.ndarray:  # [size, size, channels]
        content = (self._root / path).read_bytes()
        if self._sha256 is not None and hashlib.sha256(content).hexdigest() != self._sha256[path]:
            raise RunError(f"{self._root / path}: has changed since `download` listed it; run that stage again with --force")
        try:
            with Image.open(io.BytesIO(content)) as image:
                if image.mode.startswith(("I", "F")):
                    raise ValueError(f"more than 8 bits a channel (mode {image.mode})")
                return square(image.convert("RGB" if self.shape[-1] == 3 else "L"), self.shape[1], self._crop)
        except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
            why = "no known format" if isinstance(error, UnidentifiedImageError) else error
            raise RunError(f"{self._root / path}: not an image that can be read ({why}); replace or remove it") from None


def root_of(entry: Folder) -> Path:
    """The folder of the entry; a relative path is of the original repository, also where DVC runs in a copy of it."""
    return files.state_folder() / entry.path


def square(image: Image.Image, size: int, crop: float) -> np.ndarray:
    """The shorter side resized to size / crop pixels, bilinearly, and the central square: uint8 [size, size, channels].

    As torchvision's Resize and CenterCrop do it; crop 0.875 is what ImageNet models are tested with: 256 pixels, of which 224.
    """
    shorter = round(size / crop)
    width, height = (shorter if side == min(image.size) else int(shorter * side / min(image.size)) for side in image.size)
    left, top = round((width - size) / 2), round((height - size) / 2)
    resized = image.resize((width, height), Image.Resampling.BILINEAR) if min(image.size) != shorter else image
    pixels = np.asarray(resized.crop((left, top, left + size, top + size)))
    return pixels[..., None] if pixels.ndim == 2 else pixels


def find(name: str, root: Path, entry: Folder) -> dict[str, Listed]:
    """The images of each split; none of an optional set, or of an optional split, that is not there.

    Raises:
        RunError: for a folder without classes, a class without images, or other classes in `test` than in `train`.
    """
    if not root.is_dir():
        return _absent(f"{root}: no such folder; put the images of {name} there, or correct {name}.path", name, entry)
    if entry.test_fraction is not None:
        return _split(root, entry, _classes(root, ""))
    classes = {}
    for split, folder in entry.splits.items():
        if (root / folder).is_dir():
            classes[split] = _classes(root, f"{folder}/")
        else:
            there = ", ".join(sorted(path.name for path in root.iterdir())[:8]) or "nothing"
            _absent(f"{root}: holds no folder {folder!r} for the {split} split, but {there}; correct {name}.splits", name, entry)
    names = [sorted(found) for found in classes.values()]
    if len(names) == 2 and names[0] != names[1]:
        differing = ", ".join(sorted(set(names[0]) ^ set(names[1]))[:8])
        raise RunError(f"{root}: the splits have different classes ({differing} are in one of them alone); they must have the same")
    return {split: _listed(found) for split, found in classes.items()}


def _absent(problem: str, name: str, entry: Folder) -> dict[str, Listed]:
    if not entry.optional:
        raise RunError(problem)
    log(f"{name}: left out, as it is optional: {problem}. When it is there: {_again(name)}")
    return {}


def _again(name: str) -> str:
    return f"`dvc repro --force --single-item download@{name}`"


def _classes(root: Path, folder: str) -> dict[str, list[str]]:
    """The images of each class, as paths from the root; the class folders may have folders of their own."""
    classes = {}
    for place in sorted(path for path in (root / folder).iterdir() if path.is_dir() and not _hidden(path.name)):
        found = (path for path in place.rglob("*") if path.suffix.lower() in SUFFIXES and not _hidden(path.name))
        classes[place.name] = sorted(path.relative_to(root).as_posix() for path in found)
        if not classes[place.name]:
            raise RunError(f"{place}: a class without an image; allowed: one or more of {', '.join(SUFFIXES)}")
    if len(classes) < 2:
        raise RunError(f"{root / folder}: holds {len(classes)} class folders; allowed: two or more, each with the images of a class")
    return classes


def _hidden(name: str) -> bool:
    return name.startswith(".") or name == "__MACOSX"


def _listed(classes: dict[str, list[str]]) -> Listed:
    counts = [len(paths) for paths in classes.values()]
    return Listed([path for paths in classes.values() for path in paths], np.repeat(np.arange(len(counts)), counts))


def _split(root: Path, entry: Folder, classes: dict[str, list[str]]) -> dict[str, Listed]:
    """Training and test images, each class in proportion."""
    paths, y = _listed(classes)
    try:
        parts = stratified_split(y, len(y) - round(len(y) * entry.test_fraction), entry.split_seed)
    except ValueError as error:
        raise RunError(f"{root}: {len(y)} images of {len(classes)} classes cannot be split by test_fraction ({error})") from None
    return {split: Listed([paths[i] for i in rows], y[rows]) for split, rows in zip(("train", "test"), parts, strict=True)}


def root_within(folder: Path, entry: Folder) -> Path:
    """Where the splits are in what an archive held: often one folder further down."""
    while not any((folder / part).is_dir() for part in entry.splits.values()):
        inside = [path for path in folder.iterdir() if not _hidden(path.name)]
        if len(inside) != 1 or not inside[0].is_dir():
            break
        folder = inside[0]
    return folder


def pictures(
    root: Path, found: dict[str, Listed], entry: Folder, size: int, sha256: dict[str, str] | None = None
) -> Iterator[tuple[str, Pictures, np.ndarray]]:
    """Each split: its name, x, y."""
    for split, (paths, y) in found.items():
        yield split, Pictures(root, paths, size, entry.crop, entry.channels, sha256), y


# The manifest: what a folder outside the project held when `download` looked


def manifest(root: Path, paths: list[str], progress: Callable[[int], object]) -> bytes:
    """Path, bytes and sha256 of every image, so that the content of a folder that DVC does not hold has a version.

    Args:
        progress: called with the number of images that have been read since the last call.
    """
    text = io.StringIO()
    rows = csv.writer(text, lineterminator="\n")
    rows.writerow(["path", "bytes", "sha256"])
    with ThreadPoolExecutor() as pool:
        for i in range(0, len(paths), BLOCK):  # as all at once would be in the pool's queue
            some = paths[i : i + BLOCK]
            rows.writerows((path, *known) for path, known in zip(some, pool.map(_hash, [root / path for path in some]), strict=True))
            progress(len(some))
    return text.getvalue().encode()


def _hash(path: Path) -> tuple[int, str]:
    content = path.read_bytes()
    return len(content), hashlib.sha256(content).hexdigest()


def read_manifest(raw: Path) -> dict[str, str]:
    """sha256 by path."""
    try:
        with open(raw / MANIFEST, newline="") as file:
            return {row["path"]: row["sha256"] for row in csv.DictReader(file)}
    except (OSError, KeyError, UnicodeDecodeError) as error:
        raise RunError(f"{raw / MANIFEST}: cannot be read ({error}); {_again(raw.name)}") from None


def compare(name: str, root: Path, found: dict[str, Listed], sha256: dict[str, str]) -> None:
    """What is in the folder now is what the manifest lists."""
    paths = {path for listed in found.values() for path in listed.paths}
    if differing := sorted(paths ^ sha256.keys()):
        raise RunError(f"{root}: has changed since `download` listed it ({differing[0]} and {len(differing) - 1} more); run {_again(name)}")
