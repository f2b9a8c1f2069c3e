"""How a scene of `scenes` is drawn: letters of the shapes of `glyphs`, one upon another, on smooth colour noise, without a texture.

A letter's mask is what is left of it once those upon it are drawn; its box is the smallest around the mask. A letter that would leave
less than half of another one, or of itself, is put elsewhere, or nowhere after some tries. Every scene is drawn from its own random
stream (seed, split, index).
"""

import io

import numpy as np
from PIL import Image

from stages.lib.datasets.kinds.drawing import FONTS, STREAMS, clutter, rasterised, two_colours, warp
from stages.lib.datasets.kinds.procedural import LETTERS
from stages.lib.datasets.kinds.scenes import Letters
from stages.lib.datasets.objects.scenes import Objects, Scene

TRIES = 8  # places that are tried for a letter
STROKE = 2  # pixels on each side of a line, of CANVAS: without them a mask is one or two pixels wide, which no detector can meet
SEEN = 0.5  # least part of a letter's pixels that is not hidden


def draw(settings: Letters, split: str, number: int) -> Scene:
    """One scene, its image as a PNG."""
    rng = np.random.default_rng([settings.seed, STREAMS[split], number])
    ground, image = _ground(settings, rng)
    masks: list[np.ndarray] = []  # bool [size, size], what is seen of each letter
    whole: list[int] = []  # pixels of each letter
    labels: list[int] = []
    for _ in range(rng.integers(settings.fewest, settings.most + 1)):
        label, font = int(rng.integers(settings.classes)), FONTS[rng.integers(len(FONTS))]
        shape = warp(rasterised(font, LETTERS[label], STROKE), rng, int(rng.integers(settings.smallest, settings.largest + 1)))
        placed = _placed(shape, settings.size, masks, whole, rng)
        if placed is None:
            continue
        colour = _colour(rng, ground, settings.min_contrast)
        image = placed[..., None] * colour + (1 - placed[..., None]) * image
        masks = [mask & (placed < 0.5) for mask in masks] + [placed >= 0.5]
        whole.append(int(masks[-1].sum()))
        labels.append(label)
    return Scene(_png(image), settings.size, settings.size, _objects(labels, masks))


def _ground(settings: Letters, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """The colour of the ground, in [0, 1]^3, and the ground, float [size, size, 3]."""
    colour = two_colours(rng, settings.min_contrast)[1]
    return colour, colour + settings.clutter * clutter(rng, settings.size)


def _colour(rng: np.random.Generator, ground: np.ndarray, min_contrast: float) -> np.ndarray:
    """A colour whose mean brightness differs from that of the ground by at least `min_contrast`."""
    while True:
        colour = rng.random(3)
        if abs(colour.mean() - ground.mean()) >= min_contrast:
            return colour


def _placed(
    shape: np.ndarray, size: int, masks: list[np.ndarray], whole: list[int], rng: np.random.Generator
) -> np.ndarray | None:  # [size, size] in [0, 1]
    """The letter on an empty scene, at a place where it hides at most half of any other; None where no place was found."""
    side = len(shape)
    for _ in range(TRIES):
        top, left = rng.integers(0, size - side + 1, 2)
        placed = np.zeros((size, size), np.float32)
        placed[top : top + side, left : left + side] = shape
        if all((mask & (placed < 0.5)).sum() >= SEEN * pixels for mask, pixels in zip(masks, whole, strict=True)):
            return placed
    return None


def _objects(labels: list[int], masks: list[np.ndarray]) -> Objects:
    """Boxes around the masks, and the masks as run lengths."""
    from pycocotools import mask as run_lengths  # here, beside its only use

    boxes = []
    for mask in masks:
        rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
        boxes.append([columns[0], rows[0], columns[-1] + 1, rows[-1] + 1])
    none = np.zeros(len(labels), bool)
    encoded = [run_lengths.encode(np.asfortranarray(mask.astype(np.uint8)))["counts"] for mask in masks]
    return Objects(np.array(labels, np.int64), np.array(boxes, np.float32).reshape(-1, 4), none, none, encoded)


def _png(image: np.ndarray) -> bytes:  # float [size, size, 3]
    file = io.BytesIO()
    Image.fromarray(np.round(255 * np.clip(image, 0, 1)).astype(np.uint8)).save(file, "PNG")
    return file.getvalue()
