"""What runs of `detect` cost: the loop that trains a detector and the test are measured for each kind of them, on random images."""

import json
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from pycocotools import mask as run_lengths
from torch import nn

from stages.lib.datasets.objects.scenes import Objects
from stages.lib.networks import units
from stages.lib.networks.devices import best_device
from stages.lib.networks.pretrained import Pretrained
from stages.lib.runs.planning import measuring
from stages.lib.workers.executors import Workers
from stages.studies.salman2020.detection import batches, detectors
from stages.studies.salman2020.detection.settings import Task
from stages.studies.study import CardOf

if TYPE_CHECKING:
    from stages.lib.runs.experiments import Run

CLASSES = 10  # of objects; how many there are hardly costs anything
FEW_OBJECTS = 3  # of an image


class Unread(Pretrained):
    """A source whose weights are not at hand: they are random, and so small that features stay finite without a batch norm of theirs."""

    def network(self) -> nn.Sequential:
        network = units.build(self.architecture, CLASSES, list(self.mean), list(self.std)).eval()
        for module in network.modules():
            if isinstance(module, nn.BatchNorm2d):
                nn.init.constant_(module.weight, 0.25)
        return network


@dataclass(frozen=True)
class Kind:
    """What decides the cost of an iteration and of a test."""

    architecture: str
    pretrained: bool
    task: str  # the settings of the task, as JSON

    @property
    def how(self) -> dict:
        return json.loads(self.task)


class Drawn:
    """Random images with objects at random places, as large as the detector takes them."""

    name = "drawn"

    def __init__(self, how: dict):
        side = how["shorter"][len(how["shorter"]) // 2]
        self.height, self.width = side, min(how["longest"], round(side * 4 / 3))
        self.masks, self.learnable = how["detector"] == "mask_rcnn", np.arange(4)

    def size(self, number: int) -> tuple[int, int]:
        return self.width, self.height

    def image(self, number: int) -> np.ndarray:
        return np.random.default_rng(number).integers(0, 256, (self.height, self.width, 3), dtype=np.uint8)

    def objects(self, number: int) -> Objects:
        sides = np.array([self.width, self.height])
        corners = np.random.default_rng(number).uniform(0, 0.5, (FEW_OBJECTS, 2)) * sides
        boxes = np.concatenate([corners, corners + 0.4 * sides], 1).astype(np.float32)
        none = np.zeros(FEW_OBJECTS, bool)
        return Objects(
            np.arange(FEW_OBJECTS), boxes, none, none, [self._mask(box) for box in boxes.round().astype(int)] if self.masks else []
        )

    def _mask(self, box: np.ndarray) -> bytes:
        left, top, right, bottom = box
        mask = np.zeros((self.height, self.width), np.uint8, order="F")
        mask[top:bottom, left:right] = 1
        return run_lengths.encode(mask)["counts"]


def kind_of(run: "Run", card_of: CardOf) -> Kind:
    card = card_of(run.source)
    task = {name: value for name, value in run.how.items() if name in Task.model_fields}
    return Kind(card.architecture, card.kind != "random", json.dumps(task))


def seconds(runs: Iterable["Run"], card_of: CardOf, workers: Workers) -> float:
    """Seconds that the runs take, one after the other, where each process of the workers computes one of them."""
    total = 0.0
    for kind, count in Counter(kind_of(run, card_of) for run in runs).items():
        per_iteration, per_test = measuring.means(workers, rates_of, kind, workers.processes)
        total += count * (kind.how["iterations"] * per_iteration + kind.how["max_images"] * per_test)
    return total


def rates_of(kind: Kind) -> tuple[float, float]:
    """In a worker: seconds of an iteration, and of the test of an image."""
    from stages.studies.salman2020.experiments.detect import detected, fit  # here, as what it reads is no part of this module

    how, scenes = kind.how, Drawn(kind.how)
    source = Unread("unread", kind.architecture, CLASSES if kind.pretrained else None, (0.5,) * 3, (0.25,) * 3, "", "")
    with torch.random.fork_rng():
        torch.manual_seed(0)
        detector = detectors.build(source, CLASSES, how).to(best_device())

        def train(iterations: int, batch_size: int) -> None:
            fit(detector, scenes, how | {"iterations": iterations, "batch_size": batch_size, "lr": 0.0}, 0)
            _wait()

        def test(images: int) -> None:
            for number in range(images):
                detected(detector, batches.image(scenes, number), scenes.masks)
            _wait()

        return measuring.step(lambda n, size: train(1 + n, size), how["batch_size"]), measuring.line(lambda n: test(1 + n))[0]


def _wait() -> None:
    if torch.cuda.is_available():
        torch.cuda.synchronize()
