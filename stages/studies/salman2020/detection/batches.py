"""Scenes as torchvision's detectors take them: images in [0, 1], and boxes, labels and masks of the objects that they learn from."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from pycocotools import mask as run_lengths
from torch import Tensor

from stages.lib.datasets.objects.scenes import Objects, Scenes
from stages.lib.errors import RunError
from stages.lib.training import ahead

Targets = list[dict[str, Tensor]]


def image(scenes: Scenes, number: int) -> Tensor:
    """float [3, H, W] in [0, 1]."""
    return torch.from_numpy(scenes.image(number)).permute(2, 0, 1).float().div_(255)


def target(objects: Objects, width: int, height: int, masks: bool) -> dict[str, Tensor]:
    """What a detector learns of an image: its objects but for crowds, labels counted from 1, as 0 is the background."""
    kept = np.flatnonzero(~objects.crowd)
    learnt = {"boxes": torch.from_numpy(objects.boxes[kept]), "labels": torch.from_numpy(objects.labels[kept] + 1)}
    if masks:
        decoded = [run_lengths.decode({"size": [height, width], "counts": objects.masks[i]}) for i in kept]
        learnt["masks"] = torch.from_numpy(np.stack(decoded) if decoded else np.zeros((0, height, width), np.uint8))
    return learnt


def learnable(scenes: Scenes) -> np.ndarray:
    """The images that have an object to learn from, as the recipes of torchvision and Detectron2 take them: int64, rising."""
    if not len(scenes.learnable):
        raise RunError(f"{scenes.name}: no training image has an object to learn from; allowed: a set with objects")
    return scenes.learnable


def flipped(x: Tensor, learnt: dict[str, Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
    """An image and its objects in a mirror: left is right."""
    left, top, right, bottom = learnt["boxes"].unbind(1)
    width = x.shape[-1]
    changed = {"boxes": torch.stack([width - right, top, width - left, bottom], 1)}
    if "masks" in learnt:
        changed["masks"] = learnt["masks"].flip(-1)
    return x.flip(-1), learnt | changed


def numbers(places: np.ndarray, batch_size: int, iterations: int, rng: np.random.Generator) -> Iterator[np.ndarray]:
    """Places of the images of each batch: all images in a random order, again and again; a batch may join two orders."""
    waiting = np.zeros(0, np.int64)
    for _ in range(iterations):
        while len(waiting) < batch_size:
            waiting = np.concatenate([waiting, rng.permutation(places)])
        yield waiting[:batch_size]
        waiting = waiting[batch_size:]


def training(scenes: Scenes, how: dict[str, Any], seed: int, device: torch.device) -> Iterator[tuple[list[Tensor], Targets]]:
    """The batches of a training, on the CPU; for a network on a GPU, threads decode some ahead."""
    rng, masks = np.random.default_rng(seed), how["detector"] == "mask_rcnn"
    places = numbers(learnable(scenes), how["batch_size"], how["iterations"], rng)
    drawn = ((batch, rng.random(len(batch)) < (0.5 if how["flip"] else 0.0)) for batch in places)

    def made(batch: tuple[np.ndarray, np.ndarray]) -> tuple[list[Tensor], Targets]:
        images, learnt = [], []
        for number, mirror in zip(*(values.tolist() for values in batch), strict=True):
            pair = image(scenes, number), target(scenes.objects(number), *scenes.size(number), masks)
            for values, value in zip((images, learnt), flipped(*pair) if mirror else pair, strict=True):
                values.append(value)
        return images, learnt

    yield from ahead.mapped(made, drawn, ahead.threads_for(device))
