"""The images that runs are trained and tested on: those of a subset, in an order and with changes that are drawn anew in each epoch."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from stages.lib.datasets import cropping
from stages.lib.datasets.whole import Whole
from stages.lib.networks import inference
from stages.lib.networks.inference import CutNetwork, View
from stages.lib.networks.layers.nested import Nested
from stages.lib.training.sgd import batches
from stages.lib.training.tested import Tested
from stages.lib.training.views import Kept, OfRun

LEAST = 2  # images of a batch, as batch norm needs two values


@dataclass(frozen=True)
class FineTuning:
    """One of the fine-tunings that are trained together: the values in which they differ."""

    network: nn.Module  # the part that is trained; its batch norm uses batch statistics while it trains
    chosen: np.ndarray  # int64 [n_images], the subset, as rows of `Inputs.train_x`, without those that are held out
    seed: int  # of the order of the images, their augmentation, and dropout
    frozen: nn.Module | None = None  # what images go through before `network`, without gradients; nothing for None
    held_out: np.ndarray | None = None  # int64, rows of `Inputs.train_x` that the network is tested on beside the test images


@dataclass(frozen=True)
class Inputs:
    """Training and test data of runs: images (uint8 NHWC), or activations as `inference.frozen_activations` gives them."""

    train_x: np.ndarray  # [n_train, ...]
    train_y: np.ndarray  # [n_train]
    test_x: np.ndarray  # [n_test, ...]
    test_y: np.ndarray  # [n_test]
    views: Kept | None = None  # activations of the views of training images; train_x are then images


class Feed:
    """The images or activations that runs see which have subset and seed in common; of several runs, one pass gives the features of all."""

    def __init__(self, runs: Sequence[FineTuning], inputs: Inputs, view: View, frozen_batchnorm: str, batch_size: int, n_feeds: int):
        """
        Args:
            runs: of several, the frozen parts have their units in common (`nested`), and `frozen_batchnorm` is `batch`.
            n_feeds: among which memory for images is shared.
        """
        self.models = Nested([CutNetwork(run.frozen, run.network.to(memory_format=torch.channels_last), view) for run in runs])
        self.models.eval()
        first, self.view, self.device = runs[0], view, self.models.device
        self.seed, self.order, self.drawn = first.seed, torch.Generator().manual_seed(first.seed), None
        self.frozen_learns = frozen_batchnorm == "batch"  # the statistics of its batch norm
        model, frozen = self.models.models[0], self.models.longest
        if frozen_batchnorm == "adapted":
            rows = [first.chosen[batch.numpy()] for batch in batches(torch.arange(len(first.chosen)), batch_size, LEAST)]
            inference.adapt(frozen, inputs.train_x, rows, view)
        train_x, rows = inputs.train_x, first.chosen
        self.tested = {"test": Tested(inputs.test_x, inputs.test_y)}
        if first.held_out is not None:
            self.tested["validation"] = Tested(train_x, inputs.train_y[first.held_out], first.held_out)
        if first.frozen is not None and not self.frozen_learns:  # then the frozen part stays as it is from here on
            self.tested = {split: tested.settled(model) for split, tested in self.tested.items()}
            train_x, rows = (train_x, rows) if view.augmented else inference.settled(model, train_x, rows)
        self.views = OfRun(model, inputs.train_x, first.chosen, first.seed, inputs.views) if view.views else None
        if self.views:
            train_x, rows = self.views.x, self.views.rows
            if frozen_batchnorm != "source":
                raise ValueError(f"views are of the source's statistics alone; frozen_batchnorm is {frozen_batchnorm!r}")
        self.parts_of_whole = isinstance(train_x, Whole) and view.augmentation == "resized_crop"  # the CPU cuts them anew in each epoch
        self.x = Rows(train_x, rows, self.device, 0 if self.parts_of_whole else inference.HELD_BYTES[self.device.type] // n_feeds)
        self.y = torch.from_numpy(inputs.train_y[first.chosen]).to(self.device)

    def begin(self, epoch: int) -> Tensor:
        """The order of the images in this epoch, int64 [n]."""
        if self.frozen_learns:  # else it is in eval mode from the start, and to say so again takes long where the head is all that learns
            self.models.longest.train()
        drawn = self.views.begin(epoch) if self.views else cropping.draw(self.view.augmentation, len(self.y), self.seed, epoch)
        self.drawn = drawn if drawn is None or self.parts_of_whole else drawn.to(self.device)
        return torch.randperm(len(self.y), generator=self.order)

    def features(self, batch: Tensor, rows: Tensor) -> list[Tensor]:
        """The input of each network for a batch of images, whose places are given twice: on the CPU and on the networks' device."""
        drawn, fused = self.drawn and self.drawn[batch if self.parts_of_whole else rows], self.view.fused
        if self.views:
            batch, rows = self.views.of(batch, rows)

        def prepare(x: np.ndarray | Tensor, device: torch.device, size: int | None, resolution: int | None) -> Tensor:
            return cropping.prepare(x, device, size, drawn, resolution, fused)

        return self.models.features(self.x.at(batch, rows), prepare)

    def scores(self) -> list[dict[str, float]]:
        """Of each run the scores on the test images, and on those that are held out, by their names in `EvaluatedEpoch`."""
        of_splits = {split: tested.scores(self.models) for split, tested in self.tested.items()}
        return [
            {f"{split}_{name}": score for split, of_runs in of_splits.items() for name, score in of_runs[i].items()}
            for i in range(len(self.models.models))
        ]


class Rows:
    """Some rows of an array, held on the device where they find room, else read from the array as they are asked for."""

    def __init__(self, x: np.ndarray, rows: np.ndarray, device: torch.device, held_bytes: int):
        self.x, self.rows = x, rows
        if x.nbytes // len(x) * len(rows) <= held_bytes:
            self.x, self.rows = torch.from_numpy(x[rows]).to(device), None

    def at(self, batch: Tensor, on_device: Tensor) -> np.ndarray | Tensor | Whole:
        """The rows of a batch, int64 [batch], counted in `rows`; given on the CPU and on the device, so that none has to be copied."""
        return self.x[on_device] if self.rows is None else cropping.stored(self.x, torch.from_numpy(self.rows)[batch])
