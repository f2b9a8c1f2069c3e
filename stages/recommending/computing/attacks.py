"""Fine-tuned models under attack, through the pipeline's own evaluations: those that decide, and those that are shown beside the answer."""

import time
from collections.abc import Iterable
from dataclasses import dataclass
from importlib import import_module

import numpy as np

from stages.lib.networks import sources
from stages.lib.networks.sources import SourceCard
from stages.lib.progress import bar, log
from stages.lib.runs.attacked import AttackedNetwork, Evaluation
from stages.lib.runs.grid import Cell
from stages.lib.store import cells
from stages.lib.workers import executors
from stages.recommending.clock import Clock, TimeUp

ATTACK = {"kind": "apgd_pgd", "steps": 20, "targets": 3, "restarts": 1}
NORM = "linf"
MOST_DECIDING = 512  # images under attack


@dataclass(frozen=True)
class Attacked:
    """Which test images of a set a model still labels correctly, at each radius."""

    radii: list[float]
    standing: np.ndarray  # bool [radii, images]
    tested: np.ndarray  # int64 [images], their places in the test split
    seconds: float  # that it took; 0 where that is not known


def evaluation(card: SourceCard, cell: Cell, dataset: str, radii: Iterable[float], most: int) -> Evaluation:
    """The attack on the model that a cell has kept, on the test images of a set."""
    weights = str(cells.path_of("finetune", cell.key, ".safetensors"))
    network = AttackedNetwork(sources.pretrained_of(card), dataset, str(cell.blocks), cell.n_images, cell.seed, weights)
    return Evaluation(network, NORM, "recommend", [ATTACK], sorted({0.0, *radii}), most, 0)


def run(workers: executors.Workers, title: str, asked: list[Evaluation], clock: Clock, seconds: float) -> bool:
    """Compute the attacks that the store lacks; returns whether all were done in time. One that fails is warned of."""
    absent = [one for one in {one.key: one for one in asked}.values() if cells.load("robustness", one.key, log) is None]
    try:
        with clock.at_most(seconds), bar(title=title, total=len(absent), unit="attack", hidden=not absent) as progress:
            for one, _, error in workers.run_all(_attack, absent):
                progress.update()
                if error is not None:
                    log(f"warning: recommend: {one}: {error}")
    except TimeUp:
        return False
    return True


def found(asked: Evaluation) -> Attacked | None:
    """The result of an attack, where it is done."""
    done = cells.load("robustness", asked.key)
    if done is None:
        return None
    arrays = cells.arrays("robustness", asked.key)
    return Attacked(list(done["radii"]), arrays["standing"].astype(bool), arrays["tested"], float(done.get("seconds", 0.0)))


def accuracy(attacked: Attacked, eps: float, places: np.ndarray) -> float | None:
    """Percent of those of the images at some places that stand at a radius; None where none of these was attacked."""
    among = np.isin(attacked.tested, places)
    return 100 * float(attacked.standing[attacked.radii.index(eps), among].mean()) if among.any() else None


def _attack(asked: Evaluation) -> None:
    """In a worker: compute an attack and keep the result."""
    started = time.monotonic()
    result, arrays = import_module(asked.module).compute(asked)
    cells.save("robustness", asked.key, result | {"seconds": time.monotonic() - started}, arrays)
