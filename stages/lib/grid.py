"""The grid of fine-tuning runs: what cells there are, which are missing, and computing those over a pool of processes.

A cell is one run: (source, target, blocks, n_images, seed). Its key is the hash of all that decides its result; a cell
whose key is in the store is not computed again, whichever experiment or interrupted run it comes from. Cells that differ by
seed alone are computed together where that is faster: they are a batch.
"""

import hashlib
import math
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from importlib.metadata import version
from itertools import groupby
from pathlib import Path
from typing import Any, Literal

import numpy as np

from stages.lib import activations, cells, code, datasets, files, pool
from stages.lib.activations import Entry
from stages.lib.errors import RunError

PRELOAD = ("stages.lib.finetuning",)
GIB = 1 << 30
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

    def together(self, blocks: Blocks) -> int:
        """How many runs are trained at once, where that many differ by seed alone: heads, and what is small in the small network.

        For nine blocks of it one network at a time is as fast. In networks with dropout, the head comes with it.
        """
        few = blocks == 0 and not self.architecture.startswith(("vgg", "mobilenet", "mnasnet"))
        few |= self.architecture == "small_resnet" and blocks != "all" and blocks <= 3
        return TOGETHER if few and self.cacheable("train") else 1

    def entry(self, blocks: int, part: str, n: int, needed: np.ndarray) -> Entry:
        """The kept activations of some images, by their places among the n of that part."""
        deciding = {
            "source": self.source_sha256, "architecture": self.architecture, "moments": self.moments,
            "images": self.target_sha256[part == "test"], "image_size": self.image_size, "resolution": self.resolution,
            "code": code.digest("stages.lib.finetuning"), "torch": version("torch"),
        }  # fmt: skip
        return activations.entry(deciding, blocks, part, n, needed)


def plan(job: Job, blocks: list[Blocks], subsets: dict[str, np.ndarray], schedule: Callable[[int], tuple[int, int]]) -> list[Cell]:
    """Every cell of (source, target), in the order of its table; those of a batch follow one another.

    Args:
        blocks: what to fine-tune besides the head; a source without pre-training has `all` only.
        subsets: indices under `<n_images>_<seed>`, as `draw_subsets` writes them.
        schedule: epochs, and after how many of them the test accuracy is measured, for a number of images.
    """
    planned = []
    names = [tuple(map(int, name.split("_"))) for name in subsets]
    for b in blocks if job.source_sha256 else ["all"]:
        for n_images, group in groupby(names, key=lambda name: name[0]):
            seeds = [seed for _, seed in group]
            size = job.together(b)
            for i, seed in enumerate(seeds):
                together = size if i < len(seeds) // size * size else 1
                cell = Cell(job.source, job.target, b, n_images, seed, *schedule(n_images), together)
                planned.append(replace(cell, key=job.key(cell, subsets[f"{n_images}_{seed}"])))
    return planned


def batches(planned: list[Cell]) -> list[list[Cell]]:
    """The cells that are computed at once, in the order of the plan."""
    found, i = [], 0
    while i < len(planned):
        found.append(planned[i : i + planned[i].together])
        i += planned[i].together
    return found


def missing(planned: list[Cell], keep: set[str], say: Callable[[str], None] | None = None) -> list[Cell]:
    """The cells that the store does not hold.

    Args:
        keep: keys of the cells that must hold their weights as well.
    """
    found = {cell.key: cells.load("finetune", cell.key, say) for cell in planned}
    return [c for c in planned if found[c.key] is None or (c.key in keep and "weights_sha256" not in found[c.key])]


