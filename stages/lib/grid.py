"""The grid of fine-tuning runs: what cells there are, which are missing, and computing those over a pool of processes.

A cell is one run: (source, target, blocks, n_images, seed). Its key is the hash of all that decides its result; a cell
whose key is in the store is not computed again, whichever experiment or interrupted run it comes from.
"""

import hashlib
import math
import os
import platform
import shutil
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal

import numpy as np
import psutil

from stages.lib import cells, code, datasets, files, pool

PRELOAD = ("stages.lib.finetuning", "torch._dynamo")  # the latter comes with the first optimiser, 1.6 s late
GIB = 1 << 30
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
    key: str = ""


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
    moments: tuple[list[float], list[float]] | None  # mean and std to normalise with; None: the source's
    source_sha256: str | None  # None: no pre-training
    weights: str | None  # path of the source's weights
    target_sha256: tuple[str, str]  # of its training and test images
    cache_gib: float  # of frozen activations that may be kept on disk while the cells are computed

    def key(self, cell: Cell, subset: np.ndarray) -> str:
        deciding = asdict(self) | asdict(cell) | {"code": code.digest("stages.lib.finetuning"), "torch": version("torch")}
        undecided = {"key": None, "weights": None, "source": None, "target": None, "cache_gib": None}  # names, places, limits
        return files.digest_of(deciding | undecided | {"subset": hashlib.sha256(subset.tobytes()).hexdigest()})

    def cacheable(self, part: str) -> bool:
        """Whether an image of that part always has the same frozen activation."""
        return self.training["frozen_batchnorm"] == "source" and not (self.augmented and part == "train")


def plan(job: Job, blocks: list[Blocks], subsets: dict[str, np.ndarray], schedule: Callable[[int], tuple[int, int]]) -> list[Cell]:
    """Every cell of (source, target), in the order of its table.

    Args:
        blocks: what to fine-tune besides the head; a source without pre-training has `all` only.
        subsets: indices under `<n_images>_<seed>`, as `draw_subsets` writes them.
        schedule: epochs, and after how many of them the test accuracy is measured, for a number of images.
    """
    planned = []
    for b in blocks if job.source_sha256 else ["all"]:
        for name, subset in subsets.items():
            n_images, seed = map(int, name.split("_"))
            cell = Cell(job.source, job.target, b, n_images, seed, *schedule(n_images))
            planned.append(replace(cell, key=job.key(cell, subset)))
    return planned


def missing(planned: list[Cell], keep: set[str], say: Callable[[str], None] | None = None) -> list[Cell]:
    """The cells that the store does not hold, the most expensive first, so that no worker is left with a long one.

    Args:
        keep: keys of the cells that must hold their weights as well.
    """
    found = {cell.key: cells.load("finetune", cell.key, say) for cell in planned}
    absent = [c for c in planned if found[c.key] is None or (c.key in keep and "weights_sha256" not in found[c.key])]
    return sorted(absent, key=lambda cell: (_depth(cell.blocks), cell.n_images * cell.epochs), reverse=True)


def compute(job: Job, absent: list[Cell], subsets: dict[str, np.ndarray], keep: set[str]) -> Iterator[tuple[Cell, Exception | None]]:
    """Compute cells over a pool of processes and keep each as it ends; yields the cell and what went wrong, if anything.

    Args:
        keep: keys of the cells whose weights are kept.
    """
    sweep_activations()
    folder = activations_of(os.getpid())
    workers = {"processes": pool.workers(), "initialise": _begin, "arguments": (job, folder), "preload": PRELOAD}
    tasks = [(cell, subsets[f"{cell.n_images}_{cell.seed}"], cell.key in keep) for cell in absent]
    try:
        cache_activations(job, absent, subsets, workers)
        for (cell, *_), _, error in pool.run_all(_work, tasks, **workers):
            yield cell, error
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def cache_activations(job: Job, absent: list[Cell], subsets: dict[str, np.ndarray], workers: dict[str, Any]) -> None:
    """Write what the frozen part makes of the images, where that is always the same, the smallest first, up to the limit."""
    wanted = [
        (blocks, part, rows)
        for blocks in sorted({cell.blocks for cell in absent} - {"all"})
        for part, rows in (("train", rows_of(absent, subsets, blocks)), ("test", None))
        if job.cacheable(part)
    ]
    sizes = {}
    for task, size, error in pool.run_all(_size_of_activations, wanted, **workers):
        if error is not None:
            raise error
        sizes[task[:2]] = size
    room, tasks = job.cache_gib * GIB, []
    for task in sorted(wanted, key=lambda task: sizes[task[:2]]):
        room -= sizes[task[:2]]
        if room >= 0:
            tasks.append(task)
    for _, _, error in pool.run_all(_write_activations, tasks, **workers):
        if error is not None:
            raise error


def rows_of(absent: list[Cell], subsets: dict[str, np.ndarray], blocks: Blocks) -> np.ndarray:
    """The training images that some missing cell of as many blocks is trained on, in their order."""
    return np.unique(np.concatenate([subsets[f"{cell.n_images}_{cell.seed}"] for cell in absent if cell.blocks == blocks]))


