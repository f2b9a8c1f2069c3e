"""Computing the cells of a plan that the store does not hold: shared activations are computed first, then runs, several at once.

When a process is killed, each cell is either whole or absent, and computing it again gives the same result.
"""

import time
from collections.abc import Iterator, Sequence

import numpy as np

from stages.lib.datasets import sets
from stages.lib.errors import RunError
from stages.lib.networks import pretrained
from stages.lib.runs import activations, grid, missing
from stages.lib.runs.activations import Entry
from stages.lib.runs.grid import Cell, Plan
from stages.lib.runs.jobs import WHOLE, Batch, Blocks, Job, Request, Split, reach
from stages.lib.settings.sections import GridSettings
from stages.lib.store import cells
from stages.lib.workers import executors

PRELOAD = ("stages.lib.runs.work.finetune",)
GIB = 1 << 30
ENOUGH = 8  # batches for each process, from which on no further plan is computed beside


def compute(work: list[tuple[Plan, list[Cell]]], settings: GridSettings) -> Iterator[tuple[Cell, Exception | None]]:
    """Compute cells, several at once, and keep each as it ends; yields the cell, and its error or None.

    Args:
        work: plans in their order, each with those of its cells that are to be computed.
    """
    with executors.workers(settings, PRELOAD) as workers:
        for plans in rounds(work, workers.processes):
            yield from compute_plans(plans, workers, settings)


def rounds(work: list[tuple[Plan, list[Cell]]], processes: int) -> Iterator[list[tuple[Plan, list[Cell]]]]:
    """Plans that are computed together: so many, in their order, that no process waits where each has few batches."""
    together, n_batches = [], 0
    for plan, absent in work:
        together.append((plan, absent))
        n_batches += len(begun_of(plan, {cell.key for cell in absent}))
        if n_batches >= ENOUGH * processes:
            yield together
            together, n_batches = [], 0
    if together:
        yield together