@dataclass(frozen=True, eq=False)
class Task:
    """A batch of cells as a worker is sent it."""

    job: Job
    cells: list[Cell]
    subsets: list[np.ndarray]  # of each cell, places in the target's training images
    absent: list[bool]  # which of them are kept when they are done; a batch is computed as a whole, so that it is always the same
    keep: list[bool]  # with their weights
    entries: dict[str, Entry]  # kept activations, by part

    @property
    def cost(self) -> tuple[float, int]:
        """Rough, to begin with the most expensive one, so that no worker is left with it."""
        first = self.cells[0]
        return (math.inf if first.blocks == "all" else first.blocks, first.n_images * first.epochs * len(self.cells))


def compute(
    job: Job, planned: list[Cell], absent: list[Cell], subsets: dict[str, np.ndarray], keep: set[str]
) -> Iterator[tuple[Cell, Exception | None]]:
    """Compute cells over a pool of processes and keep each as it ends; yields the cell and what went wrong, if anything.

    Args:
        planned: all cells, of which some are absent.
        keep: keys of the cells whose weights are kept.
    """
    wanted = {cell.key for cell in absent}
    begun = [batch for batch in batches(planned) if any(cell.key in wanted for cell in batch)]
    with pool.Pool(pool.settle_in, preload=PRELOAD) as workers:
        entries = keep_activations(job, planned, {batch[0].blocks for batch in begun}, subsets, workers)
        tasks = [
            Task(
                job,
                batch,
                [subsets[f"{cell.n_images}_{cell.seed}"] for cell in batch],
                [cell.key in wanted for cell in batch],
                [cell.key in keep for cell in batch],
                {part: found for (blocks, part), found in entries.items() if blocks == batch[0].blocks},
            )
            for batch in begun
        ]
        for task, failed, error in workers.run_all(_work, sorted(tasks, key=lambda task: task.cost, reverse=True)):
            for cell, is_absent in zip(task.cells, task.absent, strict=True):
                if is_absent:
                    yield cell, error or failed.get(cell.key)


def keep_activations(
    job: Job, planned: list[Cell], blocks: set[Blocks], subsets: dict[str, np.ndarray], workers: pool.Pool
) -> dict[tuple[int, str], Entry]:
    """Have what the frozen part makes of the images in the store, where that is always the same, the smallest first, up to the limit.

    Which images an entry holds follows from all planned cells, not from those that are absent, so that it is the same after a kill.
    """
    activations.sweep()
    wanted = {}
    for b in sorted(blocks - {"all"}):
        needed = np.concatenate([subsets[f"{cell.n_images}_{cell.seed}"] for cell in planned if cell.blocks == b])
        for part in ("train", "test"):
            n = len(datasets.load(job.target, part)[1])
            if job.cacheable(part):
                wanted[b, part] = job.entry(b, part, n, needed if part == "train" else np.arange(n))
    kept = {place: entry for place, entry in wanted.items() if activations.is_kept(entry)}
    absent = [entry for place, entry in wanted.items() if place not in kept]
    sizes = {}
    for (_, entry), size, error in workers.run_all(_size_of, [(job, entry) for entry in absent]):
        if error is not None:
            raise error
        sizes[entry.key] = size
    fitting = []
    for entry in sorted(absent, key=lambda entry: sizes[entry.key]):
        needed_bytes = sum(sizes[other.key] for other in (*fitting, entry))
        if activations.make_room(needed_bytes, int(job.cache_gib * GIB), kept.values()):
            fitting.append(entry)
    for (_, entry), _, error in workers.run_all(_write, [(job, entry) for entry in fitting]):
        if error is None:
            kept[entry.blocks, entry.part] = entry
        elif not isinstance(error, RunError):  # such as a full disk, with which all else still works
            raise error
    return kept


def _frozen(job: Job, entry: Entry) -> tuple[Any, np.ndarray, Any]:
    """In a worker: the frozen part on its device, the images that it is to see, and how."""
    from stages.lib import finetuning, networks, training  # here, as torch takes seconds to import

    weights = files.read_tensors(Path(job.weights))
    network = finetuning.start(job.architecture, weights, job.classes, job.head_init, seed=0, moments=job.moments)
    frozen = networks.split(network, entry.blocks)[0].to(training.best_device())
    return frozen, datasets.load(job.target, entry.part)[0], finetuning.View(job.image_size, job.resolution)


