"""Computing the cells of a grid that the store does not hold: what can be shared is computed first, then runs, several at once.

Whatever is killed meanwhile, a cell is either kept whole or absent, and computing again gives the same.
"""

import math
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from stages.lib import activations, cells, datasets, executors, files, grid
from stages.lib.activations import Entry
from stages.lib.errors import RunError
from stages.lib.grid import Blocks, Cell, Job
from stages.lib.settings import GridSettings

PRELOAD = ("stages.lib.finetuning",)
GIB = 1 << 30


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
    job: Job, planned: list[Cell], absent: list[Cell], subsets: dict[str, np.ndarray], keep: set[str], settings: GridSettings
) -> Iterator[tuple[Cell, Exception | None]]:
    """Compute cells, several at once, and keep each as it ends; yields the cell and what went wrong, if anything.

    Args:
        planned: all cells, of which some are absent.
        keep: keys of the cells whose weights are kept.
    """
    wanted = {cell.key for cell in absent}
    begun = [batch for batch in grid.batches(planned) if any(cell.key in wanted for cell in batch)]
    with executors.workers(settings, PRELOAD) as workers:
        blocks = {batch[0].blocks for batch in begun}
        entries = keep_activations(job, planned, blocks, subsets, workers, int(settings.cache_gib * GIB))
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
    job: Job, planned: list[Cell], blocks: set[Blocks], subsets: dict[str, np.ndarray], workers: executors.Workers, limit: int
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
        if activations.make_room(needed_bytes, limit, kept.values()):
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
    kept_weights = {cell.key for cell, keep_weights in zip(task.cells, task.keep, strict=True) if keep_weights}
    if not grid.missing([cell for cell, is_absent in zip(task.cells, task.absent, strict=True) if is_absent], kept_weights):
        return {}  # an earlier process kept all of them, and was lost before it could say so
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
