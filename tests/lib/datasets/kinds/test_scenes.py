"""Drawn scenes: boxes and masks are exact, letters hide one another at most by half, and a scene follows from its seed and number."""

import io

import numpy as np
import pytest
from PIL import Image
from pycocotools import mask as run_lengths

from stages import download, upscale
from stages.lib.datasets import catalog, sets
from stages.lib.datasets.kinds.scenery import draw
from stages.lib.datasets.kinds.scenes import Letters
from stages.lib.datasets.objects.scenes import Scenes
from stages.lib.settings.params import SettingsError
from stages.lib.store import code

ENTRY = catalog.dataset_entry("scenes", code.ROOT / "data/catalog.yaml")


def masks_of(objects, size: int) -> np.ndarray:
    return np.stack([run_lengths.decode({"size": [size, size], "counts": mask}) for mask in objects.masks]).astype(bool)


def test_boxes_fit_the_masks_which_do_not_overlap_and_are_mostly_seen():
    counts, labels, overlapping = [], set(), 0
    for number in range(60):
        scene = draw(ENTRY, "train", number)
        masks = masks_of(scene.objects, ENTRY.size)
        assert masks.sum(0).max() <= 1, "a pixel belongs to the letter that is seen there"
        for mask, box in zip(masks, scene.objects.boxes, strict=True):
            rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
            assert box.tolist() == [columns[0], rows[0], columns[-1] + 1, rows[-1] + 1]
            assert mask.sum() > 15
        first, second = scene.objects.boxes[:, None, :], scene.objects.boxes[None]
        sides = np.minimum(first[..., 2:], second[..., 2:]) - np.maximum(first[..., :2], second[..., :2])
        overlapping += bool((sides > 0).all(-1).sum() > len(masks))
        counts.append(len(masks))
        labels |= set(scene.objects.labels.tolist())
    assert (min(counts), max(counts)) == (ENTRY.fewest, ENTRY.most)
    assert overlapping > 3, "letters hide parts of one another"
    assert len(labels) == ENTRY.classes


def test_a_letter_has_a_colour_of_its_own_on_the_ground():
    scene = draw(ENTRY, "test", 0)
    pixels = np.asarray(Image.open(io.BytesIO(scene.file)), float).mean(-1)
    for mask in masks_of(scene.objects, ENTRY.size):
        ground = ~masks_of(scene.objects, ENTRY.size).any(0)
        assert abs(np.median(pixels[mask]) - np.median(pixels[ground])) > 255 * (ENTRY.min_contrast - ENTRY.clutter)


def test_a_scene_follows_from_seed_split_and_number():
    same, other = ENTRY.model_copy(), ENTRY.model_copy(update={"seed": 9})
    assert draw(same, "train", 5).file == draw(ENTRY, "train", 5).file
    assert draw(ENTRY, "train", 5).objects.masks == draw(same, "train", 5).objects.masks
    assert len({draw(entry, split, number).file for entry in (ENTRY, other) for split in ("train", "test") for number in (0, 1)}) == 8


def test_they_are_stored_like_any_other_set(workspace):
    workspace.edit("data/catalog.yaml", scenes__train=5, scenes__test=3)
    download.main("scenes")
    upscale.main("scenes")
    card = sets.card_of("scenes")
    counts = [split.n for split in card.splits.values()]
    assert (card.classes, card.stored_size, counts, card.class_names[:3]) == (10, 64, [5, 3], ["A", "B", "C"])
    scenes = Scenes("scenes", *sets.load("scenes", "test"))
    drawn = draw(ENTRY, "test", 2)
    assert scenes.file(2) == drawn.file
    assert np.array_equal(scenes.objects(2).boxes, drawn.objects.boxes)


@pytest.mark.parametrize(
    ("changes", "line"), [({"fewest": 5}, "`fewest` up to `most`, which is 4"), ({"largest": 65}, "and that up to `size`, which is 64")]
)
def test_sizes_that_do_not_fit_are_refused(workspace, changes, line):
    workspace.edit("data/catalog.yaml", **{f"scenes__{key}": value for key, value in changes.items()})
    with pytest.raises(SettingsError, match=line):
        catalog.dataset_entry("scenes")
    assert isinstance(ENTRY, Letters)
