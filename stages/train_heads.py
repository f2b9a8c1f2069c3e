"""What a frozen source gives a target: heads with and without hidden layers, their accuracy, robustness and input gradients.

Reads models/sources/<source>.*, data/images/<target>/, params.yaml: train_heads, robust_transfer. Writes
models/robustness/heads/<source>/<target>/: runs.parquet, a row for each kind of head, number of hidden layers, seed and measure, and
gradients.npz, for each number of hidden layers the gradient of the loss by some test images.
"""

from functools import partial

import numpy as np

from stages.lib import cells, command, features, files, params, robust_transfer, sources
from stages.lib.datasets import IMAGES
from stages.lib.journal import execution
from stages.lib.robust_transfer import Run
from stages.lib.tables import HEADS


def main(source: str, target: str) -> None:
    settings, measured = params.section("train_heads"), params.section("robust_transfer")
    shown, out = settings.model_dump() | {"robust_transfer": measured.model_dump()}, HEADS / source / target
    with execution(
        "train_heads", source, target, settings=shown, inputs=[*sources.paths(source), IMAGES / target], outputs=[out]
    ) as journal:
        same = {"stage": "train_heads", "source": source, "target": target, "measured": measured.model_dump(), "module": "stages.lib.heads"}
        runs = []
        for place, (name, kind) in enumerate(settings.kinds.items()):
            for hidden in [h for h in settings.hidden if h or not place]:  # without hidden layers all kinds are one
                for seed in range(settings.n_seeds):
                    shown_gradients = 0 if place or seed else settings.gradients
                    how = kind.model_dump() | {"training": settings.training.model_dump(), "gradients": shown_gradients}
                    runs.append(Run(method=name, setting=hidden, seed=seed, how=how, **same))
        stored = settings.training.augmentation == "none"
        store = partial(features.store, source, target, params.section("grid"))
        robust_transfer.compute(runs, compute, out, journal, store if stored else None)
        arrays = {run.setting: cells.arrays("train_heads", run.key) for run in runs if run.how["gradients"]}
        with files.replacing(out / "gradients.npz") as temporary, open(temporary, "wb") as file:
            np.savez(file, **{f"{name}_{hidden:g}": part for hidden, found in arrays.items() for name, part in found.items()})


def compute(run: Run) -> None:
    """In a worker."""
    from stages.lib import heads  # here, as torch takes seconds to import

    heads.compute(run)


if __name__ == "__main__":
    command.run(main, __doc__, "source", "target")