def activations_of(pid: int) -> Path:
    """Where a grid keeps activations while it runs; with the name of the machine, as several may share the disk."""
    return cells.folder("activations") / f"{platform.node()}-{pid}"


def sweep_activations() -> None:
    """Remove activations whose grid was killed: their folder is named after a process of this machine that no longer lives."""
    for left in cells.folder("activations").glob("*"):
        machine, _, pid = left.name.rpartition("-")
        if machine == platform.node() and not psutil.pid_exists(int(pid)):
            shutil.rmtree(left, ignore_errors=True)


_job: Job
_folder: Path


def _begin(job: Job, folder: Path) -> None:
    """In a worker, before its first cell."""
    global _job, _folder
    _job, _folder = job, folder
    pool.settle_in()


def _frozen(blocks: int) -> tuple[Any, Any]:
    """In a worker: the frozen part on its device, and how images are seen."""
    from stages.lib import finetuning, networks, training  # here, as torch takes seconds to import

    weights = files.read_tensors(Path(_job.weights))
    network = finetuning.start(_job.architecture, weights, _job.classes, _job.head_init, seed=0, moments=_job.moments)
    return networks.split(network, blocks)[0].to(training.best_device()), finetuning.View(_job.image_size, _job.resolution)


def _size_of_activations(task: tuple[int, str, np.ndarray | None]) -> int:
    """In a worker: bytes of the activations, from those of one image."""
    from stages.lib import finetuning  # here, as torch takes seconds to import

    blocks, part, rows = task
    x, _ = datasets.load(_job.target, part)
    frozen, view = _frozen(blocks)
    return 4 * math.prod(finetuning.activation_shape(frozen, x, view)) * (len(x) if rows is None else len(rows))


def _write_activations(task: tuple[int, str, np.ndarray | None]) -> None:
    """In a worker: what the frozen part makes of the training or test images, once for all cells of as many blocks."""
    from stages.lib import finetuning  # here, as torch takes seconds to import

    blocks, part, rows = task
    x, _ = datasets.load(_job.target, part)
    frozen, view = _frozen(blocks)
    if rows is not None:
        files.save_array(_folder / f"{blocks}_rows.npy", rows)
    shape = (len(x if rows is None else rows), *finetuning.activation_shape(frozen, x, view))
    activations = finetuning.frozen_activations(frozen, x, view, rows)
    files.write_array(_folder / f"{blocks}_{part}.npy", shape, np.float32, activations)


def _work(task: tuple[Cell, np.ndarray, bool]) -> None:
    """In a worker: compute one cell and keep it."""
    cell, subset, keep_weights = task
    started = time.monotonic()
    rows, weights = run(_job, cell, subset, _folder)
    cells.save("finetune", cell.key, {"rows": rows, "seconds": time.monotonic() - started}, weights if keep_weights else None)


def run(job: Job, cell: Cell, subset: np.ndarray, folder: Path) -> tuple[list[dict], dict[str, Any]]:
    """One cell: its evaluated epochs, and what of the network is no longer the source's: trained weights, and all statistics."""
    from stages.lib import finetuning, networks, training  # here, as torch takes seconds to import

    weights = files.read_tensors(Path(job.weights)) if job.source_sha256 else None
    network = finetuning.start(job.architecture, weights, job.classes, job.head_init, cell.seed, job.moments)
    network.to(training.best_device())
    frozen, trained = (None, network) if cell.blocks == "all" else networks.split(network, cell.blocks)
    inputs, chosen = inputs_of(job, cell, subset, folder)
    view = finetuning.View(job.image_size, job.resolution, job.augmented)
    schedule = {"epochs": cell.epochs, "eval_every": cell.eval_every, "seed": cell.seed}
    rows = finetuning.finetune(trained, inputs, chosen, view=view, frozen=frozen, **schedule, **job.training)
    done = [asdict(row) for row in rows]
    return done, dict(network.named_buffers()) | trained.state_dict()


def inputs_of(job: Job, cell: Cell, subset: np.ndarray, folder: Path) -> tuple[Any, np.ndarray]:
    """What the cell trains and tests on, activations where they are cached and images elsewhere; and its rows of the former."""
    from stages.lib import finetuning  # here, as torch takes seconds to import

    (train_x, train_y), (test_x, test_y) = (datasets.load(job.target, part) for part in ("train", "test"))
    train, test, rows = (folder / f"{cell.blocks}_{name}.npy" for name in ("train", "test", "rows"))
    if train.is_file():
        kept = np.load(rows)
        train_x, train_y, subset = np.load(train, mmap_mode="r"), train_y[kept], np.searchsorted(kept, subset)
    if test.is_file():
        test_x = np.load(test, mmap_mode="r")
    return finetuning.Inputs(train_x, train_y, test_x, test_y), subset


def _depth(blocks: Blocks) -> float:
    return float("inf") if blocks == "all" else blocks
