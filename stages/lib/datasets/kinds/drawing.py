"""How the procedural image sets are drawn, `glyphs` (letters) and `textures`: from a seed alone.

`glyphs` gives a source task with two cues for its label: the shape of a letter and a faint texture that agrees with the
label in a fraction `texture_correlation` of the images. `textures` has the second kind of cue only. Together they show
both sides of the claim of Utrera et al. (2021, Section 5): adversarial training keeps shapes and drops textures.

Every image is drawn from its own random stream (seed, split, index), so that a set is the same on every machine, in
whatever order it is drawn.
"""

from collections.abc import Callable, Iterable
from functools import cache
from pathlib import Path

import matplotlib
import numpy as np
from PIL import Image, ImageDraw, ImageFont

from stages.lib.datasets.kinds.procedural import Glyphs, GlyphsConflict, Procedural, Textures, dial_split

FONTS = (
    "DejaVuSans", "DejaVuSans-Bold", "DejaVuSans-Oblique", "DejaVuSans-BoldOblique",
    "DejaVuSansMono", "DejaVuSansMono-Bold", "DejaVuSansMono-Oblique", "DejaVuSansMono-BoldOblique",
    "DejaVuSerif", "DejaVuSerif-Bold", "DejaVuSerif-Italic", "DejaVuSerif-BoldItalic",
)  # fmt: skip
CANVAS = 64  # pixels a side at which a letter is rasterised once, before it is warped
STREAMS = {"train": 0, "test": 1, "test_decorrelated": 2, "train_decorrelated": 0}  # part of the seed: the same letters where equal


