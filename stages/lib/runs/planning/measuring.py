"""What runs of a kind take on this machine: the loop that computes them is measured, in as many processes at once as will compute."""

import time
from collections.abc import Callable
from statistics import fmean
from typing import Any

import numpy as np

from stages.lib.datasets.whole import RATIO, Whole, shorter_side
from stages.lib.runs.costs import Kind, Rates, Sizes
from stages.lib.runs.jobs import Blocks
from stages.lib.workers import executors

SECONDS = 0.5  # a measurement takes at least so long
FEW, MANY = 8, 32  # images in a batch or a test that are measured where more would take too long


def sizes_of(kind: Kind) -> Sizes:
    """The bytes of a network of the kind, which is built for that."""
    from stages.lib.networks import inference  # here, as torch takes seconds to import

    [(frozen, trained)] = _parts(kind, kind.at_once[:1])
    activation, view = 0, inference.View(kind.image_size, kind.resolution, kind.augmentation, kind.mixed_precision, kind.fused)
    if frozen is not None:
        image = np.zeros((1, kind.stored_size, kind.stored_size, 3), dtype=np.uint8)
        activation = sum(part.nbytes for part in inference.frozen_activations(frozen, image, view))
    frozen_bytes, trained_bytes = (
        sum(w.nbytes for w in part.state_dict().values()) if part is not None else 0 for part in (frozen, trained)
    )
    return Sizes(activation, frozen_bytes + trained_bytes, trained_bytes)


def measure(kinds: list[Kind], workers: executors.Workers, tick: Callable[[], None]) -> dict[Kind, Rates]:
    """The rates of each kind, the mean over all processes, which measure at the same time, as they will compute."""
    of_kinds = {}
    for kind in kinds:
        of_kinds[kind] = Rates(*means(workers, _measure, kind, workers.processes))
        tick()
    return of_kinds


def means(workers: executors.Workers, measure: Callable[[Any], tuple[float, ...]], kind: object, processes: int) -> list[float]:
    """What so many processes measure of a kind, all at the same time: of each figure the mean."""
    seen = list(workers.run_all(measure, [kind] * processes))
    for _, _, error in seen:
        if error is not None:
            raise error
    return [fmean(values) for values in zip(*(figures for _, figures, _ in seen), strict=True)]


def _measure(kind: Kind) -> Rates:
    """In a worker: measure the loop itself, on random images."""
    from stages.lib.networks import inference
    from stages.lib.networks.devices import best_device  # here, as torch takes seconds to import

    most = kind.batch_size if best_device().type == "cuda" else min(kind.batch_size, MANY)
    few, view = min(FEW, most), inference.View(kind.image_size, kind.resolution, kind.augmentation, kind.mixed_precision, kind.fused)
    stored = _images(kind, 2 * MANY)
    [(frozen, _)] = _parts(kind, kind.at_once[:1])
    activation, per_frozen = stored[:0], 0.0
    if frozen is not None:
        activation = np.concatenate(list(inference.frozen_activations(frozen, stored[:FEW], view)))
        per_frozen = _slope(lambda n: list(inference.frozen_activations(frozen, stored[np.arange(n) % len(stored)], view)), few)
    seen = {split: activation if split in kind.fixed_within_a_run else stored for split in ("train", "test")}

    def train(n: int, epochs: int, tested: int) -> None:
        _train(kind, _first(seen["train"], n), _first(seen["test"], tested), epochs, most)

    for n in (few, most) if kind.fused else ():  # compiled for two sizes, it is compiled for all
        train(n, 0, n)
    step_few, base = line(lambda epochs: train(few, epochs, few))
    many = most if step_few < SECONDS else min(most, 2 * few)  # where a step takes so long, one size is enough
    step_many, _ = line(lambda epochs: train(many, epochs, few)) if many > few else (step_few, base)
    per_tested = _slope(lambda n: train(few, 0, n), few) / (2 * kind.together)
    per_image = max(0.0, (step_many - step_few) / max(1, many - few)) / kind.together
    per_step = max(0.0, step_few - per_image * kind.together * few)
    start = max(0.0, base - 2 * step_few - 2 * kind.together * few * per_tested)
    return Rates(start, per_step, per_image, per_tested, per_frozen)


