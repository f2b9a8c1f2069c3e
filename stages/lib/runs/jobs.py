"""Records of fine-tuning runs that are sent to workers; this module does not import torch."""

import math
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from stages.lib.machine import Precision
from stages.lib.store import verified

if TYPE_CHECKING:
    from stages.lib.runs.grid import Cell

Blocks = int | Literal["all", "norms", "last_norm"]
WHOLE = ("all", "norms")  # with these, images pass the whole network while it is trained: no part of it is frozen


def reach(blocks: Blocks) -> float:
    """How far from the head training reaches, in blocks: what is sorted by it costs more and more."""
    if blocks in WHOLE:
        return math.inf
    return 0.5 if blocks == "last_norm" else blocks


Split = Literal["train", "test"]


@dataclass(frozen=True)
class Job:
    """The settings and data that the cells of one (source, target) have in common; small, as each worker gets a copy."""

    source: str
    target: str
    architecture: str
    classes: int  # of the target
    head_init: str
    training: dict[str, Any]  # keywords of `finetuning.finetune`, but those in which cells differ
    image_size: int
    resolution: int | None
    augmentation: str  # of the training images
    mixed_precision: Precision
    moments: tuple[list[float], list[float]] | None  # mean and std to normalise with; None: the source's
    source_sha256: str | None  # None: no pre-training
    weights: str | None  # path of the source's weights
    target_sha256: tuple[str, str]  # of its training and test images
    source_model: int = 0  # of the source's models, counted from 0
    rates: tuple[float, ...] = ()  # learning rates, of which each cell has one
    views: int | None = None  # of each training image so many augmented ones, drawn once; None: it is augmented anew in each epoch

    def views_of(self, blocks: Blocks) -> int | None:
        """The number of views of a training image; None where no part of the network is frozen, so that nothing is saved by them."""
        return None if blocks in WHOLE else self.views

    def images_sha256(self, split: Split) -> str:
        """The hash of a split of the target, as it is in the key."""
        return self.target_sha256[split == "test"]

    def fixed_within_a_run(self, blocks: Blocks) -> set[Split]:
        """Splits whose frozen activations stay the same from the first epoch of a run to its last."""
        if blocks in WHOLE or self.training["frozen_batchnorm"] == "batch":
            return set()
        return {"train", "test"} if self.augmentation == "none" or self.views else {"test"}

    def fixed_in_all_runs(self, blocks: Blocks) -> set[Split]:
        """Splits whose frozen activations are identical in all runs, so that they are computed once."""
        return self.fixed_within_a_run(blocks) if self.training["frozen_batchnorm"] == "source" else set()


@dataclass(frozen=True, eq=False)
class Stored:
    """Activations on disk, of the images of a split or of some of them."""

    path: Path
    rows: np.ndarray | None  # places of the images in the split, rising; None: all
    sha256: str  # of the file

    def load(self) -> np.ndarray:
        """Memory-mapped, [rows, ..., C]; raises FileNotFoundError when the file was removed or changed meanwhile."""
        if verified.sha256_of(self.path) != self.sha256:
            raise FileNotFoundError(self.path)
        return np.load(self.path, mmap_mode="r")

    def places(self, subset: np.ndarray) -> np.ndarray:
        """The rows of the activations that belong to images, given by their places in the split."""
        return subset if self.rows is None else np.searchsorted(self.rows, subset)


@dataclass(frozen=True, eq=False)
class Request:
    """A cell of a batch, with its images, as it is sent to a worker."""

    cell: "Cell"
    subset: np.ndarray  # places in the target's training images
    held_out: np.ndarray | None = None  # places of those that it is tested on besides; None: of none
    absent: bool = True  # whether the store lacks the cell; what is stacked is computed whole, so that its results stay the same
    weights: bool = False  # whether its weights are kept as well


@dataclass(frozen=True, eq=False)
class Batch:
    """Cells that are trained together, as they are sent to a worker: with one number of blocks, or with one pass of their images."""

    job: Job
    requests: list[Request]
    stored: dict[Split, Stored]  # activations of the frozen part, where they are kept
    fused: bool = False  # whether operations are fused on a GPU
    one_pass: bool = False  # whether the cells share one pass of their images
