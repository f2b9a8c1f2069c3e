"""The images of a folder, labelled: for `stages.predict`, and for the script beside a model that is handed over."""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from stages.lib.datasets.pictures import Pictures
from stages.lib.errors import RunError

if TYPE_CHECKING:
    from stages.lib.models.card import Card
    from stages.lib.models.classifier import Classifier

HEADER = ("file", "label", "probability")
AT_ONCE = 256  # images in memory


def rows_of(model: "Classifier", folder: Path, paths: list[str], aside: Callable[[str], None]) -> Iterator[tuple[str, str, str]]:
    """Name, label and probability of each image, as text below HEADER.

    Args:
        paths: from the folder.
        aside: is told of each file that is no image, in a line; it has no row.
    """
    for names, x in images_of(folder, paths, model.card, aside):
        for name, (label, probability) in zip(names, model.labels(x), strict=True):
            yield name, label, f"{probability:.4f}"


def paths_in(folder: Path) -> list[str]:
    """Every file of a folder and its folders, but for hidden ones, in the order of their names.

    Raises:
        RunError: where there is none.
    """
    if not folder.is_dir():
        raise RunError(f"{folder}: no such folder; allowed: a folder with images")
    paths = [path.relative_to(folder) for path in sorted(folder.rglob("*")) if path.is_file()]
    paths = [path.as_posix() for path in paths if not any(part.startswith(".") for part in path.parts)]
    if not paths:
        raise RunError(f"{folder}: holds no file; allowed: a folder with images")
    return paths


def images_of(root: Path, paths: list[str], card: "Card", aside: Callable[[str], None]) -> Iterator[tuple[list[str], np.ndarray]]:
    """Names of files, and their images, uint8 [n, side, side, channels], some at a time; a file that is no image is set aside."""
    pictures = Pictures(root, paths, card.image_size, card.crop, card.channels, None)

    def decoded(path: str) -> np.ndarray | RunError:
        try:
            return pictures.decoded(path)
        except RunError as error:
            return error

    with ThreadPoolExecutor() as pool:  # Pillow decodes outside the interpreter's lock
        for first in range(0, len(paths), AT_ONCE):
            some = paths[first : first + AT_ONCE]
            images = {}
            for path, found in zip(some, pool.map(decoded, some), strict=True):
                if isinstance(found, RunError):
                    aside(f"set aside: {found}")
                else:
                    images[path] = found
            if images:
                yield list(images), np.stack(list(images.values()))
