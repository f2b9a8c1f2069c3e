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

from stages.lib.datasets import sets
from stages.lib.errors import RunError
from stages.lib.runs import activations, grid
from stages.lib.runs.activations import Entry
from stages.lib.runs.grid import Blocks, Cell, Job
from stages.lib.settings.sections import GridSettings
from stages.lib.store import cells, files
from stages.lib.workers import executors

PRELOAD = ("stages.lib.training.finetuning",)
GIB = 1 << 30


@dataclass(frozen=True, eq=False)
class Request:
    """A cell of a batch as a worker is asked for it."""

    cell: Cell
    subset: np.ndarray  # places in the target's training images
    absent: bool = True  # to be kept when it is done; a batch is computed as a whole, so that it is always the same
    weights: bool = False  # are kept as well


@dataclass(frozen=True, eq=False)
class Task:
    """A batch of cells as a worker is sent it."""

    job: Job
    requests: list[Request]
    entries: dict[str, Entry]  # kept activations, by part

    @property
    def cost(self) -> tuple[float, int]:
        """Rough, to begin with the most expensive one, so that no worker is left with it."""
        first = self.requests[0].cell
        return (math.inf if first.blocks == "all" else first.blocks, first.n_images * first.epochs * len(self.requests))


def compute(
    job: Job, planned: list[Cell], absent: list[Cell], drawn: dict[str, np.ndarray], keep: set[str], settings: GridSettings
) -> Iterator[tuple[Cell, Exception | None]]:
    """Compute cells, several at once, and keep each as it ends; yields the cell and what went wrong, if anything.

    Args:
        planned: all cells, of which some are absent.
        drawn: the subsets, by name.
        keep: keys of the cells whose weights are kept.
    """
    wanted = {cell.key for cell in absent}
    begun = [batch for batch in grid.batches(planned) if any(cell.key in wanted for cell in batch)]
    with executors.workers(settings, PRELOAD) as workers:
        blocks = {batch[0].blocks for batch in begun}
        entries = keep_activations(job, planned, blocks, drawn, workers, int(settings.cache_gib * GIB))
        tasks = [
            Task(
                job,
                [Request(cell, drawn[cell.subset], cell.key in wanted, cell.key in keep) for cell in batch],
                {entry.part: entry for entry in entries if entry.blocks == batch[0].blocks},
            )
            for batch in begun
        ]
        for task, failed, error in workers.run_all(_work, sorted(tasks, key=lambda task: task.cost, reverse=True)):
            for request in task.requests:
                if request.absent:
                    yield request.cell, error or failed.get(request.cell.key)


def keep_activations(
    job: Job, planned: list[Cell], blocks: set[Blocks], drawn: dict[str, np.ndarray], workers: executors.Workers, limit: int
) -> list[Entry]:
    """Have what the frozen part makes of the images in the store, where that is always the same, the smallest first, up to the limit."""
    activations.sweep()
    n = {part: len(sets.load(job.target, part)[1]) for part in ("train", "test")}
    wanted = [entry for b in sorted(blocks - {"all"}) for entry in entries_of(job, b, planned, drawn, n)]
    kept = [entry for entry in wanted if activations.is_kept(entry)]
    shapes = {}
    for (_, entry), shape, error in workers.run_all(_shape_of, [(job, entry) for entry in wanted if entry not in kept]):
        if error is not None:
            raise error
        shapes[entry] = shape
    fitting, needed = [], 0
    for entry in sorted(shapes, key=lambda entry: math.prod(shapes[entry])):
        needed += 4 * math.prod(shapes[entry])
        if not activations.make_room(needed, limit, kept):
            break
        fitting.append((job, entry, shapes[entry]))
    for (_, entry, _), _, error in workers.run_all(_write, fitting):
        if error is None:
            kept.append(entry)
        elif not isinstance(error, RunError):  # such as a full disk, with which all else still works
            raise error
    return kept


def entries_of(job: Job, blocks: int, planned: list[Cell], drawn: dict[str, np.ndarray], n: dict[str, int]) -> Iterator[Entry]:
    """Activations for the cells of so many blocks; n: images of each part.

    Which images an entry holds follows from all planned cells, not from those that are absent, so that it is the same after a kill.
    """
    for part in sorted(job.cached(blocks)):
        seen = np.concatenate([drawn[cell.subset] for cell in planned if cell.blocks == blocks]) if part == "train" else np.arange(n[part])
        yield job.entry(blocks, part, n[part], seen)


