"""What the readers of published sets with objects have in common: the sizes of images, and boxes that are within them."""

from dataclasses import replace
from pathlib import Path

import numpy as np
from PIL import Image

from stages.lib.datasets.objects.scenes import Objects, Scene, within
from stages.lib.errors import RunError
from stages.lib.progress import log


def size_of(image: Path, place: str) -> tuple[int, int]:
    """Width and height of an image, of which the head alone is read; `place` names it in errors."""
    try:
        with Image.open(image) as opened:
            return opened.size
    except FileNotFoundError:
        raise RunError(f"{place}: the image is missing; allowed: one for each annotation") from None
    except (OSError, SyntaxError, ValueError) as error:
        why = str(error).replace(f"{image.parent}/", "")
        raise RunError(f"{place}: not an image that can be read ({why})") from None


def scene_of(image: Path, width: int, height: int, objects: Objects) -> tuple[Scene, int]:
    """The image with the objects that have an area within it, their boxes cut at its borders; and how many have none."""
    boxes, kept = within(objects.boxes, width, height)
    masks = [mask for mask, keep in zip(objects.masks, kept, strict=True) if keep] if objects.masks else []
    inside = replace(
        objects, labels=objects.labels[kept], boxes=boxes[kept], difficult=objects.difficult[kept], crowd=objects.crowd[kept], masks=masks
    )
    return Scene(image, width, height, inside), int(np.sum(~kept))


def left_out(where: str, count: int) -> None:
    """Say how many objects are not there any more."""
    if count:
        log(f"{where}: left out: {count} objects whose box has no area within the image")
