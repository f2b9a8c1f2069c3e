"""PASCAL VOC as it was published (Everingham et al. 2010), read by torchvision: images, and the boxes of their objects in XML."""

from pathlib import Path
from typing import Any
from xml.etree.ElementTree import ParseError

import numpy as np

from stages.lib.datasets.objects.files import left_out, scene_of, size_of
from stages.lib.datasets.objects.scenes import Objects, Scene
from stages.lib.errors import RunError


def read(folder: Path, year: str, image_set: str, class_names: list[str], shown: str) -> list[Scene]:
    """The images of one image set, `trainval` or `test`, of one year.

    Args:
        folder: that holds VOCdevkit/.
        shown: what errors name in the place of the folder: the archives.

    Raises:
        RunError: a missing list, image or annotation, or one that is no annotation; an unknown class.
    """
    from torchvision import datasets  # here, as it takes seconds to import

    try:
        listed = datasets.VOCDetection(folder, year=year, image_set=image_set)
    except (RuntimeError, OSError) as error:  # RuntimeError: torchvision's, where there is no folder of the year
        raise RunError(f"{shown}: VOC {year} has no image set {image_set!r} ({_one_line(error, folder)})") from None
    scenes, dropped = [], 0
    for image, annotation in zip(map(Path, listed.images), map(Path, listed.annotations), strict=True):
        place = f"{shown}: {annotation.relative_to(folder)}"
        width, height = size_of(image, f"{shown}: {image.relative_to(folder)}")
        objects = _objects(_parsed(annotation, place, datasets.VOCDetection), class_names, place)
        scene, without_area = scene_of(image, width, height, objects)
        scenes.append(scene)
        dropped += without_area
    left_out(f"{shown}: VOC {year}, {image_set}", dropped)
    return scenes


def _one_line(error: Exception, folder: Path) -> str:
    return " ".join(str(error).replace(f"{folder}/", "").split())


def _parsed(annotation: Path, place: str, reader: Any) -> list[dict[str, Any]]:
    """The objects that an annotation lists, as torchvision parses them."""
    from xml.etree import ElementTree

    try:
        return reader.parse_voc_xml(ElementTree.parse(annotation).getroot())["annotation"]["object"]
    except FileNotFoundError:
        raise RunError(f"{place}: the annotation is missing; allowed: one for each image of the list") from None
    except (ParseError, KeyError, TypeError, AttributeError) as error:
        raise RunError(f"{place}: no annotation of VOC ({type(error).__name__}: {error})") from None


def _objects(listed: list[dict[str, Any]], class_names: list[str], place: str) -> Objects:
    """The objects with boxes counted from 0; VOC counts pixels from 1, and the last ones lie within the box."""
    labels, boxes, difficult = [], [], []
    for number, found in enumerate(listed):
        try:
            name, box = found["name"], [float(found["bndbox"][side]) for side in ("xmin", "ymin", "xmax", "ymax")]
            hard = int(found.get("difficult", 0))
        except (KeyError, TypeError, ValueError, AttributeError):
            raise RunError(f"{place}: object {number} has no name and box; allowed: name, and bndbox with xmin, ymin, xmax, ymax") from None
        if name not in class_names:
            raise RunError(f"{place}: object {number} is of the class {name!r}; allowed: {', '.join(class_names)}")
        labels.append(class_names.index(name))
        boxes.append([box[0] - 1, box[1] - 1, *box[2:]])
        difficult.append(bool(hard))
    none = np.zeros(len(labels), bool)
    return Objects(np.array(labels, np.int64), np.array(boxes, np.float32).reshape(-1, 4), np.array(difficult, bool), none)
