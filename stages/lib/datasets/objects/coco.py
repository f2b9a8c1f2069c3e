"""COCO as it was published (Lin et al. 2014), read by torchvision and pycocotools: images, and boxes and masks of objects in one JSON."""

import io
import json
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

import numpy as np

from stages.lib.datasets.objects.files import left_out, scene_of, size_of
from stages.lib.datasets.objects.scenes import Objects, Scene
from stages.lib.errors import RunError


def read(folder: Path, image_set: str, class_names: list[str], shown: str) -> list[Scene]:
    """The images of one image set, such as `val2017`; classes are labelled in the order of their numbers, which have gaps.

    Args:
        folder: that holds `<image_set>/` and `annotations/instances_<image_set>.json`.
        shown: what errors name in the place of the folder: the archives.

    Raises:
        RunError: a missing or damaged file of annotations, a missing image, an unknown class, an annotation without a box.
    """
    annotations = folder / "annotations" / f"instances_{image_set}.json"
    place = f"{shown}: {annotations.relative_to(folder)}"
    read_by = _opened(folder / image_set, annotations, place)
    label_of = _labels(read_by.coco, class_names, place)
    scenes, dropped = [], 0
    for number in read_by.ids:
        name = read_by.coco.imgs[number]["file_name"]
        width, height = size_of(folder / image_set / name, f"{shown}: {image_set}/{name}")
        objects = _objects(read_by.coco, number, label_of, f"{place}: image {name}")
        scene, without_area = scene_of(folder / image_set / name, width, height, objects)
        scenes.append(scene)
        dropped += without_area
    left_out(place, dropped)
    return scenes


def _opened(images: Path, annotations: Path, place: str) -> Any:
    """torchvision's object; pycocotools, which reads the JSON, tells what it does on standard output."""
    from torchvision import datasets  # here, as it takes seconds to import

    try:
        with redirect_stdout(io.StringIO()):
            return datasets.CocoDetection(images, str(annotations))
    except FileNotFoundError:
        raise RunError(f"{place}: the file of annotations is missing") from None
    except (json.JSONDecodeError, UnicodeDecodeError, KeyError, TypeError, AssertionError) as error:
        raise RunError(f"{place}: no annotations of COCO ({type(error).__name__}: {error})") from None


def _labels(coco: Any, class_names: list[str], place: str) -> dict[int, int]:
    """The label of each number of a class."""
    names = [coco.cats[number]["name"] for number in sorted(coco.cats)]
    if names != class_names:
        differing = next((f"{ours!r} and not {theirs!r}" for theirs, ours in zip(class_names, names, strict=False) if ours != theirs), "")
        found = f"class {differing}" if differing else f"{len(names)} classes"
        raise RunError(f"{place}: has {found}; allowed: the {len(class_names)} of the entry's class_names, in the order of their numbers")
    return {number: label for label, number in enumerate(sorted(coco.cats))}


def _objects(coco: Any, image: int, label_of: dict[int, int], place: str) -> Objects:
    labels, boxes, crowd, masks = [], [], [], []
    for found in coco.imgToAnns[image]:
        if found.get("category_id") not in label_of:
            numbers = ", ".join(map(str, label_of))
            raise RunError(f"{place}: an object is of the class number {found.get('category_id')!r}; allowed: {numbers}")
        box = found.get("bbox")
        if not isinstance(box, list) or len(box) != 4:
            mask = "a mask and " if found.get("segmentation") else ""
            raise RunError(f"{place}: object {found['id']} has {mask}the box {box!r}; allowed: left, top, width and height in pixels")
        labels.append(label_of[found["category_id"]])
        boxes.append([box[0], box[1], box[0] + box[2], box[1] + box[3]])
        crowd.append(bool(found.get("iscrowd", 0)))
        masks.append(_mask(coco, found, place))
    of_all = masks if all(masks) else []
    none = np.zeros(len(labels), bool)
    return Objects(np.array(labels, np.int64), np.array(boxes, np.float32).reshape(-1, 4), none, np.array(crowd, bool), of_all)


def _mask(coco: Any, found: dict[str, Any], place: str) -> bytes:
    """The run lengths of an object's mask; nothing where it has none."""
    if not found.get("segmentation"):
        return b""
    try:
        return coco.annToRLE(found)["counts"]
    except Exception as error:  # pycocotools raises whatever a wrong value leads it to
        raise RunError(f"{place}: the mask of object {found['id']} cannot be read ({type(error).__name__}: {error})") from None
