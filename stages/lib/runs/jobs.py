"""What a worker is sent of fine-tuning runs: plain records that import neither torch nor the store."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

if TYPE_CHECKING:
    from stages.lib.runs.grid import Cell

Blocks = int | Literal["all"]
Split = Literal["train", "test"]


@dataclass(frozen=True)
class Job:
    """What the cells of one (source, target) have in common; small, as every worker is sent it."""

    source: str
    target: str
    architecture: str
    classes: int  # of the target
    head_init: str
    training: dict[str, Any]  # keywords of `finetuning.finetune`
    image_size: int
    resolution: int | None
    augmented: bool
    mixed_precision: bool
    moments: tuple[list[float], list[float]] | None  # mean and std to normalise with; None: the source's
    source_sha256: str | None  # None: no pre-training
    weights: str | None  # path of the source's weights
    target_sha256: tuple[str, str]  # of its training and test images

    def fixed_within_a_run(self, blocks: Blocks) -> set[Split]:
        """Splits whose frozen activations stay the same from the first epoch of a run to its last."""
        if blocks == "all" or self.training["frozen_batchnorm"] == "batch":
            return set()
        return {"test"} if self.augmented else {"train", "test"}

    def fixed_in_all_runs(self, blocks: Blocks) -> set[Split]:
        """Splits whose frozen activations are identical in all runs, so that they are computed once."""
        return self.fixed_within_a_run(blocks) if self.training["frozen_batchnorm"] == "source" else set()


@dataclass(frozen=True, eq=False)
class Stored:
    """Activations on disk, of the images of a split or of some of them."""

    path: Path
    rows: np.ndarray | None  # places of the images in the split, rising; None: all

    def load(self) -> np.ndarray:
        """Memory-mapped, float32 [rows, ..., C]; raises FileNotFoundError when the file was removed meanwhile."""
        return np.load(self.path, mmap_mode="r")

    def places(self, subset: np.ndarray) -> np.ndarray:
        """Where images stand among the activations, by their places in the split."""
        return subset if self.rows is None else np.searchsorted(self.rows, subset)


@dataclass(frozen=True, eq=False)
class Request:
    """A cell of a batch as a worker is asked for it."""

    cell: "Cell"
    subset: np.ndarray  # places in the target's training images
    absent: bool = True  # to be kept when it is done; a batch is computed as a whole, so that it is always the same
    weights: bool = False  # are kept as well


@dataclass(frozen=True, eq=False)
class Batch:
    """Cells that are trained together, as a worker is sent them."""

    job: Job
    requests: list[Request]
    stored: dict[Split, Stored]  # activations of the frozen part, where they are kept