def _size_of(task: tuple[Job, Entry]) -> int:
    """In a worker: bytes of an entry, from those of one image."""
    from stages.lib import finetuning  # here, as torch takes seconds to import

    frozen, x, view = _frozen(*task)
    return 4 * math.prod(finetuning.activation_shape(frozen, x, view)) * task[1].n_rows(len(x))


def _write(task: tuple[Job, Entry]) -> None:
    """In a worker: what the frozen part makes of the images, once for all cells of as many blocks."""
    from stages.lib import finetuning  # here, as torch takes seconds to import

    entry = task[1]
    frozen, x, view = _frozen(*task)
    shape = (entry.n_rows(len(x)), *finetuning.activation_shape(frozen, x, view))
    activations.keep(entry, shape, finetuning.frozen_activations(frozen, x, view, entry.rows))


def _work(task: Task) -> dict[str, Exception]:
    """In a worker: compute a batch and keep its cells; returns what went wrong, by the key of the cell."""
    started = time.monotonic()
    results = run(task)
    seconds = (time.monotonic() - started) / len(task.cells)
    failed = {}
    for cell, (rows, weights), is_absent, keep_weights in zip(task.cells, results, task.absent, task.keep, strict=True):
        if isinstance(rows, Exception):
            failed[cell.key] = rows
        elif is_absent:
            cells.save("finetune", cell.key, {"rows": rows, "seconds": seconds}, weights if keep_weights else None)
    return failed


def run(task: Task) -> list[tuple[list[dict] | Exception, dict[str, Any]]]:
    """A batch of cells: the evaluated epochs of each, or what went wrong, and what of its network is no longer the source's, which
    are the trained weights and all statistics."""
    from stages.lib import finetuning, networks, training  # here, as torch takes seconds to import

    job = task.job
    weights = files.read_tensors(Path(job.weights)) if job.source_sha256 else None
    inputs, chosen = inputs_of(task)
    whole, runs = [], []
    for cell, rows in zip(task.cells, chosen, strict=True):
        network = finetuning.start(job.architecture, weights, job.classes, job.head_init, cell.seed, job.moments)
        network.to(training.best_device())
        frozen, trained = (None, network) if cell.blocks == "all" else networks.split(network, cell.blocks)
        whole.append(network)
        runs.append(finetuning.Run(trained, rows, cell.seed, frozen))
    schedule = {"epochs": task.cells[0].epochs, "eval_every": task.cells[0].eval_every}
    view = finetuning.View(job.image_size, job.resolution, job.augmented)
    evaluated = zip(*finetuning.finetune_together(runs, inputs, view=view, **schedule, **job.training), strict=True)
    found = [rows[-1] if isinstance(rows[-1], Exception) else [asdict(row) for row in rows] for rows in evaluated]
    return [(rows, dict(network.named_buffers()) | run.network.state_dict()) for rows, network, run in zip(found, whole, runs, strict=True)]


def inputs_of(task: Task) -> tuple[Any, list[np.ndarray]]:
    """What a batch trains and tests on, activations where they are kept and images elsewhere; and the rows of the former of each cell."""
    from stages.lib import finetuning  # here, as torch takes seconds to import

    (train_x, train_y), (test_x, test_y) = (datasets.load(task.job.target, part) for part in ("train", "test"))
    chosen = task.subsets
    with suppress(KeyError, FileNotFoundError):  # not kept, or removed since
        test_x = task.entries["test"].load()
    with suppress(KeyError, FileNotFoundError):
        entry = task.entries["train"]
        train_x, chosen = entry.load(), [entry.places(subset) for subset in chosen]
        train_y = train_y if entry.rows is None else train_y[entry.rows]
    return finetuning.Inputs(train_x, train_y, test_x, test_y), chosen
