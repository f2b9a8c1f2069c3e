"""PASCAL VOC and COCO in miniature: archives with real XML and JSON, in the layout that their authors published."""

import json
from typing import Any

import numpy as np
from served import picture, tar, zipped

VOC_FILES = ("VOCtrainval_06-Nov-2007.tar", "VOCtest_06-Nov-2007.tar", "VOCtrainval_11-May-2012.tar")
CLASSES = ["aeroplane", "bicycle", "bird"]  # the first of VOC
COCO_CLASSES = {1: "person", 3: "car", 90: "toothbrush"}  # of COCO's, whose numbers have gaps
COCO_NUMBERS = [n for n in range(1, 91) if n not in (12, 26, 29, 30, 45, 66, 68, 69, 71, 83)]  # of all 80
Box = tuple[str, int, int, int, int, int]  # class, xmin, ymin, xmax, ymax counted from 1, difficult


def annotation(name: str, boxes: list[Box], width: int, height: int) -> bytes:
    """An annotation of VOC."""
    objects = "".join(
        f"<object><name>{kind}</name><pose>Left</pose><truncated>0</truncated><difficult>{hard}</difficult><bndbox><xmin>{x0}</xmin>"
        f"<ymin>{y0}</ymin><xmax>{x1}</xmax><ymax>{y1}</ymax></bndbox></object>"
        for kind, x0, y0, x1, y1, hard in boxes
    )
    size = f"<size><width>{width}</width><height>{height}</height><depth>3</depth></size>"
    return f"<annotation><folder>VOC</folder><filename>{name}.jpg</filename>{size}<segmented>0</segmented>{objects}</annotation>".encode()


def some_boxes(rng: np.random.Generator, width: int, height: int) -> list[Box]:
    """One to three boxes."""
    boxes = []
    for _ in range(rng.integers(1, 4)):
        x, y = int(rng.integers(1, width - 20)), int(rng.integers(1, height - 20))
        boxes.append((CLASSES[rng.integers(len(CLASSES))], x, y, x + int(rng.integers(12, 20)), y + int(rng.integers(12, 20)), 0))
    return boxes


def voc_members(rng: np.random.Generator, year: str, image_set: str, n: int) -> dict[str, bytes]:
    """The members of an archive by name: images of two shapes, an annotation each, and the list of the image set."""
    root, names, members = f"VOCdevkit/VOC{year}", [f"{image_set}_{year}_{i:06}" for i in range(n)], {}
    for i, name in enumerate(names):
        width, height = (64, 48) if i % 2 else (48, 64)
        members[f"{root}/JPEGImages/{name}.jpg"] = picture(rng, width, height, "RGB", "JPEG")
        members[f"{root}/Annotations/{name}.xml"] = annotation(name, some_boxes(rng, width, height), width, height)
    return members | {f"{root}/ImageSets/Main/{image_set}.txt": "".join(f"{name}\n" for name in names).encode()}


def voc(rng: np.random.Generator, train: int = 3, test: int = 4) -> dict[str, bytes]:
    """The three archives, with `train` images of each year."""
    sets = (("2007", "trainval", train), ("2007", "test", test), ("2012", "trainval", train))
    return {name: tar(voc_members(rng, *one), mode="") for name, one in zip(VOC_FILES, sets, strict=True)}


def instances(
    rng: np.random.Generator, image_set: str, n: int, classes: dict[int, str] = COCO_CLASSES
) -> tuple[dict[str, Any], dict[str, bytes]]:
    """Annotations of COCO as its JSON holds them, and the images by name; one image has no object, one a crowd."""
    images, annotations, members = [], [], {}
    for i in range(n):
        name, (width, height) = f"{i:012}.jpg", (64, 48)
        members[f"{image_set}/{name}"] = picture(rng, width, height, "RGB", "JPEG")
        images.append({"id": 100 + i, "file_name": name, "width": width, "height": height})
        for _ in range(0 if i == 0 else 2):
            x, y, side = int(rng.integers(0, 40)), int(rng.integers(0, 24)), 20
            outline = [[x, y, x + side, y, x + side, y + side, x, y + side]]
            kind = list(classes)[rng.integers(len(classes))]
            annotations.append({
                "id": len(annotations) + 1, "image_id": 100 + i, "category_id": kind, "bbox": [x, y, side, side], "area": side**2,
                "iscrowd": 0, "segmentation": outline,
            })  # fmt: skip
    crowd = {"size": [48, 64], "counts": [0, 48 * 64]}  # of run lengths, as COCO has it: the whole image
    annotations.append({
        "id": len(annotations) + 1, "image_id": 101, "category_id": 1, "bbox": [0, 0, 64, 48], "area": 64 * 48, "iscrowd": 1, "segmentation": crowd,
    })  # fmt: skip
    categories = [{"id": number, "name": name, "supercategory": "thing"} for number, name in classes.items()]
    return {"info": {}, "licenses": [], "images": images, "annotations": annotations, "categories": categories}, members


def coco(rng: np.random.Generator, train: int = 4, test: int = 4, classes: dict[int, str] = COCO_CLASSES) -> dict[str, bytes]:
    """The three archives."""
    files, described = {}, {}
    for image_set, n in (("train2017", train), ("val2017", test)):
        content, members = instances(rng, image_set, n, classes)
        described[f"annotations/instances_{image_set}.json"] = json.dumps(content).encode()
        files[f"{image_set}.zip"] = zipped(members)
    return files | {"annotations_trainval2017.zip": zipped(described)}
