"""A source as the backbone of a detector: trained on scenes, and tested by average precision (Salman et al. 2020, Figure 4)."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from pycocotools import mask as run_lengths
from torch import Tensor, nn

from stages.lib.datasets.objects.scenes import Scenes
from stages.lib.datasets.sets import card_of, load
from stages.lib.errors import RunError
from stages.lib.networks.devices import best_device, device_of
from stages.lib.networks.pretrained import Pretrained
from stages.lib.store.tables import DIVERGED
from stages.lib.training.sgd import Sgd
from stages.studies.salman2020.detection import batches, detectors
from stages.studies.salman2020.detection.precision import Found, average_precision

if TYPE_CHECKING:
    from stages.lib.runs.experiments import Run

WARMUP_FACTOR = 0.001  # of the learning rate, at the first iteration (Detectron2's default)
SURE = 0.5  # score from which on a detection is drawn


def compute(run: "Run", source: Pretrained, stored: Path | None) -> tuple[dict[str, float], dict[str, Tensor] | None]:
    """In a worker: train and test. `box_ap` and `mask_ap` are percent, mean over IoU 0.5 to 0.95; `box_ap50` is at 0.5 alone."""
    train, test = (Scenes(run.target, *load(run.target, split)) for split in ("train", "test"))
    masks = run.how["detector"] == "mask_rcnn"
    if masks and not (train.have_masks and test.have_masks):
        raise RunError(f"{run.target}: has objects without a mask, which {run.method} learns; allowed: a set with masks, or faster_rcnn")
    with torch.random.fork_rng():  # torchvision's samplers draw from torch's own generator
        torch.manual_seed(run.seed)
        detector = detectors.build(source, card_of(run.target).classes, run.how).to(best_device())
        loss = fit(detector, train, run.how, run.seed)
    if not np.isfinite(loss):
        return dict.fromkeys([name for kind in _kinds(masks) for name in (f"{kind}_ap", f"{kind}_ap50")], 0.0) | {DIVERGED: 1.0}, None
    places = np.arange(min(len(test), run.how["max_images"]))
    found = [detected(detector, batches.image(test, int(place)), masks) for place in places]
    values = {"loss": loss}
    for kind in _kinds(masks):
        all_iou, at_half = average_precision(test, places, found, card_of(run.target).classes, kind, run.how["recall_points"])
        values |= {f"{kind}_ap": all_iou, f"{kind}_ap50": at_half}
    return values, pictures(test, found, run.how["pictures"])


def _kinds(masks: bool) -> tuple[str, ...]:
    return ("box", "mask") if masks else ("box",)


def fit(detector: nn.Module, scenes: Scenes, how: dict[str, Any], seed: int) -> float:
    """Train by stochastic gradient descent; returns the mean loss of the last tenth of the iterations, not finite where one is not."""
    device, losses = device_of(detector), []
    learner = Sgd((weight for weight in detector.parameters() if weight.requires_grad), how["momentum"], how["weight_decay"])
    detector.train()
    for i, (images, targets) in enumerate(batches.training(scenes, how, seed, device)):
        learnt = [{name: value.to(device) for name, value in target.items()} for target in targets]
        loss = sum(detector([x.to(device) for x in images], learnt).values())
        losses.append(loss.detach())
        if i % 10 == 9 and not torch.isfinite(losses[-1]):  # to look at each would have a GPU wait for each
            return float("nan")
        loss.backward()
        learner.step(learner.gradients(), rate(i, how))
    return float(torch.stack(losses[-max(1, len(losses) // 10) :]).mean())


def rate(iteration: int, how: dict[str, Any]) -> float:
    """The learning rate: it rises linearly for `warmup` iterations, and falls to a tenth at each of `drops`."""
    rising = min(1.0, WARMUP_FACTOR + (1 - WARMUP_FACTOR) * iteration / how["warmup"]) if how["warmup"] else 1.0
    return how["lr"] * rising * 0.1 ** sum(iteration >= drop for drop in how["drops"])


@torch.no_grad()
def detected(detector: nn.Module, x: Tensor, masks: bool) -> Found:
    """The objects that the detector finds in an image, float [3, H, W] in [0, 1]."""
    detector.eval()
    [found] = detector([x.to(device_of(detector))])
    found = {name: value.cpu() for name, value in found.items()}
    seen = [np.asfortranarray((mask[0] > 0.5).numpy().astype(np.uint8)) for mask in found["masks"]] if masks else []
    encoded = [run_lengths.encode(mask)["counts"] for mask in seen]
    return Found(found["boxes"].double().numpy(), found["labels"].numpy() - 1, found["scores"].double().numpy(), encoded)


def pictures(scenes: Scenes, found: list[Found], count: int) -> dict[str, Tensor] | None:
    """The first images with what was surely detected, as the report draws them; None where none are asked for."""
    if not count:
        return None
    arrays = {}
    for i, of_image in enumerate(found[:count]):
        sure = of_image.scores >= SURE
        arrays |= {
            f"picture/{i}/image": torch.from_numpy(scenes.image(i)),
            f"picture/{i}/boxes": torch.from_numpy(of_image.boxes[sure]).float(),
            f"picture/{i}/labels": torch.from_numpy(of_image.labels[sure]),
            f"picture/{i}/truth": torch.from_numpy(scenes.objects(i).boxes),
        }
    return arrays