def _images(kind: Kind, n: int) -> np.ndarray | Whole:
    """Random images as they are stored; whole ones are as large as a test needs, and as wide as usual, 4 to 3."""
    rng, side = np.random.default_rng(0), shorter_side(kind.image_size, RATIO)
    if not kind.whole:
        return rng.integers(0, 256, (n, kind.stored_size, kind.stored_size, 3), dtype=np.uint8)
    width = side * 4 // 3
    places = np.stack([np.arange(n) * side * width * 3, np.full(n, side), np.full(n, width)], 1)
    return Whole(rng.integers(0, 256, n * side * width * 3, dtype=np.uint8), places, kind.image_size, RATIO, 3)


def _first(x: np.ndarray | Whole, n: int) -> np.ndarray | Whole:
    """The first n of x, again from the start where it has fewer."""
    rows = np.arange(n) % len(x)
    return x.only(rows) if isinstance(x, Whole) else x[rows]


def _parts(kind: Kind, blocks: tuple[Blocks, ...]) -> list[tuple[Any, Any]]:
    """The frozen and the trained part of the network of each run; blocks: of each, which are all or the first of those of the kind."""
    from stages.lib.networks.devices import best_device
    from stages.lib.networks.layers import cuts, nested
    from stages.lib.training import finetuning  # here, as torch takes seconds to import

    device = best_device(kind.mixed_precision)
    networks = [finetuning.start(kind.architecture, None, 10, "normal", seed).to(device) for seed in range(len(blocks))]
    return nested.cut(networks, blocks) if kind.one_pass else [cuts.cut(network, blocks[0]) for network in networks]


def _train(kind: Kind, train_x: np.ndarray, test_x: np.ndarray, epochs: int, batch_size: int) -> None:
    """Train a batch of runs for `epochs` + 2 epochs, and test it after the first and the last of them."""
    import torch  # here, as it takes seconds to import

    from stages.lib.networks import inference
    from stages.lib.training import finetuning

    inputs = finetuning.Inputs(train_x, np.arange(len(train_x)) % 10, test_x, np.arange(len(test_x)) % 10)
    runs = [
        finetuning.FineTuning(trained, np.arange(len(train_x)), seed, frozen)
        for seed, (frozen, trained) in enumerate(_parts(kind, kind.at_once))
    ]
    view = inference.View(kind.image_size, kind.resolution, kind.augmentation, kind.mixed_precision, kind.fused)
    policy = "source" if kind.fixed_within_a_run else kind.frozen_batchnorm  # the adaptation, done once, is counted with the frozen parts
    schedule = {"epochs": 2 + epochs, "eval_every": 2 + epochs, "batch_size": batch_size, "lr": 0.0, "momentum": 0.9, "weight_decay": 0.0}
    list(finetuning.finetune_together(runs, inputs, **schedule, view=view, frozen_batchnorm=policy, one_pass=kind.one_pass))
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def _slope(run: Callable[[int], object], first: int) -> float:
    """Seconds that one more item costs, in a run of `first` items or more."""
    return line(lambda more: run(first + more))[0]


def step(train: Callable[[int, int], object], batch_size: int, few: int = 1) -> float:
    """Seconds of a step, of which `train` takes so many beyond the first, each of so many images; from a few where these take long."""
    of_few = line(lambda more: train(more, few))[0]
    return of_few * batch_size / few if of_few >= SECONDS or few == batch_size else line(lambda more: train(more, batch_size))[0]


def line(run: Callable[[int], object]) -> tuple[float, float]:
    """Seconds that one more item costs, and that a run of no items costs: from a run of none and one that takes long enough."""
    base, more = _seconds(run, 0), 1
    if base < SECONDS:  # the first one warms up
        base = _seconds(run, 0)
    while (taken := _seconds(run, more)) - base < SECONDS and more < 1 << 16:
        times_as_many = 1.5 * SECONDS / max(taken - base, 1e-9)  # would be enough, but for noise
        more = int(more * min(16, max(2, times_as_many)))
    return max(0.0, (taken - base) / more), base


def _seconds(run: Callable[[int], object], more: int) -> float:
    started = time.perf_counter()
    run(more)
    return time.perf_counter() - started
