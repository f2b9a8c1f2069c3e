"""The grid of fine-tuning runs: what cells there are, which are missing, and computing those over a pool of processes.

A cell is one run: (source, target, blocks, n_images, seed). Its key is the hash of all that decides its result; a cell
whose key is in the store is not computed again, whichever experiment or interrupted run it comes from.
"""

import hashlib
import os
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
Blocks = int | Literal["all"]


@dataclass(frozen=True)
class Cell:
    """One fine-tuning run, and the hash that its result is kept under."""

    source: str
    target: str
    blocks: Blocks
    n_images: int
    seed: int
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
    source_sha256: str | None  # None: no pre-training
    weights: str | None  # path of the source's weights
    target_sha256: tuple[str, str]  # of its training and test images

    def key(self, cell: Cell, subset: np.ndarray) -> str:
        deciding = asdict(self) | asdict(cell) | {"code": code.digest("stages.lib.finetuning"), "torch": version("torch")}
        named_only = {"key": None, "weights": None, "source": None, "target": None}  # names and places decide nothing
        return files.digest_of(deciding | named_only | {"subset": hashlib.sha256(subset.tobytes()).hexdigest()})


def plan(job: Job, blocks: list[Blocks], subsets: dict[str, np.ndarray]) -> list[Cell]:
    """Every cell of (source, target), in the order of its table.

    Args:
        blocks: what to fine-tune besides the head; a source without pre-training has `all` only.
        subsets: indices under `<n_images>_<seed>`, as `draw_subsets` writes them.
    """
    planned = []
    for b in blocks if job.source_sha256 else ["all"]:
        for name, subset in subsets.items():
            n_images, seed = map(int, name.split("_"))
            cell = Cell(job.source, job.target, b, n_images, seed)
            planned.append(replace(cell, key=job.key(cell, subset)))
    return planned


def missing(planned: list[Cell], keep: set[str], say: Callable[[str], None] | None = None) -> list[Cell]:
    """The cells that the store does not hold, the most expensive first, so that no worker is left with a long one.

    Args:
        keep: keys of the cells that must hold their weights as well.
    """
    found = {cell.key: cells.load("finetune", cell.key, say) for cell in planned}
    absent = [c for c in planned if found[c.key] is None or (c.key in keep and "weights_sha256" not in found[c.key])]
    return sorted(absent, key=lambda cell: (_depth(cell.blocks), cell.n_images), reverse=True)


def compute(job: Job, absent: list[Cell], subsets: dict[str, np.ndarray], keep: set[str]) -> Iterator[tuple[Cell, Exception | None]]:
    """Compute cells over a pool of processes and keep each as it ends; yields the cell and what went wrong, if anything.

    Args:
        keep: keys of the cells whose weights are kept.
    """
    sweep_activations()
    folder = cells.folder("activations") / str(os.getpid())
    workers = {"processes": pool.workers(), "initialise": _begin, "arguments": (job, folder), "preload": PRELOAD}
    frozen = sorted({cell.blocks for cell in absent} - {"all"})
    tasks = [(cell, subsets[f"{cell.n_images}_{cell.seed}"], cell.key in keep) for cell in absent]
    try:
        for _, _, error in pool.run_all(_write_activations, [(b, part) for b in frozen for part in ("train", "test")], **workers):
            if error is not None:
                raise error
        for (cell, *_), _, error in pool.run_all(_work, tasks, **workers):
            yield cell, error
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def sweep_activations() -> None:
    """Remove activations whose grid was killed: their folder is named after a process that no longer lives."""
    for left in cells.folder("activations").glob("*"):
        if not psutil.pid_exists(int(left.name)):
            shutil.rmtree(left, ignore_errors=True)


_job: Job
_folder: Path


def _begin(job: Job, folder: Path) -> None:
    """In a worker, before its first cell."""
    import torch  # here, as the parent needs none of it

    global _job, _folder
    _job, _folder = job, folder
    torch.set_num_threads(1)


def _write_activations(task: tuple[int, str]) -> None:
    """In a worker: what the frozen part makes of all training or test images, once for all cells of as many blocks."""
    from stages.lib import finetuning, networks  # here, as torch takes seconds to import

    blocks, part = task
    network = finetuning.start(_job.architecture, files.read_tensors(Path(_job.weights)), _job.classes, _job.head_init, seed=0)
    frozen, _ = networks.split(network, blocks)
    x, _ = datasets.load(_job.target, part)
    files.save_array(_folder / f"{blocks}_{part}.npy", np.concatenate(list(finetuning.frozen_activations(frozen, x))))


def _work(task: tuple[Cell, np.ndarray, bool]) -> None:
    """In a worker: compute one cell and keep it."""
    cell, subset, keep_weights = task
    started = time.monotonic()
    rows, network = run(_job, cell, subset, _folder)
    weights = network.state_dict() if keep_weights else None
    cells.save("finetune", cell.key, {"rows": rows, "seconds": time.monotonic() - started}, weights)


def run(job: Job, cell: Cell, subset: np.ndarray, folder: Path) -> tuple[list[dict], Any]:
    """One cell: its evaluated epochs, and the part of the network that was trained."""
    from stages.lib import finetuning, networks  # here, as torch takes seconds to import

    weights = files.read_tensors(Path(job.weights)) if job.source_sha256 else None
    network = finetuning.start(job.architecture, weights, job.classes, job.head_init, cell.seed)
    (train_x, train_y), (test_x, test_y) = (datasets.load(job.target, part) for part in ("train", "test"))
    if cell.blocks != "all":
        _, network = networks.split(network, cell.blocks)
        train_x, test_x = (np.load(folder / f"{cell.blocks}_{part}.npy", mmap_mode="r") for part in ("train", "test"))
    inputs = finetuning.Inputs(train_x, train_y, test_x, test_y)
    return [asdict(row) for row in finetuning.finetune(network, inputs, subset, seed=cell.seed, **job.training)], network


def _depth(blocks: Blocks) -> float:
    return float("inf") if blocks == "all" else blocks
