"""Where a robust source keeps its robustness: its last k pieces are drawn anew and trained on clean images of its own data.

Reads models/sources/<source>.*, data/images/<source data>/, params.yaml: retrain, robust_transfer. Writes
models/robustness/retrained/<source>/runs.parquet: a row for each k, seed and measure; k = 0 is the source as it is.
"""

from functools import partial

from stages.lib import command
from stages.lib.networks.sources import Card, card_of
from stages.lib.runs import experiments
from stages.lib.runs.experiments import Run
from stages.lib.settings import params
from stages.lib.settings.robustness import RetrainSettings, RobustTransferSettings
from stages.lib.store.tables import RETRAINED


def main(source: str) -> None:
    settings, measured, out = params.section("retrain"), params.section("robust_transfer"), RETRAINED / source
    with experiments.execution("retrain", settings, measured, out, source) as journal:
        experiments.compute(runs_of(settings, measured, card_of(source)), out, journal)


def runs_of(settings: RetrainSettings, measured: RobustTransferSettings, source: Card) -> list[Run]:
    run = partial(
        Run, stage="retrain", module="stages.studies.shafahi2020.retrain", source=source.name, target=source.dataset, part=source.part,
        how=settings.training.model_dump(), measured=measured.model_dump(),
    )  # fmt: skip
    seeds = range(settings.n_seeds)
    runs = [run(method="source", setting=0, seed=0)]
    return runs + [run(method="retrained", setting=k, seed=seed) for k in settings.k for seed in seeds]


if __name__ == "__main__":
    command.run(main, __doc__, "source")