def compute_plans(
    work: list[tuple[Plan, list[Cell]]], workers: executors.Workers, settings: GridSettings
) -> Iterator[tuple[Cell, Exception | None]]:
    """Compute the absent cells of some plans, as `compute` does, by workers that others use before and after.

    Raises:
        RunError: where no cell can be kept.
    """
    missing.can_keep("finetune")
    batches, held = [], []
    for plan, absent in work:
        wanted, keep = {cell.key for cell in absent}, {cell.key for cell in plan.with_weights}
        try:
            open_inputs(plan.job)
        except RunError as error:
            yield from ((cell, error) for cell in absent)
            continue
        begun = begun_of(plan, wanted, -(-workers.processes // len(work)))  # what the other plans leave for this one
        blocks = {cell.blocks for batch in begun for cell in batch}
        entries = keep_activations(plan, blocks, workers, int(settings.cache_gib * GIB), held)
        held += entries
        for company in begun:
            requests = [Request(cell, *plan.rows_of(cell), cell.key in wanted, cell.key in keep) for cell in company]
            stored = {entry.split: entry.stored for entry in entries if entry.blocks == company[0].blocks}
            batches.append(Batch(plan.job, requests, stored, settings.compile, grid.shares_pass(plan.job, company[0].blocks)))
    for batch, _, error in workers.run_all(_work, sorted(batches, key=cost, reverse=True)):
        for request in batch.requests:
            if request.absent:
                yield request.cell, error


def begun_of(plan: Plan, wanted: set[str], processes: int = 1) -> list[list[Cell]]:
    """The batches that hold cells whose keys are wanted.

    Of cells that share a pass, only those that are wanted; and these are spread, so that there are as many batches as processes.
    """

    def divisible(batch: list[Cell]) -> bool:
        return len(batch) > 1 and grid.shares_pass(plan.job, batch[0].blocks)  # each cell has the result that it has by itself

    begun = []
    for batch in grid.batches(plan.job, plan.cells):
        if lacking := [cell for cell in batch if cell.key in wanted]:
            begun.append(lacking if divisible(batch) else batch)
    while len(begun) < processes and (large := [batch for batch in begun if divisible(batch)]):
        most = max(large, key=len)
        begun.remove(most)
        begun += [most[::2], most[1::2]]
    return begun


def open_inputs(job: Job) -> None:
    """Compare weights and images with their hashes, once, before workers read them; raises RunError where one differs."""
    if job.source_sha256:
        pretrained.check(job.weights, job.source_sha256, job.source)
    for split in ("train", "test"):
        sets.load(job.target, split, job.images_sha256(split))


def cost(batch: Batch) -> tuple[float, int]:
    """Rough cost of a batch, to begin with the most expensive one, so that no worker is left with it."""
    first = batch.requests[0].cell
    return (max(reach(request.cell.blocks) for request in batch.requests), first.n_images * first.epochs * len(batch.requests))


def keep_activations(plan: Plan, blocks: set[Blocks], workers: executors.Workers, limit: int, held: Sequence[Entry] = ()) -> list[Entry]:
    """Keep frozen activations that are identical in all runs, the smallest first, up to the limit in bytes; returns the kept entries.

    Args:
        held: entries of other plans that stay, too.
    """
    activations.sweep()
    job = plan.job
    n = {split: len(sets.load(job.target, split, job.images_sha256(split))[1]) for split in ("train", "test")}
    wanted = [entry for b in sorted(blocks - {*WHOLE}, key=reach) for entry in entries_of(job, b, plan.cells, plan.drawn, n)]
    kept = [entry for entry in wanted if activations.is_kept(entry)]
    shapes, sizes = {}, {}
    for (_, entry), one, error in workers.run_all(_activation_of_one, [(job, entry) for entry in wanted if entry not in kept]):
        if error is not None:
            raise error
        rows = entry.n_rows(n[entry.split])
        shapes[entry], sizes[entry] = (rows, *one.shape), rows * one.nbytes
    fitting, needed = [], 0
    for entry in sorted(sizes, key=sizes.get):
        needed += sizes[entry]
        if not activations.make_room(needed, limit, [*kept, *held]):
            break
        fitting.append((job, entry, shapes[entry]))
    for (_, entry, _), _, error in workers.run_all(_write, fitting):
        if error is None:
            kept.append(entry)
        elif not isinstance(error, RunError):  # a RunError, such as a full disk, stops no runs
            raise error
    return kept


def entries_of(job: Job, blocks: Blocks, planned: list[Cell], drawn: dict[str, np.ndarray], n: dict[Split, int]) -> Iterator[Entry]:
    """Entries of activations for the cells of `blocks` blocks; n: images of each split.

    Which images an entry holds follows from all planned cells, not from those that are absent, so that it is the same after a kill.
    """
    for split in sorted(job.fixed_in_all_runs(blocks)):
        seen = (
            np.concatenate([drawn[cell.subset] for cell in planned if cell.blocks == blocks]) if split == "train" else np.arange(n[split])
        )
        yield activations.entry_of(job, blocks, split, n[split], seen)


def _activation_of_one(task: tuple[Job, Entry]) -> np.ndarray:
    """In a worker: the activation of one image."""
    from stages.lib.runs.work import frozen  # here, as torch takes seconds to import

    job, entry = task
    return frozen.activation_of_one(job, entry.blocks, entry.split)


def _write(task: tuple[Job, Entry, tuple[int, ...]]) -> None:
    """In a worker: compute the activations of an entry, once for all cells of as many blocks."""
    from stages.lib.runs.work import frozen  # here, as torch takes seconds to import

    job, entry, shape = task
    activations.keep(entry, shape, frozen.activations(job, entry.blocks, entry.split, entry.rows, entry.views))


def _work(batch: Batch) -> None:
    """In a worker: compute a batch and keep its cells; one whose loss was not finite is a result like any other."""
    from stages.lib.runs.work import finetune  # here, as torch takes seconds to import

    absent = [request for request in batch.requests if request.absent]
    if not grid.missing([request.cell for request in absent], {request.cell.key for request in absent if request.weights}):
        return  # an earlier process kept all of them, but died before it could report them
    started = time.monotonic()
    results = finetune.run(batch)
    seconds = (time.monotonic() - started) / len(batch.requests)
    for request, (rows, weights) in zip(batch.requests, results, strict=True):
        if request.absent:
            cells.save("finetune", request.cell.key, {"rows": rows, "seconds": seconds}, weights if request.weights else None)
