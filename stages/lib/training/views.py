"""Kept views: each training image is changed at random a few times, once and for all, and an epoch takes one of these views of each image.

The frozen part then sees an image once in each view, where it otherwise sees it anew in each epoch, and all runs on a target share the
activations. The views of an image follow from its place in the split, the kind of the changes and the number of views, and from no seed
of a run. This is not the published protocol; `python -m benchmarks.views` measures what it changes and what it saves.

Rows of views stand image by image: of v views, those of image i are the rows i * v to i * v + v - 1.
"""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from stages.lib.datasets import cropping
from stages.lib.datasets.cropping import Changes
from stages.lib.networks import inference
from stages.lib.networks.inference import Changed, CutNetwork, View

SEED = 1 << 40  # of what is drawn for views: beyond those of all runs
ORDERS = 3 << 61  # added to the seed of a run, so that its orders of views have a stream of their own


@dataclass(frozen=True)
class Kept:
    """Activations of the frozen part for the views of some training images."""

    x: np.ndarray  # [images * views, ..., C], as `inference.frozen_activations` gives them
    images: np.ndarray | None  # places of the images in the split, rising; None: all

    def rows(self, chosen: np.ndarray, views: int) -> np.ndarray:
        """The rows of all views of images, which are given by their places in the split: int64 [images * views]."""
        return rows_of(chosen if self.images is None else np.searchsorted(self.images, chosen), views)


def rows_of(images: np.ndarray, views: int) -> np.ndarray:
    """The rows of all views of some images, int64 [images * views]."""
    return (images[:, None] * views + np.arange(views)).ravel()


def changes(kind: str, n: int, views: int, images: np.ndarray) -> Changes:
    """What makes the views of some images of a split, a row for each view.

    Args:
        kind: of the changes, which `cropping.draw` knows.
        n: images of the split.
        images: places of those that are asked for.
    """
    return cropping.draw(kind, n * views, SEED, epoch=0)[torch.from_numpy(rows_of(images, views))]


def changed(x: np.ndarray, rows: np.ndarray, drawn: Changes, view: View) -> Changed:
    """What gives images of the rows of x, prepared, each with the change that is drawn for it."""
    return lambda places, device: cropping.prepare(
        cropping.stored(x, torch.from_numpy(rows[places])), device, view.size, drawn[places], view.resolution
    )


def taken(n: int, views: int, seed: int, epoch: int) -> Tensor:
    """The row of the view that a run takes of each of its n images in an epoch, int64 [n].

    In as many epochs as there are views, each image comes once in each of its views, in an order that is drawn for it.
    """
    generator = torch.Generator().manual_seed((seed << 16) + epoch // views + ORDERS)
    orders = torch.rand(n, views, generator=generator).argsort(1)
    return torch.arange(n) * views + orders[:, epoch % views]


class OfRun:
    """The views of the images of one run: activations of all views, or the images, which each epoch changes to the views that it takes."""

    def __init__(self, model: CutNetwork, x: np.ndarray, chosen: np.ndarray, seed: int, kept: Kept | None):
        """Compute the activations where none are kept and memory has room for them.

        Args:
            x: all training images of the target, uint8.
            chosen: places in x of the images of the run.
        """
        view = model.view
        self.x, self.rows, self.changes = x, chosen, None
        self.n, self.views, self.seed, self.device, self.taken = len(chosen), view.views, seed, model.device, None
        if kept is not None:
            self.x, self.rows = kept.x, kept.rows(chosen, view.views)
            return
        self.changes = changes(view.augmentation, len(x), view.views, chosen)
        if isinstance(model.frozen, nn.Identity):  # nothing is frozen
            return
        rows = np.repeat(chosen, view.views)
        held, rows = inference.settled(model, x, rows, changed(x, rows, self.changes, view))
        if held is not x:
            self.x, self.rows, self.changes = held, rows, None

    def begin(self, epoch: int) -> Changes | None:
        """How the images are changed in this epoch, one after the other; None where activations of the changed images are read."""
        rows = taken(self.n, self.views, self.seed, epoch)
        if self.changes is not None:
            return self.changes[rows]
        self.taken = rows, rows.to(self.device)
        return None

    def of(self, batch: Tensor, on_device: Tensor) -> tuple[Tensor, Tensor]:
        """What is read of `x` for a batch of the run's images in this epoch; both on the CPU and on the device, as the batch is given."""
        return (batch, on_device) if self.taken is None else (self.taken[0][batch], self.taken[1][on_device])
