"""Three ways to a robust model of a target with few images of each class, against one another: accuracy, robustness and cost.

Reads models/sources/<source>.*, data/images/<target>/, params.yaml: harden, robust_transfer. Writes
models/robustness/hardened/<source>/<target>/runs.parquet: a row for each way, number of images of a class, seed and measure.
"""

from functools import partial

from stages.lib import command
from stages.lib.networks.sources import Card, card_of
from stages.lib.runs import experiments
from stages.lib.runs.experiments import Run
from stages.lib.settings import params
from stages.lib.settings.robustness import HardenSettings, RobustTransferSettings
from stages.lib.store.tables import HARDENED
from stages.studies.shafahi2020 import features


def main(source: str, target: str) -> None:
    settings, measured, out = params.section("harden"), params.section("robust_transfer"), HARDENED / source / target
    with experiments.execution("harden", settings, measured, out, source, target) as journal:
        store = partial(features.store, source, target, params.section("grid"))
        experiments.compute(runs_of(settings, measured, card_of(source), target), out, journal, store)


def runs_of(settings: HardenSettings, measured: RobustTransferSettings, source: Card, target: str) -> list[Run]:
    run = partial(
        Run, stage="harden", module="stages.studies.shafahi2020.harden", source=source.name, target=target, measured=measured.model_dump()
    )
    attack = settings.attack.model_dump()
    ways = {
        "adversarial": {"training": settings.from_scratch.model_dump(), "attack": attack},
        "finetuned": {"training": settings.adversarial_finetuning.model_dump(), "attack": attack, "pieces": settings.pieces},
        "transferred": {"training": settings.natural_head.model_dump()},
    }
    return [
        run(method=name, setting=n, seed=seed, how=how)
        for n in sorted(settings.n_per_class, reverse=True)  # the longest trainings first
        for name, how in ways.items()
        for seed in range(settings.n_seeds)
    ]


if __name__ == "__main__":
    command.run(main, __doc__, "source", "target")
