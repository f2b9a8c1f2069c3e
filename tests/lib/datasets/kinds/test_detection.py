"""PASCAL VOC and COCO from their archives: boxes and masks are those of the annotations, and what is wrong in them is one line."""

import json
from collections.abc import Callable

import numpy as np
import pytest
from pycocotools import mask as run_lengths
from repository import Repository
from served import Server, tar, zipped
from served_objects import CLASSES, COCO_CLASSES, VOC_FILES, annotation, coco, instances, voc, voc_members

from stages import download, upscale
from stages.lib.datasets import catalog, sets
from stages.lib.datasets.objects.scenes import Scenes
from stages.lib.errors import RunError
from stages.lib.settings.params import SettingsError

VOC = {"kind": "detection", "format": "voc", "classes": 3, "class_names": CLASSES, "train": None, "test": None,
       "image_sets": {"train": ["2007_trainval", "2012_trainval"], "test": "2007_test"}}  # fmt: skip
COCO = {"kind": "detection", "format": "coco", "classes": 3, "class_names": list(COCO_CLASSES.values()), "train": 4, "test": 4,
        "image_sets": {"train": "train2017", "test": "val2017"}}  # fmt: skip


def brought(workspace: Repository, entry: dict, files: dict[str, bytes]) -> dict[str, Scenes]:
    """The splits of a set that is downloaded from a server here and stored."""
    with Server({}) as server:
        workspace.edit("data/catalog.yaml", made=entry | {"files": server.listed(files)})
        download.main("made")
    upscale.main("made")
    return {split: Scenes("made", *sets.load("made", split)) for split in ("train", "test")}


def test_voc_of_both_years_is_read_with_boxes_from_0(workspace):
    rng = np.random.default_rng(0)
    members = voc_members(rng, "2007", "test", 2)
    boxes = [("bird", 1, 1, 10, 20, 1), ("aeroplane", 5, 6, 200, 30, 0), ("bird", 60, 1, 90, 20, 0)]  # beyond the 48 pixels of its width
    members["VOCdevkit/VOC2007/Annotations/test_2007_000000.xml"] = annotation("x", boxes, 48, 64)
    members["VOCdevkit/VOC2007/Annotations/test_2007_000001.xml"] = annotation("x", [], 64, 48)
    files = voc(rng, 3, 2) | {VOC_FILES[1]: tar(members, mode="")}
    splits = brought(workspace, VOC, files)
    assert [len(scenes) for scenes in splits.values()] == [6, 2]
    found = splits["test"].objects(0)
    assert found.labels.tolist() == [2, 0]
    assert found.boxes.tolist() == [[0, 0, 10, 20], [4, 5, 48, 30]]
    assert found.difficult.tolist() == [True, False]
    assert splits["test"].counts.tolist() == [2, 0]
    assert splits["test"].size(0) == (48, 64)
    assert splits["test"].file(0) == members["VOCdevkit/VOC2007/JPEGImages/test_2007_000000.jpg"]
    assert not splits["train"].have_masks
    card = sets.card_of("made")
    assert (card.classes, card.class_names, card.splits["train"].n) == (3, CLASSES, 6)


def test_coco_is_read_with_masks_crowds_and_classes_in_the_order_of_their_numbers(workspace):
    content, members = instances(np.random.default_rng(0), "val2017", 4)
    first = content["annotations"][0]
    first |= {"category_id": 90, "bbox": [3.5, 4, 10, 12.5], "segmentation": [[4, 4, 13, 4, 13, 16, 4, 16]]}
    content["annotations"][1] |= {"bbox": [5, 5, 0, 8]}
    files = coco(np.random.default_rng(1)) | {
        "val2017.zip": zipped(members),
        "annotations_trainval2017.zip": zipped({
            "annotations/instances_val2017.json": json.dumps(content).encode(),
            "annotations/instances_train2017.json": json.dumps(instances(np.random.default_rng(1), "train2017", 4)[0]).encode(),
        }),
    }  # fmt: skip
    splits = brought(workspace, COCO, files)
    assert splits["test"].counts.tolist() == [0, 2, 2, 2]
    found = splits["test"].objects(1)
    assert found.labels.tolist() == [2, 0]
    assert found.boxes.tolist() == [[3.5, 4, 13.5, 16.5], [0, 0, 64, 48]]
    assert found.crowd.tolist() == [False, True]
    mask = run_lengths.decode({"size": [48, 64], "counts": found.masks[0]})
    assert mask[4:16, 4:13].all()
    assert mask.sum() == 9 * 12
    assert splits["train"].have_masks


def damaged_voc(change: Callable[[dict[str, bytes]], None]) -> dict[str, bytes]:
    rng = np.random.default_rng(0)
    members = voc_members(rng, "2007", "test", 2)
    change(members)
    return voc(rng, 1, 1) | {VOC_FILES[1]: tar(members, mode="")}