def _frozen(job: Job, entry: Entry) -> tuple[Any, np.ndarray, Any]:
    """In a worker: the frozen part on its device, the images that it is to see, and how."""
    from stages.lib.networks import inference, units
    from stages.lib.networks.devices import best_device  # here, as torch takes seconds to import
    from stages.lib.training import finetuning

    weights = files.read_tensors(Path(job.weights))
    network = finetuning.start(job.architecture, weights, job.classes, job.head_init, seed=0, moments=job.moments)
    frozen = units.split(network, entry.blocks)[0].to(best_device())
    return (
        frozen,
        sets.load(job.target, entry.part)[0],
        inference.View(job.image_size, job.resolution, mixed_precision=job.mixed_precision),
    )


def _shape_of(task: tuple[Job, Entry]) -> tuple[int, ...]:
    """In a worker: of an entry, from that of one image."""
    from stages.lib.networks import inference  # here, as torch takes seconds to import

    frozen, x, view = _frozen(*task)
    return (task[1].n_rows(len(x)), *inference.activation_shape(frozen, x, view))


def _write(task: tuple[Job, Entry, tuple[int, ...]]) -> None:
    """In a worker: what the frozen part makes of the images, once for all cells of as many blocks."""
    from stages.lib.networks import inference  # here, as torch takes seconds to import

    job, entry, shape = task
    frozen, x, view = _frozen(job, entry)
    activations.keep(entry, shape, inference.frozen_activations(frozen, x, view, entry.rows))


def _work(task: Task) -> dict[str, Exception]:
    """In a worker: compute a batch and keep its cells; returns what went wrong, by the key of the cell."""
    absent = [request for request in task.requests if request.absent]
    if not grid.missing([request.cell for request in absent], {request.cell.key for request in absent if request.weights}):
        return {}  # an earlier process kept all of them, and was lost before it could say so
    started = time.monotonic()
    results = run(task)
    seconds = (time.monotonic() - started) / len(task.requests)
    failed = {}
    for request, (rows, weights) in zip(task.requests, results, strict=True):
        if isinstance(rows, Exception):
            failed[request.cell.key] = rows
        elif request.absent:
            cells.save("finetune", request.cell.key, {"rows": rows, "seconds": seconds}, weights if request.weights else None)
    return failed


def run(task: Task) -> list[tuple[list[dict] | Exception, dict[str, Any]]]:
    """A batch of cells: the evaluated epochs of each, or what went wrong, and what of its network is no longer the source's, which
    are the trained weights and all statistics."""
    from stages.lib.networks import inference, units
    from stages.lib.networks.devices import best_device  # here, as torch takes seconds to import
    from stages.lib.training import finetuning

    job, first = task.job, task.requests[0].cell
    weights = files.read_tensors(Path(job.weights)) if job.source_sha256 else None
    inputs, chosen = inputs_of(task)
    whole, runs = [], []
    for request, rows in zip(task.requests, chosen, strict=True):
        seed = request.cell.seed
        network = finetuning.start(job.architecture, weights, job.classes, job.head_init, seed, job.moments).to(best_device())
        frozen, trained = (None, network) if first.blocks == "all" else units.split(network, first.blocks)
        whole.append(network)
        runs.append(finetuning.Run(trained, rows, seed, frozen))
    schedule = {"epochs": first.epochs, "eval_every": first.eval_every}
    view = inference.View(job.image_size, job.resolution, job.augmented, job.mixed_precision)
    evaluated = zip(*finetuning.finetune_together(runs, inputs, view=view, **schedule, **job.training), strict=True)
    found = [rows[-1] if isinstance(rows[-1], Exception) else [asdict(row) for row in rows] for rows in evaluated]
    return [(rows, dict(network.named_buffers()) | run.network.state_dict()) for rows, network, run in zip(found, whole, runs, strict=True)]


def inputs_of(task: Task) -> tuple[Any, list[np.ndarray]]:
    """What a batch trains and tests on, activations where they are kept and images elsewhere; and the rows of the former of each cell."""
    from stages.lib.training import finetuning  # here, as torch takes seconds to import

    (train_x, train_y), (test_x, test_y) = (sets.load(task.job.target, part) for part in ("train", "test"))
    chosen = [request.subset for request in task.requests]
    with suppress(KeyError, FileNotFoundError):  # not kept, or removed since
        test_x = task.entries["test"].load()
    with suppress(KeyError, FileNotFoundError):
        entry = task.entries["train"]
        train_x, chosen = entry.load(), [entry.places(subset) for subset in chosen]
        train_y = train_y if entry.rows is None else train_y[entry.rows]
    return finetuning.Inputs(train_x, train_y, test_x, test_y), chosen
