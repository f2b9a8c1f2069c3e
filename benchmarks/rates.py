"""At which learning rate each source is fine-tuned best, on images that no run of the report is tested or trained on.

Run it with `python -m benchmarks.rates`, after `make repro`; it took 3 min 24 s on two cores. Each rate is
tried on subsets of other seeds than the report's, and tested on training images outside the subset; the test images take no part. The
rate in profiles/base.yaml is the one at which the source that loses most by it loses least (the last line).
"""

from collections.abc import Iterator
from functools import cache
from itertools import product
from pathlib import Path

import numpy as np
import pandas as pd

from stages.lib.datasets import sets
from stages.lib.networks import inference, sources, units
from stages.lib.progress import bar
from stages.lib.runs import grid
from stages.lib.runs.work import frozen as frozen_parts
from stages.lib.settings.fields import by_source
from stages.lib.store import files
from stages.lib.training import finetuning
from stages.lib.workers.pool import Pool, settle_in
from stages.studies import registry

RATES = (0.005, 0.01, 0.02, 0.05, 0.1, 0.2)
SEEDS = range(5)  # the report's begin at draw_subsets.first_seed
HELD_OUT = 500  # training images outside the subset, on which a rate is tried


def run(task: tuple[str, str, int, float, int]) -> float:
    """Accuracy on held-out training images, in percent, after one fine-tuning at a rate."""
    source, target, n_images, rate, seed = task
    settings = registry.load_params()
    job = grid.job_of(sources.card_of(source), sets.card_of(target), settings.finetune)
    x, y = sets.load(target, "train")
    order = np.random.RandomState(seed).permutation(len(y))
    subset, held_out = order[:n_images], order[-HELD_OUT:]
    weights = files.read_tensors(Path(job.weights)) if job.weights else None
    network = finetuning.start(job.architecture, weights, job.classes, by_source(settings.finetune.head_init, source), seed, job.moments)
    blocks = settings.report.headline.blocks
    frozen, trained = units.split(network, blocks) if job.weights and blocks != "all" else (None, network)
    view = inference.View(job.image_size, job.resolution, job.augmentation)
    if frozen is not None:
        x, view = activations(source, target), inference.AS_STORED
    inputs = finetuning.Inputs(x, y, x[held_out], y[held_out])
    epochs, every = grid.schedule(settings.finetune, len(y), n_images)
    rows = list(finetuning.finetune(
        trained, inputs, subset, seed=seed, epochs=epochs, eval_every=every, view=view, lr=rate, **job.training,
    ))  # fmt: skip
    return rows[-1].test_accuracy


@cache
def activations(source: str, target: str) -> np.ndarray:
    """What the frozen part of the source makes of the target's training images."""
    settings = registry.load_params()
    job = grid.job_of(sources.card_of(source), sets.card_of(target), settings.finetune)
    return np.concatenate(list(frozen_parts.activations(job, settings.report.headline.blocks, "train", None)))


def tried() -> Iterator[dict[str, str | int | float]]:
    """A row for each fine-tuning."""
    settings = registry.load_params()
    sizes = [n for n in settings.draw_subsets.n_images if n != "all"]
    tasks = list(product(settings.sources, settings.targets, sizes, RATES, SEEDS))
    with Pool(settle_in) as pool:
        done = bar(pool.run_all(run, tasks), title="rates", total=len(tasks), unit="run")
        for (source, target, n_images, rate, _), accuracy, error in done:
            if error is not None and not isinstance(error, FloatingPointError):
                raise error
            yield {"source": source, "target": target, "n_images": n_images, "lr": rate, "accuracy": accuracy if error is None else 0.0}


def main() -> None:
    table = pd.DataFrame(tried())
    means = table.pivot_table("accuracy", ["source", "target", "n_images"], "lr", sort=False).round(1)
    print(means.to_string())
    overall = table.pivot_table("accuracy", "source", "lr", sort=False).round(2)
    print(overall.to_string())
    lost = overall.rsub(overall.max(axis=1), axis=0).max()
    print(f"most that a source loses to its best rate: {', '.join(f'{points:.2f} points at {rate:g}' for rate, points in lost.items())}")


if __name__ == "__main__":
    main()