ROOT = "VOCdevkit/VOC2007"
OTHER = annotation("x", [("zebra", 1, 1, 9, 9, 0)], 48, 64)
PARTS = annotation("x", [("bird", 1, 1, 9, 9, 0)], 48, 64)
VOC_FAULTS = {
    "class": ({f"{ROOT}/Annotations/test_2007_000000.xml": OTHER}, r"test_2007_000000\.xml: object 0 is of the class 'zebra'; allowed: aeroplane, bicycle, bird"),
    "no annotation": ({f"{ROOT}/Annotations/test_2007_000001.xml": None}, r"test_2007_000001\.xml: the annotation is missing"),
    "no image": ({f"{ROOT}/JPEGImages/test_2007_000001.jpg": None}, r"test_2007_000001\.jpg: the image is missing"),
    "no XML": ({f"{ROOT}/Annotations/test_2007_000001.xml": b"<annotation>"}, r"test_2007_000001\.xml: no annotation of VOC"),
    "no box": ({f"{ROOT}/Annotations/test_2007_000001.xml": PARTS.replace(b"xmin", b"x")}, r"test_2007_000001\.xml: object 0 has no name and box"),
    "broken image": ({f"{ROOT}/JPEGImages/test_2007_000001.jpg": b"no"}, r"test_2007_000001\.jpg: not an image that can be read"),
    "no list": ({f"{ROOT}/ImageSets/Main/test.txt": None}, r"VOC 2007 has no image set 'test'"),
}  # fmt: skip


@pytest.mark.parametrize(("members", "line"), VOC_FAULTS.values(), ids=VOC_FAULTS)
def test_what_is_wrong_in_voc_is_one_line_that_names_the_file(workspace, members, line):
    def change(whole: dict[str, bytes]) -> None:
        for name, content in members.items():
            whole.pop(name) if content is None else whole.update({name: content})

    with pytest.raises(RunError, match=line) as raised:
        brought(workspace, VOC, damaged_voc(change))
    assert "\n" not in str(raised.value)
    assert "data/raw/made" in str(raised.value)


COCO_FAULTS = {
    "class": (lambda content: content["annotations"][0].update(category_id=2), r"image 000000000001\.jpg: an object is of the class number 2; allowed: 1, 3, 90"),
    "mask without box": (lambda content: content["annotations"][0].pop("bbox"), r"object 1 has a mask and the box None; allowed: left, top, width and height"),
    "other classes": (lambda content: content["categories"].pop(), r"has 2 classes; allowed: the 3 of the entry's class_names"),
    "other names": (lambda content: content["categories"][1].update(name="bus"), r"has class 'bus' and not 'car'"),
    "mask": (lambda content: content["annotations"][0].update(segmentation=[["a"]]), r"the mask of object 1 cannot be read"),
}  # fmt: skip


@pytest.mark.parametrize(("change", "line"), COCO_FAULTS.values(), ids=COCO_FAULTS)
def test_what_is_wrong_in_coco_is_one_line(workspace, change, line):
    content, members = instances(np.random.default_rng(0), "train2017", 4)
    change(content)
    described = zipped({"annotations/instances_train2017.json": json.dumps(content).encode()})
    files = coco(np.random.default_rng(0)) | {"train2017.zip": zipped(members), "annotations_trainval2017.zip": described}
    with pytest.raises(RunError, match=line) as raised:
        brought(workspace, COCO, files)
    assert "\n" not in str(raised.value)


def test_a_missing_file_of_annotations_a_truncated_archive_and_another_number_of_images_are_told(workspace):
    files = coco(np.random.default_rng(0))
    without = files | {"annotations_trainval2017.zip": zipped({"annotations/other.json": b"{}"})}
    with pytest.raises(RunError, match=r"annotations/instances_train2017\.json: the file of annotations is missing"):
        brought(workspace, COCO, without)
    with pytest.raises(RunError, match=r"train2017\.zip.*damaged archive"):
        brought(workspace, COCO, files | {"train2017.zip": files["train2017.zip"][:-40]})
    with pytest.raises(RunError, match=r"made: its train split has 4 images; the entry says 9"):
        brought(workspace, COCO | {"train": 9}, files)


def test_an_archive_that_has_changed_since_it_was_brought_is_not_read(workspace):
    brought(workspace, COCO, coco(np.random.default_rng(0)))
    archive = workspace.folder / "data/raw/made/val2017.zip"
    content = bytearray(archive.read_bytes())
    content[len(content) // 2] ^= 1
    archive.unlink()
    archive.write_bytes(content)
    with pytest.raises(RunError, match=r"data/raw/made/val2017\.zip: sha256 is"):
        upscale.main("made")


def test_an_entry_names_a_train_and_a_test_set_and_of_voc_the_years(workspace):
    file = {"name": "a.tar", "mirrors": ["a.tar"]}
    for sets_, line in (
        ({"train": ["2007_trainval"]}, "image_sets for both"),
        ({"train": ["trainval"], "test": ["test"]}, "with the year"),
    ):
        workspace.edit("data/catalog.yaml", made=VOC | {"files": [file], "image_sets": sets_})
        with pytest.raises(SettingsError, match=line):
            catalog.dataset_entry("made")


@pytest.mark.parametrize(("split", "folder", "why"), [
    ("train", "train2017", "no detector learns anything of it"), ("test", "val2017", "nothing can be found in it"),
])  # fmt: skip
def test_a_split_without_an_object_is_told_before_anything_is_trained(workspace, split, folder, why):
    rng, described = np.random.default_rng(0), {}
    for each in ("train2017", "val2017"):
        content = instances(rng, each, 4)[0]
        if each == folder:
            content["annotations"] = [found for found in content["annotations"] if found["iscrowd"]]
        described[f"annotations/instances_{each}.json"] = json.dumps(content).encode()
    with pytest.raises(RunError, match=f"made: no image of its {split} split has an object, so that {why}; allowed: one or more"):
        brought(workspace, COCO, coco(np.random.default_rng(0)) | {"annotations_trainval2017.zip": zipped(described)})
