"""Whole images of any size and shape, packed one after the other in one file, of which random parts or central squares are read.

`<split>_x.bin` holds the pixels of all images, uint8, image after image, each row by row; `<split>_places.npy` says where each lies,
int64 [n, 3]: its first byte, its height and its width. An image is stored as large as it was published or, where its shorter side is
longer than what a test needs (256 pixels for 224), reduced to that: so the test transform, `Resize(256)` and `CenterCrop(224)`, cuts a
square out of it without another resizing, and training takes random parts of all of it.
"""

import os
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from stages.lib.datasets.pictures import Pictures, as_array, as_picture, reduced, reduced_sides, square
from stages.lib.errors import RunError
from stages.lib.machine import cores
from stages.lib.store import files

if TYPE_CHECKING:  # which imports torch
    from stages.lib.datasets.cropping import Crops

RATIO = 0.875  # side of the central square that is tested on over the shorter side: 224 of 256 pixels
HEIGHT, WIDTH = 1, 2  # columns of `places`
FEW = 4  # images that one thread cuts as fast as several


class Whole:
    """Images of one split. Reads like a uint8 array [n, size, size, channels] of their central squares, cut when they are asked for.

    Args:
        data: uint8 [bytes], the pixels of all images, memory-mapped or in memory.
        places: int64 [n, 3], first byte, height and width of each image.
        size: pixels a side of what is read.
        crop: side of the central square over the shorter side.
        resolution: pixels a side to which the central square is reduced first, with all that is around it, which takes finer detail; None
            keeps it.
    """

    dtype = np.dtype(np.uint8)

    def __init__(self, data: np.ndarray, places: np.ndarray, size: int, crop: float, channels: int, resolution: int | None = None):
        self.data, self.places, self.crop, self.resolution = data, places, crop, resolution
        self._shorter = resolution and shorter_side(resolution, crop)
        self.shape = (len(places), size, size, channels)
        self.ndim = len(self.shape)

    def __len__(self) -> int:
        return len(self.places)

    @property
    def nbytes(self) -> int:
        """Bytes of the central squares of all images."""
        return int(np.prod(self.shape))

    def __getitem__(self, rows: int | slice | np.ndarray) -> np.ndarray:
        """The central squares of some images, uint8 [rows, size, size, channels]; of one image without the first dimension."""
        if np.ndim(rows) == 0 and not isinstance(rows, slice):
            return self[np.array([rows])][0]
        size = self.shape[1]
        return self._cut(np.arange(len(self))[rows], size, lambda _, image: square(image, size, self.crop))

    def __array__(self, dtype: object = None, copy: bool | None = None) -> np.ndarray:
        return self[:] if dtype is None else self[:].astype(dtype)

    def crops(self, rows: np.ndarray, crops: "Crops", size: int | None = None) -> np.ndarray:
        """A part of each image, resized bilinearly as Pillow does it and mirrored or not: uint8 [rows, size, size, channels].

        Args:
            rows: int64 [rows], places of the images.
            crops: of each of these rows.
            size: pixels a side; None: those of the central squares.
        """
        rows, size = np.arange(len(self))[rows], size or self.shape[1]
        sides = self.places[rows][:, [WIDTH, HEIGHT]]
        boxes = crops.within(np.array([reduced_sides(side, self._shorter) for side in sides]) if self._shorter else sides)

        def part(i: int, image: Image.Image) -> np.ndarray:
            cut = as_array(image.crop(tuple(boxes[i])).resize((size, size), Image.Resampling.BILINEAR))
            return cut[:, ::-1] if crops.flip[i] else cut

        return self._cut(rows, size, part)

    def only(self, rows: np.ndarray) -> "Whole":
        """Some of the images, of which nothing is read yet."""
        return self._with(places=self.places[rows])

    def at(self, resolution: int | None) -> "Whole":
        """The same images, each reduced before anything is cut out of it: its central square to so many pixels a side; None: as they are.

        28 pixels of a square that is 0.875 of the shorter side are the `Resize(32)` of Salman et al. (2020, Figure 7).
        """
        return self if resolution is None else self._with(resolution=resolution)

    def copy(self) -> "Whole":
        """The same images in memory, and nothing of others that are stored beside them."""
        images = [self.image(row).ravel() for row in range(len(self))]
        firsts = np.cumsum([0, *map(len, images)])[:-1]
        return self._with(data=np.concatenate(images), places=np.column_stack([firsts, self.places[:, 1:]]))

    def _with(self, **changes: object) -> "Whole":
        values = {"data": self.data, "places": self.places, "crop": self.crop, "resolution": self.resolution}
        return Whole(size=self.shape[1], channels=self.shape[-1], **values | changes)

    def image(self, row: int) -> np.ndarray:
        """One image as it is stored, uint8 [height, width, channels]."""
        first, height, width = self.places[row]
        channels = self.shape[-1]
        return self.data[first : first + height * width * channels].reshape(height, width, channels)

    def _cut(self, rows: np.ndarray, size: int, cut: Callable[[int, Image.Image], np.ndarray]) -> np.ndarray:
        """What `cut` makes of each row's image, given its place among the rows; Pillow works outside the interpreter's lock."""
        out = np.empty((len(rows), size, size, self.shape[-1]), np.uint8)

        def fill(i: int) -> None:
            image = as_picture(self.image(rows[i]))
            out[i] = cut(i, reduced(image, self._shorter) if self._shorter else image)

        if len(rows) <= FEW:
            list(map(fill, range(len(rows))))
        else:
            list(_pool(os.getpid()).map(fill, range(len(rows))))
        return out


