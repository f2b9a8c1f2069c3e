"""Fine-tuning that keeps the features of a robust source, against the weight of the penalty; and how far augmentation moves features.

Reads models/sources/<source>.*, data/images/<target>/, params.yaml: learn_without_forgetting, robust_transfer. Writes
models/robustness/remembering/<source>/<target>/: runs.parquet, a row for each lambda_d, seed and measure, and distances.npz, between the
features of an image and of its augmentation. `frozen` trains the head alone; `source`, on its own data, is the source as it is.
"""

from functools import partial

from stages.lib import command
from stages.lib.networks.sources import Card, card_of
from stages.lib.runs import experiments
from stages.lib.runs.experiments import Run
from stages.lib.settings import params
from stages.lib.settings.robustness import LearnWithoutForgettingSettings, RobustTransferSettings
from stages.lib.store import cells, files
from stages.lib.store.tables import REMEMBERING
from stages.studies.shafahi2020 import features

STAGE = "learn_without_forgetting"


def main(source: str, target: str) -> None:
    settings, measured, out = params.section("learn_without_forgetting"), params.section("robust_transfer"), REMEMBERING / source / target
    with experiments.execution(STAGE, settings, measured, out, source, target) as journal:
        runs = runs_of(settings, measured, card_of(source), target)
        experiments.compute(runs, out, journal, partial(features.store, source, target, params.section("grid")))
        arrays = [cells.arrays(STAGE, run.key) for run in runs if run.method == "distance"]
        files.write_npz(out / "distances.npz", arrays[0] if arrays else {})


def runs_of(settings: LearnWithoutForgettingSettings, measured: RobustTransferSettings, source: Card, target: str) -> list[Run]:
    run = partial(
        Run,
        stage=STAGE,
        module="stages.studies.shafahi2020.learn_without_forgetting",
        source=source.name,
        target=target,
        measured=measured.model_dump(),
    )
    how = {"training": settings.training.model_dump(), "warm_start": settings.warm_start}
    seeds = range(settings.n_seeds)
    runs = [run(method="lwf", setting=value, seed=seed, how=how) for value in settings.lambda_d for seed in seeds]
    runs += [run(method="frozen", setting=0, seed=seed, how=how) for seed in seeds]
    if source.dataset == target and source.part is None:
        runs.append(run(method="source", setting=0, seed=0, how={}))
    if settings.histogram_images:
        runs.append(run(method="distance", setting=0, seed=0, how={"images": settings.histogram_images}))
    return runs


if __name__ == "__main__":
    command.run(main, __doc__, "source", "target")
