"""Image sets with objects on disk, whose images have several objects each, and any size: read like any other set, by `sets.load`.

`<split>_x.npy` (uint8 [bytes]) holds the files of the images and the masks of the objects, one after the other. `<split>_y.npy` (float64
[rows, columns]) says what is where: a row for each image, and after it a row for each of its objects. So images stay as they were
published, and any of them is read alone.
"""

import io
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from PIL import Image

from stages.lib.datasets.sets import digest_of
from stages.lib.errors import RunError
from stages.lib.store import files

COLUMNS = ("image", "label", "left", "top", "right", "bottom", "difficult", "crowd", "start", "end")
PICTURE = -1  # the label of a row that is an image: its box is the image, its bytes are the file


@dataclass(frozen=True)
class Objects:
    """The objects of an image; boxes in pixels from its upper left corner: left, top, right, bottom, the last two not within the box."""

    labels: np.ndarray  # int64 [k], from 0
    boxes: np.ndarray  # float32 [k, 4]
    difficult: np.ndarray  # bool [k]: a detection of it is neither right nor wrong (PASCAL VOC)
    crowd: np.ndarray  # bool [k]: many objects in one box, within which detections are neither right nor wrong (COCO)
    masks: list[bytes] = field(default_factory=list)  # run lengths as pycocotools has them; empty where the set has none

    def __len__(self) -> int:
        return len(self.labels)


@dataclass(frozen=True)
class Scene:
    """An image with its objects."""

    file: Path | bytes  # the image as a file
    width: int
    height: int
    objects: Objects


class Scenes:
    """A split as `sets.load` gives it; an image is decoded when it is asked for."""

    def __init__(self, name: str, x: np.ndarray, y: np.ndarray):
        if y.ndim != 2 or y.shape[1:] != (len(COLUMNS),):
            raise RunError(f"{name}: is an image set with one label an image; allowed: a set with objects")
        self.name, self._x, self._y = name, x, y
        self._first = np.flatnonzero(y[:, 1] == PICTURE)
        self._end = np.append(self._first[1:], len(y))

    def __len__(self) -> int:
        return len(self._first)

    def size(self, number: int) -> tuple[int, int]:
        """Width and height of an image, in pixels."""
        return tuple(int(side) for side in self._y[self._first[number], 4:6])

    def file(self, number: int) -> bytes:
        """An image as a file."""
        start, end = self._y[self._first[number], 8:].astype(np.int64)
        return self._x[start:end].tobytes()

    def image(self, number: int) -> np.ndarray:
        """uint8 [H, W, 3]; raises RunError where the file of the image cannot be decoded."""
        try:
            with Image.open(io.BytesIO(self.file(number))) as image:
                return np.array(image.convert("RGB"))
        except (OSError, SyntaxError, ValueError) as error:
            raise RunError(f"{self.name}: image {number} cannot be decoded ({error}); bring the set again") from None

    def objects(self, number: int) -> Objects:
        rows = self._y[self._first[number] + 1 : self._end[number]]
        masks = [self._x[int(start) : int(end)].tobytes() for start, end in rows[:, 8:]]
        return Objects(
            rows[:, 1].astype(np.int64), rows[:, 2:6].astype(np.float32), rows[:, 6] > 0, rows[:, 7] > 0, masks if all(masks) else []
        )

    @property
    def counts(self) -> np.ndarray:
        """The number of objects of each image, int64 [n]."""
        return self._end - self._first - 1

    @property
    def learnable(self) -> np.ndarray:
        """The images that have an object which is no crowd: int64, rising."""
        return np.unique(self._y[(self._y[:, 1] != PICTURE) & (self._y[:, 7] == 0), 0]).astype(np.int64)

    @property
    def have_masks(self) -> bool:
        """Whether each object has a mask."""
        objects = self._y[self._y[:, 1] != PICTURE]
        return bool(len(objects)) and bool((objects[:, 9] > objects[:, 8]).all())


def save(folder: Path, split: str, scenes: list[Scene]) -> str:
    """Write a split as `sets.load` reads it; returns its hash."""
    y = _rows(scenes)
    size = int(y[-1, 9]) if len(y) else 0
    of_x = files.write_array(folder / f"{split}_x.npy", (size,), np.uint8, _bytes(scenes))
    return digest_of([of_x, files.save_array(folder / f"{split}_y.npy", y)])


def _rows(scenes: Iterable[Scene]) -> np.ndarray:  # float64 [rows, columns]
    rows, at = [], 0

    def add(number: int, label: int, box: Iterable[float], size: int, difficult: bool = False, crowd: bool = False) -> None:
        nonlocal at
        rows.append((number, label, *box, difficult, crowd, at, at + size))
        at += size

    for number, scene in enumerate(scenes):
        size = len(scene.file) if isinstance(scene.file, bytes) else scene.file.stat().st_size
        add(number, PICTURE, (0, 0, scene.width, scene.height), size)
        objects = scene.objects
        for i, label in enumerate(objects.labels):
            size = len(objects.masks[i]) if objects.masks else 0
            add(number, int(label), objects.boxes[i], size, objects.difficult[i], objects.crowd[i])
    return np.array(rows, np.float64).reshape(-1, len(COLUMNS))


def _bytes(scenes: Iterable[Scene]) -> Iterator[np.ndarray]:
    for scene in scenes:
        yield np.frombuffer(scene.file if isinstance(scene.file, bytes) else scene.file.read_bytes(), np.uint8)
        for mask in scene.objects.masks:
            yield np.frombuffer(mask, np.uint8)


def within(boxes: np.ndarray, width: int, height: int) -> tuple[np.ndarray, np.ndarray]:
    """Boxes cut at the borders of the image, and which of them have an area then: float32 [k, 4], bool [k]."""
    cut = np.clip(np.asarray(boxes, np.float32).reshape(-1, 4), 0, [width, height, width, height]).astype(np.float32)
    return cut, (cut[:, 2] > cut[:, 0]) & (cut[:, 3] > cut[:, 1])