@cache
def _pool(process: int) -> ThreadPoolExecutor:
    """Threads of this process; those of the process that it was forked from do not run here."""
    return ThreadPoolExecutor(cores())


def shorter_side(size: int, crop: float) -> int:
    """Pixels of the shorter side of which the central square of `size` pixels a side is tested on."""
    return round(size / crop)


def taken(x: Pictures | np.ndarray, rows: slice, shorter: int) -> list[np.ndarray]:
    """Whole images of a slice, uint8 [height, width, channels] each, reduced to a shorter side of `shorter` where that is longer."""
    if hasattr(x, "whole"):
        return x.whole(rows, shorter)
    return [as_array(reduced(as_picture(image), shorter)) for image in x[rows]]


def paths_of(folder: Path, split: str) -> tuple[Path, Path, Path]:
    """The files of a split's images, of its labels and of the places of its images."""
    return folder / f"{split}_x.bin", folder / f"{split}_y.npy", folder / f"{split}_places.npy"


def write(folder: Path, split: str, images: Iterable[np.ndarray], y: np.ndarray) -> list[str]:
    """Write the images, uint8 [height, width, channels] each, one after the other, and their labels; returns the sha256 of each file."""
    of_x, of_y, of_places = paths_of(folder, split)
    places, first = [], 0

    def bytes_of_each() -> Iterable[memoryview]:
        nonlocal first
        for image in images:
            places.append((first, *image.shape[:2]))
            first += image.size
            yield np.ascontiguousarray(image, np.uint8).data

    sha256 = files.write_parts(of_x, bytes_of_each())
    return [sha256, files.save_array(of_y, y), files.save_array(of_places, np.array(places, np.int64).reshape(-1, 3))]


def read(folder: Path, split: str, size: int, crop: float, channels: int) -> tuple[Whole, np.ndarray]:
    """The images of a split, memory-mapped, and their labels, int64 [n].

    Raises:
        RunError: when a file is missing or does not hold what the others say.
    """
    of_x, of_y, of_places = paths_of(folder, split)
    try:
        places, y = np.load(of_places), np.load(of_y)
        first, height, width = map(int, places[-1])
        end = first + height * width * channels
        data = np.memmap(of_x, np.uint8, "r")
        if end != len(data) or len(y) != len(places):
            raise ValueError(f"{len(data)} bytes and {len(y)} labels; the places say {end} and {len(places)}")
    except (OSError, ValueError, EOFError, SyntaxError, IndexError) as error:  # SyntaxError: NumPy's reading of a damaged header
        raise RunError(f"{folder}: {split} cannot be read ({error}); run `dvc repro` to make it again") from None
    return Whole(data, places, size, crop, channels), y
