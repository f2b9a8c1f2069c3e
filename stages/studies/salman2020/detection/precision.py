"""Average precision of detections (AP), in percent, by pycocotools: mean over classes and over IoU 0.5, 0.55 ... 0.95.

Precision at a recall is the highest precision at that recall or a higher one, as in COCO and PASCAL VOC; it is read at 101 points of
recall (COCO) or at 11 (VOC 2007). A detection of a difficult object, or within a crowd, is neither right nor wrong.
"""

import io
from contextlib import redirect_stdout
from dataclasses import dataclass
from typing import Any

import numpy as np
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from stages.lib.datasets.objects.scenes import Scenes

BEYOND = 1e12  # square pixels: an object of this area is outside the range that is evaluated, as difficult ones are to be
RANGE = [0.0, 1e10]  # square pixels of the objects that are evaluated: all
KINDS = {"box": "bbox", "mask": "segm"}  # what of an object has to overlap, by what pycocotools calls it


@dataclass(frozen=True)
class Found:
    """The detections in one image, the surest first."""

    boxes: np.ndarray  # float [k, 4]: left, top, right, bottom
    labels: np.ndarray  # int64 [k], from 0
    scores: np.ndarray  # float [k]
    masks: list[bytes]  # run lengths; empty where the detector gives none


def average_precision(
    scenes: Scenes, places: np.ndarray, found: list[Found], classes: int, kind: str, recall_points: int = 101
) -> tuple[float, float]:
    """AP over all IoU and at IoU 0.5, in percent; 0 where nothing was detected, and without classes that no image of these has.

    Args:
        places: images of the split that were looked at, in the order of `found`.
        kind: `box` or `mask`.
    """
    truth = COCO()
    sizes = [scenes.size(int(place)) for place in places]
    truth.dataset = {
        "info": {}, "categories": [{"id": label} for label in range(classes)], "annotations": _annotations(scenes, places),
        "images": [{"id": number, "width": width, "height": height} for number, (width, height) in enumerate(sizes)],
    }  # fmt: skip
    detections = _detections(scenes, places, found, kind)
    if not detections or not truth.dataset["annotations"]:
        return 0.0, 0.0
    with redirect_stdout(io.StringIO()):  # in which pycocotools tells what it does
        truth.createIndex()
        evaluation = COCOeval(truth, truth.loadRes(detections), KINDS[kind])
        evaluation.params.areaRng, evaluation.params.areaRngLbl, evaluation.params.maxDets = [RANGE], ["all"], [100]
        evaluation.params.recThrs = np.linspace(0, 1, recall_points)
        evaluation.evaluate()
        evaluation.accumulate()
    precision = evaluation.eval["precision"][..., 0, 0]  # [IoU, recall, class]; -1 for a class without objects
    return tuple(100 * float(part[part > -1].mean()) if (part > -1).any() else 0.0 for part in (precision, precision[:1]))


def _annotations(scenes: Scenes, places: np.ndarray) -> list[dict[str, Any]]:
    listed = []
    for number, place in enumerate(places):
        objects, (width, height) = scenes.objects(int(place)), scenes.size(int(place))
        for i, label in enumerate(objects.labels):
            left, top, right, bottom = map(float, objects.boxes[i])
            area = BEYOND if objects.difficult[i] else (right - left) * (bottom - top)
            mask = {"segmentation": {"size": [height, width], "counts": objects.masks[i]}} if objects.masks else {}
            listed.append(mask | {
                "id": len(listed) + 1, "image_id": number, "category_id": int(label), "bbox": [left, top, right - left, bottom - top],
                "area": area, "iscrowd": int(objects.crowd[i]),
            })  # fmt: skip
    return listed


def _detections(scenes: Scenes, places: np.ndarray, found: list[Found], kind: str) -> list[dict[str, Any]]:
    listed = []
    for number, (place, of_image) in enumerate(zip(places, found, strict=True)):
        width, height = scenes.size(int(place))
        for i, (left, top, right, bottom) in enumerate(of_image.boxes.tolist()):
            what = (
                {"bbox": [left, top, right - left, bottom - top]}
                if kind == "box"
                else {"segmentation": {"size": [height, width], "counts": of_image.masks[i]}}
            )
            listed.append(what | {"image_id": number, "category_id": int(of_image.labels[i]), "score": float(of_image.scores[i])})
    return listed
