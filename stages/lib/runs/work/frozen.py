"""Frozen activations: what the part of a source that is not trained makes of a target's images. All of it is in their key."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
from torch import Tensor, nn

from stages.lib.datasets import sets
from stages.lib.networks import inference, pretrained
from stages.lib.networks.devices import best_device
from stages.lib.networks.layers import cuts
from stages.lib.runs.jobs import Blocks, Job, Split
from stages.lib.store import files
from stages.lib.training import finetuning, views


def weights_of(job: Job) -> dict[str, Tensor] | None:
    """The weights of the source; None where there is no pre-training. Raises RunError when they are not those of the key."""
    if job.source_sha256 is None:
        return None
    pretrained.check(job.weights, job.source_sha256, job.source)
    return files.read_tensors(Path(job.weights))


def images_of(job: Job, split: Split) -> tuple[np.ndarray, np.ndarray]:
    """Images and labels of the target, as `sets.load` gives them. Raises RunError when they are not those of the key."""
    return sets.load(job.target, split, job.images_sha256(split))


def view_of(job: Job) -> inference.View:
    """The way in which networks see images of the target that are not augmented."""
    return inference.View(job.image_size, job.resolution, mixed_precision=job.mixed_precision)


def part_of(job: Job, blocks: Blocks) -> nn.Sequential:
    """The frozen part, on its device."""
    network = finetuning.start(job.architecture, weights_of(job), job.classes, job.head_init, seed=0, moments=job.moments)
    return cuts.cut(network, blocks)[0].to(best_device(job.mixed_precision))


def activation_of_one(job: Job, blocks: Blocks, split: Split) -> np.ndarray:
    """The activation of one image, which is not augmented."""
    return inference.first_activation(part_of(job, blocks), images_of(job, split)[0], view_of(job))


def activations(job: Job, blocks: Blocks, split: Split, rows: np.ndarray | None, n_views: int | None = None) -> Iterator[np.ndarray]:
    """[batch, ..., C], batch by batch, as `inference.frozen_activations` gives them.

    Args:
        rows: places of the images in the split; None: all.
        n_views: of each image so many augmented ones, in the order of `views.rows_of`; None: the image as it is.
    """
    x, changed = images_of(job, split)[0], None
    if n_views:
        images = np.arange(len(x)) if rows is None else rows
        rows = np.repeat(images, n_views)
        changed = views.changed(x, rows, views.changes(job.augmentation, len(x), n_views, images), view_of(job))
    return inference.frozen_activations(part_of(job, blocks), x, view_of(job), rows, changed)