def draw(settings: Procedural, split: str, progress: Callable[[range], Iterable[int]] = iter) -> tuple[np.ndarray, np.ndarray]:
    """One split of a procedural set.

    Args:
        settings: the set's entry in data/catalog.yaml.
        split: a key of `settings.sizes()`.
        progress: wraps the range of image numbers, to show how far it is.

    Returns:
        x: uint8 [n, size, size, 3] and y: int64 [n], the classes in turn; of letters with textures of others int64 [n, 2].
    """
    n, draw_one = settings.sizes()[split], {"glyphs": _glyph, "glyphs_conflict": _conflict, "textures": _texture}[settings.set]
    x = np.empty((n, settings.size, settings.size, 3), np.uint8)
    y = np.arange(n, dtype=np.int64) % settings.classes
    if settings.set == "glyphs_conflict":  # each letter takes the textures of the others in turn
        y = np.stack([y, (y + 1 + np.arange(n) // settings.classes % (settings.classes - 1)) % settings.classes], 1)
    stream = STREAMS["train" if split.startswith("train_dial_") else split]
    for i in progress(range(n)):
        image = draw_one(settings, np.random.default_rng([settings.seed, stream, i]), y[i], split)
        x[i] = np.round(255 * np.clip(image, 0, 1))
    return x, y


def _glyph(settings: Glyphs, rng: np.random.Generator, label: np.int64, split: str) -> np.ndarray:  # [size, size, 3]
    correlation = {dial_split(value): value for value in settings.dial}.get(split, settings.texture_correlation)

    def texture() -> int:
        agrees = not split.endswith("_decorrelated") and rng.random() < correlation
        return int(label) if agrees else int(rng.integers(settings.classes))

    return _letter(settings, rng, label, texture)


def _conflict(settings: GlyphsConflict, rng: np.random.Generator, labels: np.ndarray, split: str) -> np.ndarray:  # [size, size, 3]
    return _letter(settings, rng, labels[0], lambda: int(labels[1]))


def _letter(settings: Glyphs, rng: np.random.Generator, label: np.int64, texture_of: Callable[[], int]) -> np.ndarray:  # [size, size, 3]
    """A letter on a ground; its texture is asked for once it is drawn, as both come from one stream."""
    size = settings.size
    colour, ground = two_colours(rng, settings.min_contrast)
    fonts = settings.fonts or FONTS
    mask = warp(rasterised(fonts[rng.integers(len(fonts))], settings.alphabet[label]), rng, size)[..., None]
    image = mask * colour + (1 - mask) * (ground + settings.clutter * clutter(rng, size))
    return image + settings.texture_amplitude * grating(size, texture_of(), settings.classes, rng)[..., None]


def _texture(settings: Textures, rng: np.random.Generator, label: np.int64, split: str) -> np.ndarray:  # [size, size, 3]
    size = settings.size
    ground = rng.random(3)
    image = ground + settings.clutter * clutter(rng, size)
    return image + settings.texture_amplitude * grating(size, int(label), settings.classes, rng)[..., None]


def grating(size: int, texture: int, classes: int, rng: np.random.Generator) -> np.ndarray:  # [size, size] in [-1, 1]
    """A plane wave of random phase; its number sets angle and wavelength (2.5 to 5 pixels), so that no two are alike."""
    angle = np.pi * texture / classes
    wavelength = (2.5, 3.2, 4.0, 5.0)[texture % 4]
    row, column = np.mgrid[:size, :size]
    along = row * np.sin(angle) + column * np.cos(angle)
    return np.sin(2 * np.pi * (along / wavelength + rng.random()))


def two_colours(rng: np.random.Generator, min_contrast: float) -> tuple[np.ndarray, np.ndarray]:
    """Two colours in [0, 1]^3 whose mean brightness differs by at least `min_contrast`."""
    while True:
        colours = rng.random((2, 3))
        if abs(colours[0].mean() - colours[1].mean()) >= min_contrast:
            return colours[0], colours[1]


def clutter(rng: np.random.Generator, size: int) -> np.ndarray:  # [size, size, 3] in [-1, 1]
    """Smooth colour noise: a 4 x 4 grid of colours, up-scaled bicubically."""
    coarse = rng.uniform(-1, 1, (3, 4, 4)).astype(np.float32)
    fine = [np.asarray(Image.fromarray(c, "F").resize((size, size), Image.Resampling.BICUBIC)) for c in coarse]
    return np.clip(np.stack(fine, axis=-1), -1, 1)


@cache
def rasterised(font: str, letter: str, stroke: int = 0) -> Image.Image:
    """The letter in white on black, centred on a CANVAS x CANVAS image; its lines are wider by `stroke` pixels on each side."""
    path = Path(matplotlib.get_data_path()) / "fonts" / "ttf" / f"{font}.ttf"
    image = Image.new("L", (CANVAS, CANVAS))
    face = ImageFont.truetype(str(path), 48)
    ImageDraw.Draw(image).text((CANVAS / 2, CANVAS / 2), letter, fill=255, anchor="mm", font=face, stroke_width=stroke)
    return image


def warp(letter: Image.Image, rng: np.random.Generator, size: int) -> np.ndarray:  # [size, size] in [0, 1]
    """Under a random affine map: rotation to 15 degrees, scale 0.9 to 1.3, shear to 0.15, shift to a twelfth of the side."""
    angle, shear = rng.uniform(-np.pi / 12, np.pi / 12), rng.uniform(-0.15, 0.15)
    scale = rng.uniform(0.9, 1.3, 2)
    shift = rng.uniform(-CANVAS / 12, CANVAS / 12, 2)
    rotate = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    linear = rotate @ np.array([[1, shear], [0, 1]]) @ np.diag(1 / scale)
    offset = CANVAS / 2 - linear @ (np.full(2, CANVAS / 2) + shift)
    coefficients = (*linear[0], offset[0], *linear[1], offset[1])
    warped = letter.transform((CANVAS, CANVAS), Image.Transform.AFFINE, coefficients, Image.Resampling.BILINEAR)
    return np.asarray(warped.resize((size, size), Image.Resampling.BOX), np.float32) / 255
