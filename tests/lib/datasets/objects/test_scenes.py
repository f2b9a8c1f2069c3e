"""Scenes on disk: what is written is read, image by image, and what does not hold objects is refused."""

import io

import numpy as np
import pytest
from PIL import Image
from pycocotools import mask as run_lengths

from stages.lib.datasets import sets
from stages.lib.datasets.objects.scenes import Objects, Scene, Scenes, save, within
from stages.lib.errors import RunError


def objects(labels: list[int], boxes: list[list[float]], masks: bool = True, **flags: list[bool]) -> Objects:
    none = [False] * len(labels)
    drawn = []
    for x0, y0, x1, y1 in boxes if masks else ():
        mask = np.zeros((12, 16), np.uint8, order="F")
        mask[int(y0) : int(y1), int(x0) : int(x1)] = 1
        drawn.append(run_lengths.encode(mask)["counts"])
    of_each = [np.array(flags.get(name, none), bool) for name in ("difficult", "crowd")]
    return Objects(np.array(labels, np.int64), np.array(boxes, np.float32).reshape(-1, 4), *of_each, drawn)


def image(rng: np.random.Generator) -> tuple[np.ndarray, bytes]:
    pixels, file = rng.integers(0, 256, (12, 16, 3), np.uint8), io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return pixels, file.getvalue()


def test_images_objects_and_masks_are_read_as_they_were_written(tmp_path):
    rng = np.random.default_rng(0)
    listed = [
        objects([3, 0], [[1, 2, 5, 7], [0, 0, 16, 12]], difficult=[True, False]),
        objects([], []),
        objects([1], [[2, 2, 4, 4]], crowd=[True]),
    ]
    images = [image(rng) for _ in listed]
    (tmp_path / "one.png").write_bytes(images[0][1])
    files = [tmp_path / "one.png", *(file for _, file in images[1:])]
    digest = save(tmp_path, "test", [Scene(file, 16, 12, of_image) for file, of_image in zip(files, listed, strict=True)])
    assert digest == save(tmp_path, "test", [Scene(file, 16, 12, of_image) for file, of_image in zip(files, listed, strict=True)])
    scenes = Scenes("some", *sets.read(tmp_path, "test"))
    assert (len(scenes), scenes.counts.tolist(), scenes.have_masks) == (3, [2, 0, 1], True)
    assert scenes.learnable.tolist() == [0], "the third image has a crowd alone"
    for number, ((pixels, file), wanted) in enumerate(zip(images, listed, strict=True)):
        assert np.array_equal(scenes.image(number), pixels)
        assert scenes.file(number) == file
        assert scenes.size(number) == (16, 12)
        found = scenes.objects(number)
        for name in ("labels", "boxes", "difficult", "crowd"):
            assert np.array_equal(getattr(found, name), getattr(wanted, name)), name
        assert found.masks == wanted.masks
    decoded = run_lengths.decode({"size": [12, 16], "counts": scenes.objects(0).masks[0]})
    assert decoded[2:7, 1:5].all()
    assert decoded.sum() == 4 * 5


def test_objects_without_masks_have_none(tmp_path):
    file = image(np.random.default_rng(0))[1]
    save(tmp_path, "train", [Scene(file, 16, 12, objects([1], [[2, 2, 4, 4]], masks=False))])
    scenes = Scenes("some", *sets.read(tmp_path, "train"))
    assert not scenes.have_masks
    assert scenes.objects(0).masks == []


def test_boxes_are_cut_at_the_borders_and_those_without_area_are_told():
    boxes, kept = within([[-3, 1, 4, 20], [5, 5, 5, 9], [20, 1, 30, 5], [1, 1, 16, 12]], 16, 12)
    assert boxes.tolist()[0] == [0, 1, 4, 12]
    assert kept.tolist() == [True, False, False, True]


def test_a_set_with_labels_and_a_file_that_is_no_image_are_told(tmp_path):
    with pytest.raises(RunError, match="digits: is an image set with one label an image; allowed: a set with objects"):
        Scenes("digits", np.zeros((4, 8, 8, 1), np.uint8), np.zeros(4, np.int64))
    save(tmp_path, "train", [Scene(b"no image", 16, 12, objects([], []))])
    with pytest.raises(RunError, match="some: image 0 cannot be decoded"):
        Scenes("some", *sets.read(tmp_path, "train")).image(0)
