"""The grid of fine-tuning runs: what cells there are, and which of them the store does not hold (`computing` computes those).

A cell is one run: (source, target, blocks, n_images, seed). Its key is the hash of all that decides its result; a cell
whose key is in the store is not computed again, whichever experiment or interrupted run it comes from. Cells that differ by
seed alone are computed together where that is faster: they are a batch.
"""

import hashlib
from collections import Counter
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from functools import partial
from itertools import groupby
from operator import itemgetter
from typing import Any, Literal

import numpy as np

from stages.lib.choice import module_of
from stages.lib.datasets import sets, subsets
from stages.lib.networks import sources
from stages.lib.networks.families.table import FAMILIES
from stages.lib.runs import activations
from stages.lib.runs.activations import Entry
from stages.lib.settings import params
from stages.lib.settings.sections import FinetuneSettings, KeptWeights
from stages.lib.store import cells, code, files

TOGETHER = 5  # runs, where they are trained together: more gain little
Blocks = int | Literal["all"]


@dataclass(frozen=True)
class Cell:
    """One fine-tuning run, and the hash that its result is kept under."""

    source: str
    target: str
    blocks: Blocks
    n_images: int
    seed: int
    epochs: int
    eval_every: int
    together: int = 1  # how many runs are trained at once with this one: rounding depends on it
    key: str = ""

    @property
    def subset(self) -> str:
        """The name of the images that it trains on."""
        return subsets.name_of(self.n_images, self.seed)


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

    def key(self, cell: Cell, subset: np.ndarray) -> str:
        deciding = asdict(self) | asdict(cell) | {"code": code.digest("stages.lib.training.finetuning"), "torch": code.torch_version()}
        undecided = {"key": None, "weights": None, "source": None, "target": None}  # names and places
        return files.digest_of(deciding | undecided | {"subset": hashlib.sha256(subset.tobytes()).hexdigest()})

    def settled(self, blocks: Blocks) -> set[str]:
        """The parts (train, test) of which an image has the same frozen activation throughout a run."""
        if blocks == "all" or self.training["frozen_batchnorm"] == "batch":
            return set()
        return {"test"} if self.augmented else {"train", "test"}

    def cached(self, blocks: Blocks) -> set[str]:
        """The parts of which it has the same in all runs, so that it is computed once."""
        return self.settled(blocks) if self.training["frozen_batchnorm"] == "source" else set()

    def together(self, blocks: Blocks) -> int:
        """How many runs are trained at once, where that many differ by seed alone: as the family of the architecture says."""
        most = module_of(FAMILIES, self.architecture, "architecture").STACKED_BLOCKS
        few = most is not None and blocks != "all" and blocks <= most
        return TOGETHER if few and "train" in self.cached(blocks) else 1

    def entry(self, blocks: int, part: str, n: int, needed: np.ndarray) -> Entry:
        """The kept activations of some images, by their places among the n of that part."""
        deciding = {
            "source": self.source_sha256, "architecture": self.architecture, "moments": self.moments,
            "images": self.target_sha256[part == "test"], "image_size": self.image_size, "resolution": self.resolution,
            "mixed_precision": self.mixed_precision,
            "code": code.digest("stages.lib.training.finetuning"), "torch": code.torch_version(),
        }  # fmt: skip
        return activations.entry(deciding, blocks, part, n, needed)


def job_of(card: sources.SourceCard, images: sets.DatasetCard, settings: FinetuneSettings) -> Job:
    pretrained, normalisation = card.kind != "random", settings.normalisation
    if isinstance(normalisation, dict):
        normalisation = normalisation.get(card.name, "source")
    return Job(
        source=card.name, target=images.name, architecture=card.architecture, classes=images.classes, head_init=settings.head_init,
        training=settings.model_dump(include={"batch_size", "lr", "momentum", "weight_decay", "frozen_batchnorm"}),
        image_size=images.image_size, resolution=settings.resolution,
        augmented=settings.augmentation == "published" and images.channels == 3,  # theirs leaves grey targets as they are
        mixed_precision=settings.mixed_precision,
        moments=(images.mean, images.std) if normalisation == "target" else None,
        source_sha256=card.sha256 if pretrained else None,
        weights=str(sources.paths(card.name)[0]) if pretrained else None,
        target_sha256=(images.splits["train"].sha256, images.splits["test"].sha256),
    )  # fmt: skip


def schedule(settings: FinetuneSettings, n_train: int, n_images: int) -> tuple[int, int]:
    """Epochs, and after how many of them the test accuracy is measured (Utrera et al. 2021, Table 4)."""
    value = partial(params.value_for, n_images, n_images == n_train)
    return value("finetune.epochs", settings.epochs), value("finetune.eval_every", settings.eval_every)


def plan(job: Job, blocks: list[Blocks], drawn: dict[str, np.ndarray], schedule: Callable[[int], tuple[int, int]]) -> list[Cell]:
    """Every cell of (source, target), in the order of its table; those of a batch follow one another.

    Args:
        blocks: what to fine-tune besides the head; a source without pre-training has `all` only.
        drawn: the subsets, by name.
        schedule: epochs, and after how many of them the test accuracy is measured, for a number of images.
    """
    planned = []
    for b in blocks if job.source_sha256 else ["all"]:
        for n_images, group in groupby(map(subsets.size_and_seed_of, drawn), key=itemgetter(0)):
            seeds = [seed for _, seed in group]
            size = job.together(b)
            for i, seed in enumerate(seeds):
                together = size if i < len(seeds) // size * size else 1
                cell = Cell(job.source, job.target, b, n_images, seed, *schedule(n_images), together)
                planned.append(replace(cell, key=job.key(cell, drawn[cell.subset])))
    return planned


def batches(planned: list[Cell]) -> list[list[Cell]]:
    """The cells that are computed at once, in the order of the plan."""
    found, i = [], 0
    while i < len(planned):
        found.append(planned[i : i + planned[i].together])
        i += planned[i].together
    return found


def kept(keep: KeptWeights, planned: list[Cell]) -> list[Cell]:
    """The cells whose weights are kept: of each number of blocks and images, the first `n_seeds`."""
    seen, found = Counter(), []
    for cell in planned:
        if cell.blocks in keep.blocks and cell.n_images in keep.n_images and seen[cell.blocks, cell.n_images] < keep.n_seeds:
            found.append(cell)
            seen[cell.blocks, cell.n_images] += 1
    return found


def missing(planned: list[Cell], keep: set[str], log: Callable[[str], None] | None = None) -> list[Cell]:
    """The cells that the store does not hold.

    Args:
        keep: keys of the cells that must hold their weights as well.
    """
    found = {cell.key: cells.load("finetune", cell.key, log) for cell in planned}
    return [c for c in planned if found[c.key] is None or (c.key in keep and "weights_sha256" not in found[c.key])]
