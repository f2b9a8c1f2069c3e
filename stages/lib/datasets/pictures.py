"""Image files, decoded slice by slice: resized and cropped to a square of one size, or whole."""

import hashlib
import io
import struct
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from PIL import ExifTags, Image, UnidentifiedImageError
from PIL.Image import Transpose

from stages.lib.errors import RunError

TURNS = {  # by the orientation that a camera notes
    2: Transpose.FLIP_LEFT_RIGHT, 3: Transpose.ROTATE_180, 4: Transpose.FLIP_TOP_BOTTOM, 5: Transpose.TRANSPOSE,
    6: Transpose.ROTATE_270, 7: Transpose.TRANSVERSE, 8: Transpose.ROTATE_90,
}  # fmt: skip

LONG = 8  # times as long as wide: of images that are longer, squares are cut out of the middle


class Pictures:
    """Images that are decoded when a slice of them is asked for: reads like a uint8 array [n, size, size, channels].

    Args:
        paths: from `root`.
        sha256: what each image is to have; None where that need not be looked at.
        shown: what errors name in the place of `root`: the archive, where the root is a temporary folder.
    """

    def __init__(
        self, root: Path, paths: list[str], size: int, crop: float, channels: int, sha256: dict[str, str] | None, shown: str | None = None
    ):
        self.shape = (len(paths), size, size, channels)
        self.paths = paths
        self.class_names: list[str] | None = None  # in the order of the labels, where who lists the images knows them
        self._root, self._crop, self._sha256, self._shown = root, crop, sha256, shown or str(root)

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, rows: slice | np.ndarray) -> "np.ndarray | Pictures":
        """The images of a slice, decoded; of an array of places, those that are decoded when they are asked for."""
        if isinstance(rows, np.ndarray):
            size, channels = self.shape[2:]
            return Pictures(self._root, [self.paths[row] for row in rows], size, self._crop, channels, self._sha256, self._shown)
        with ThreadPoolExecutor() as pool:  # Pillow decodes and resizes outside the interpreter's lock
            images = list(pool.map(self.decoded, self.paths[rows]))
        return np.stack(images) if images else np.empty((0, *self.shape[1:]), np.uint8)

    def decoded(self, path: str) -> np.ndarray:
        """One of the images, by its path: uint8 [size, size, channels]; raises RunError where it is no image that can be read."""
        return self._read(path, lambda image: square(image, self.shape[1], self._crop))

    def whole(self, rows: slice, shorter: int) -> list[np.ndarray]:
        """The images of a slice, uint8 [height, width, channels] each, reduced to a shorter side of `shorter` where that is longer."""
        with ThreadPoolExecutor() as pool:
            return list(pool.map(lambda path: self._read(path, lambda image: as_array(reduced(image, shorter))), self.paths[rows]))

    def _read(self, path: str, made: Callable[[Image.Image], np.ndarray]) -> np.ndarray:
        """What is made of an image of the set's channels, turned upright."""
        shown = f"{self._shown}/{path}"
        try:
            content = (self._root / path).read_bytes()
        except OSError as error:
            raise RunError(f"{shown}: cannot be read: {error.strerror}") from None
        if self._sha256 is not None and hashlib.sha256(content).hexdigest() != self._sha256[path]:
            raise RunError(f"{shown}: has changed since `download` listed it; run that stage again with --force")
        try:
            with Image.open(io.BytesIO(content)) as image:
                if image.mode.startswith(("I", "F")):
                    raise ValueError(f"more than 8 bits a channel (mode {image.mode})")
                return made(upright(image).convert("RGB" if self.shape[-1] == 3 else "L"))
        except (OSError, SyntaxError, ValueError, TypeError, struct.error, Image.DecompressionBombError) as error:
            why = "no known format" if isinstance(error, UnidentifiedImageError) else error
            raise RunError(f"{shown}: not an image that can be read ({why}); replace or remove it") from None


def upright(image: Image.Image) -> Image.Image:
    """The image turned as its camera was held.

    Pillow's `exif_transpose` does the same, but then writes all that the camera noted anew, and fails where any of it is damaged.
    """
    image.load()  # in which Pillow turns a TIFF itself
    turn = TURNS.get(image.getexif().get(ExifTags.Base.Orientation))
    return image if turn is None else image.transpose(turn)


def square(image: Image.Image, size: int, crop: float) -> np.ndarray:
    """The shorter side resized to size / crop pixels, bilinearly, and the central square: uint8 [size, size, channels].

    As torchvision's Resize and CenterCrop do it; crop 0.875 is what ImageNet models are tested with: 256 pixels, of which 224.
    """
    image = middle(image)
    shorter = round(size / crop)
    width, height = (shorter if side == min(image.size) else int(shorter * side / min(image.size)) for side in image.size)
    left, top = round((width - size) / 2), round((height - size) / 2)
    resized = image.resize((width, height), Image.Resampling.BILINEAR) if min(image.size) != shorter else image
    return as_array(resized.crop((left, top, left + size, top + size)))


def middle(image: Image.Image) -> Image.Image:
    """The middle of an image that is more than LONG times as long as it is wide: to resize all of it could take more than memory has."""
    most = LONG * min(image.size)
    if max(image.size) <= most:
        return image
    width, height = (min(side, most) for side in image.size)
    left, top = (image.width - width) // 2, (image.height - height) // 2
    return image.crop((left, top, left + width, top + height))


def reduced(image: Image.Image, shorter: int) -> Image.Image:
    """The whole image with a shorter side of at most `shorter` pixels, as torchvision's Resize reduces it; a smaller one as it is."""
    return image if min(image.size) <= shorter else image.resize(reduced_sides(image.size, shorter), Image.Resampling.BILINEAR)


def reduced_sides(sides: Sequence[int], shorter: int) -> tuple[int, int]:
    """Width and height of an image of these sides when it is reduced to a shorter side of `shorter` pixels, rounded down."""
    least = min(sides)
    return tuple(int(side) if least <= shorter else shorter if side == least else int(shorter * side / least) for side in sides)


def as_picture(pixels: np.ndarray) -> Image.Image:
    """The image whose pixels, uint8 [height, width, 1 or 3], these are."""
    return Image.fromarray(np.ascontiguousarray(pixels[..., 0] if pixels.shape[-1] == 1 else pixels))


def as_array(image: Image.Image) -> np.ndarray:
    """Pixels, uint8 [height, width, channels]."""
    pixels = np.asarray(image)
    return pixels[..., None] if pixels.ndim == 2 else pixels
