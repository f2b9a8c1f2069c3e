"""Predict a folder of images with a model of this pipeline: `python -m stages.predict MODEL FOLDER`.

MODEL is a target, for its best model (`digits`); a source (`natural`); a kept fine-tuned model
(`natural/digits/1_100_20000000`); or a folder with a card, as `dvc artifacts get` brings one. Images of any size, in grey or
colour, are brought to the network as those that it was tested on. Prints CSV: file, label, probability. A file that is no image is
named and set aside.
"""

import csv
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import numpy as np

from stages.lib import command
from stages.lib.datasets.pictures import Pictures
from stages.lib.errors import RunError
from stages.lib.models import kept
from stages.lib.models.card import Card
from stages.lib.progress import log

AT_ONCE = 256  # images in memory


def main(model: str, folder: str) -> None:
    from stages.lib.models.classifier import Classifier, tensors  # here, as torch takes seconds to import

    card, weights = kept.model(model)
    paths = paths_in(Path(folder))
    classifier, rows, n = Classifier(card, tensors(weights)), csv.writer(sys.stdout, lineterminator="\n"), 0
    rows.writerow(["file", "label", "probability"])
    for names, x in images_of(Path(folder), paths, card):
        found = classifier.labels(x)
        rows.writerows((name, label, f"{probability:.4f}") for name, (label, probability) in zip(names, found, strict=True))
        n += len(names)
    if not n:
        raise RunError(f"{folder}: none of its {len(paths)} files is an image that can be read")
    sys.stdout.flush()
    log(f"{model}: {card.title}: {n:,} images" + (f"; {len(paths) - n:,} files set aside" if n < len(paths) else ""))


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


def images_of(root: Path, paths: list[str], card: Card) -> Iterator[tuple[list[str], np.ndarray]]:
    """Names of files, and their images, uint8 [n, side, side, channels], some at a time; a file that is no image is named and left out."""
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
                    log(f"set aside: {found}")
                else:
                    images[path] = found
            if images:
                yield list(images), np.stack(list(images.values()))


if __name__ == "__main__":
    with suppress(BrokenPipeError):  # of a reader that has seen enough, such as `head`
        command.run(main, __doc__, "model", "folder")
