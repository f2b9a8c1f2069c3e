"""Average precision: that of pycocotools is what the definition says, by a slow computation of our own."""

from pathlib import Path

import numpy as np
import pytest
from pycocotools import mask as run_lengths

from stages.lib.datasets import sets
from stages.lib.datasets.objects.scenes import Objects, Scene, Scenes, save
from stages.studies.salman2020.detection.precision import Found, average_precision

SIDE, CLASSES = 40, 2


def boxes(rng: np.random.Generator, k: int) -> np.ndarray:
    corner = rng.integers(0, SIDE - 20, (k, 2))
    return np.concatenate([corner, corner + rng.integers(8, 20, (k, 2))], 1).astype(np.float32)


def encoded(box: np.ndarray) -> bytes:
    mask = np.zeros((SIDE, SIDE), np.uint8, order="F")
    x0, y0, x1, y1 = box.astype(int)
    mask[y0:y1, x0:x1] = 1
    return run_lengths.encode(mask)["counts"]


def scenes_of(folder: Path, listed: list[Objects]) -> Scenes:
    save(folder, "test", [Scene(b"file", SIDE, SIDE, objects) for objects in listed])
    return Scenes("some", *sets.read(folder, "test"))


def some_scenes(rng: np.random.Generator, n: int = 12) -> tuple[list[Objects], list[Found]]:
    """Objects, and detections that are near them, far from them, or of another class."""
    listed, found = [], []
    for _ in range(n):
        k = int(rng.integers(0, 4))
        truth, labels, no = boxes(rng, k), rng.integers(0, CLASSES, k), np.zeros(k, bool)
        listed.append(Objects(labels, truth, no, no, [encoded(box) for box in truth]))
        near = np.clip(truth + rng.integers(-3, 4, truth.shape), 0, SIDE)
        seen = np.concatenate([near, boxes(rng, 2)]).astype(np.float64)
        kinds = np.concatenate([np.where(rng.random(k) < 0.8, labels, 1 - labels), rng.integers(0, CLASSES, 2)])
        order = np.argsort(-(scores := rng.random(len(seen))))
        found.append(Found(seen[order], kinds[order], scores[order], [encoded(box) for box in seen[order]]))
    return listed, found


def iou(one: np.ndarray, other: np.ndarray) -> float:
    sides = np.minimum(one[2:], other[2:]) - np.maximum(one[:2], other[:2])
    shared = float(np.prod(np.maximum(sides, 0)))
    return shared / (np.prod(one[2:] - one[:2]) + np.prod(other[2:] - other[:2]) - shared)


def slow_ap(listed: list[Objects], found: list[Found], label: int, threshold: float, points: int) -> float:
    """One class at one IoU: detections from the surest on, each taking the object that it overlaps most of those that are left."""
    pairs = sorted(((-of.scores[i], n, i) for n, of in enumerate(found) for i in range(len(of.labels)) if of.labels[i] == label))
    left = {n: [i for i, own in enumerate(objects.labels) if own == label] for n, objects in enumerate(listed)}
    total, right = sum(map(len, left.values())), []
    for _, n, i in pairs:
        best = max(left[n], key=lambda j, n=n, i=i: iou(found[n].boxes[i], listed[n].boxes[j].astype(np.float64)), default=None)
        hit = best is not None and iou(found[n].boxes[i], listed[n].boxes[best].astype(np.float64)) >= threshold
        right.append(hit)
        if hit:
            left[n].remove(best)
    hits = np.cumsum(right)
    recall, precision = hits / total, hits / np.arange(1, len(hits) + 1)
    return float(np.mean([precision[recall >= at - 1e-12].max(initial=0.0) for at in np.linspace(0, 1, points)]))


@pytest.mark.parametrize("points", [11, 101])
@pytest.mark.parametrize("kind", ["box", "mask"])
def test_it_is_what_the_definition_says(tmp_path, kind, points):
    listed, found = some_scenes(np.random.default_rng(3))
    ours = average_precision(scenes_of(tmp_path, listed), np.arange(len(listed)), found, CLASSES, kind, points)
    at_each = [[slow_ap(listed, found, label, at, points) for label in range(CLASSES)] for at in np.linspace(0.5, 0.95, 10)]
    assert ours == pytest.approx((100 * np.mean(at_each), 100 * np.mean(at_each[0])))
    assert 5 < ours[0] < ours[1] < 95


def test_perfect_detections_have_all_and_none_has_nothing(tmp_path):
    listed, _ = some_scenes(np.random.default_rng(0))
    scenes, places = scenes_of(tmp_path, listed), np.arange(len(listed))
    right = [Found(o.boxes.astype(float), o.labels, np.ones(len(o)), o.masks) for o in listed]
    nothing = [Found(np.zeros((0, 4)), np.zeros(0, int), np.zeros(0), [])] * len(listed)
    for kind in ("box", "mask"):
        assert average_precision(scenes, places, right, CLASSES, kind) == pytest.approx((100, 100))
        assert average_precision(scenes, places, nothing, CLASSES, kind) == (0, 0)


@pytest.mark.parametrize("flag", ["difficult", "crowd"])
def test_a_difficult_object_and_a_crowd_are_neither_right_nor_wrong(tmp_path, flag):
    rng = np.random.default_rng(0)
    own, other = boxes(rng, 1)[0], np.array([22, 22, 40, 40], np.float32)
    flags = {name: np.array([False, name == flag]) for name in ("difficult", "crowd")}
    truth = np.stack([own, other])
    listed = [Objects(np.array([0, 0]), truth, flags["difficult"], flags["crowd"], [encoded(box) for box in truth])]
    seen = [Found(truth[::-1].astype(float), np.array([0, 0]), np.array([0.9, 0.8]), [])]  # the surest is the one that does not count
    assert average_precision(scenes_of(tmp_path, listed), np.arange(1), seen, 1, "box") == pytest.approx((100, 100))
    plain = [Objects(listed[0].labels[:1], truth[:1], np.zeros(1, bool), np.zeros(1, bool), listed[0].masks[:1])]
    assert average_precision(scenes_of(tmp_path, plain), np.arange(1), seen, 1, "box") == pytest.approx((50, 50))
