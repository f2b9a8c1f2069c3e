"""What a frozen source gives a target: heads with and without hidden layers, their accuracy, robustness and input gradients.

Reads models/sources/<source>.*, data/images/<target>/, params.yaml: train_heads, robust_transfer. Writes
models/robustness/heads/<source>/<target>/: runs.parquet, a row for each kind of head, number of hidden layers, seed and measure, and
gradients.npz, for each number of hidden layers the gradient of the loss by some test images.
"""

from functools import partial

from stages.lib import command
from stages.lib.networks.sources import Card, card_of
from stages.lib.runs import experiments
from stages.lib.runs.experiments import Run
from stages.lib.settings import params
from stages.lib.settings.robustness import RobustTransferSettings, TrainHeadsSettings
from stages.lib.store import cells, files
from stages.lib.store.tables import HEADS
from stages.studies.shafahi2020 import features


def main(source: str, target: str) -> None:
    settings, measured, out = params.section("train_heads"), params.section("robust_transfer"), HEADS / source / target
    with experiments.execution("train_heads", settings, measured, out, source, target) as journal:
        runs = runs_of(settings, measured, card_of(source), target)
        stored = settings.training.augmentation == "none"
        store = partial(features.store, source, target, params.section("grid"))
        experiments.compute(runs, out, journal, store if stored else None)
        arrays = {run.setting: cells.arrays("train_heads", run.key) for run in runs if run.how["gradients"]}
        files.write_npz(out / "gradients.npz", {f"{name}_{h:g}": part for h, found in arrays.items() for name, part in found.items()})


def runs_of(settings: TrainHeadsSettings, measured: RobustTransferSettings, source: Card, target: str) -> list[Run]:
    run = partial(
        Run,
        stage="train_heads",
        module="stages.studies.shafahi2020.train_heads",
        source=source.name,
        target=target,
        measured=measured.model_dump(),
    )
    runs = []
    for place, (name, kind) in enumerate(settings.kinds.items()):
        for hidden in [h for h in settings.hidden if h or not place]:  # without hidden layers all kinds are one
            for seed in range(settings.n_seeds):
                gradients = 0 if place or seed else settings.gradients
                how = kind.model_dump() | {"training": settings.training.model_dump(), "gradients": gradients}
                runs.append(run(method=name, setting=hidden, seed=seed, how=how))
    return runs


if __name__ == "__main__":
    command.run(main, __doc__, "source", "target")
