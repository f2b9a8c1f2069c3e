"""Fine-tuning that keeps the features of a robust source, against the weight of the penalty; and how far augmentation moves features.

Reads models/sources/<source>.*, data/images/<target>/, params.yaml: learn_without_forgetting, robust_transfer. Writes
models/robustness/remembering/<source>/<target>/: runs.parquet, a row for each lambda_d, seed and measure, and distances.npz, between the
features of an image and of its augmentation. `frozen` trains the head alone; `source`, on its own data, is the source as it is.
"""

from functools import partial

import numpy as np

from stages.lib import cells, command, features, files, params, robust_transfer, sources
from stages.lib.datasets import IMAGES
from stages.lib.journal import execution
from stages.lib.robust_transfer import Run
from stages.lib.tables import REMEMBERING

STAGE = "learn_without_forgetting"


def main(source: str, target: str) -> None:
    settings, measured, card = params.section("learn_without_forgetting"), params.section("robust_transfer"), sources.card_of(source)
    shown, out = settings.model_dump() | {"robust_transfer": measured.model_dump()}, REMEMBERING / source / target
    with execution(STAGE, source, target, settings=shown, inputs=[*sources.paths(source), IMAGES / target], outputs=[out]) as journal:
        how = {"training": settings.training.model_dump(), "warm_start": settings.warm_start}
        same = {"stage": STAGE, "source": source, "target": target, "measured": measured.model_dump(), "module": "stages.lib.forgetting"}
        seeds = range(settings.n_seeds)
        runs = [Run(method="lwf", setting=value, seed=seed, how=how, **same) for value in settings.lambda_d for seed in seeds]
        runs += [Run(method="frozen", setting=0, seed=seed, how=how, **same) for seed in seeds]
        if card.dataset == target and card.part is None:
            runs.append(Run(method="source", setting=0, seed=0, how={}, **same))
        histogram = Run(method="distance", setting=0, seed=0, how={"images": settings.histogram_images}, **same)
        store = partial(features.store, source, target, params.section("grid"))
        robust_transfer.compute([*runs, *([histogram] if settings.histogram_images else [])], compute, out, journal, store)
        distances = cells.arrays(STAGE, histogram.key) if settings.histogram_images else {}
        with files.replacing(out / "distances.npz") as temporary, open(temporary, "wb") as file:
            np.savez(file, **distances)


def compute(run: Run) -> None:
    """In a worker."""
    from stages.lib import forgetting  # here, as torch takes seconds to import

    forgetting.compute(run)


if __name__ == "__main__":
    command.run(main, __doc__, "source", "target")
