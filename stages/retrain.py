"""Where a robust source keeps its robustness: its last k pieces are drawn anew and trained on clean images of its own data.

Reads models/sources/<source>.*, data/images/<source data>/, params.yaml: retrain, robust_transfer. Writes
models/robustness/retrained/<source>/runs.parquet: a row for each k, seed and measure; k = 0 is the source as it is.
"""

from pathlib import Path

from stages.lib import command, params, robust_transfer, sources
from stages.lib.datasets import IMAGES
from stages.lib.journal import execution
from stages.lib.robust_transfer import Run
from stages.lib.tables import RETRAINED


def main(source: str) -> None:
    settings, measured, card = params.section("retrain"), params.section("robust_transfer"), sources.card_of(source)
    shown, out = settings.model_dump() | {"robust_transfer": measured.model_dump()}, RETRAINED / source
    inputs: list[Path] = [*sources.paths(source), IMAGES / card.dataset]
    with execution("retrain", source, settings=shown, inputs=inputs, outputs=[out]) as journal:
        same = {"stage": "retrain", "source": source, "target": card.dataset, "part": card.part, "how": settings.training.model_dump(),
                "measured": measured.model_dump(), "module": "stages.lib.retraining"}  # fmt: skip
        runs = [Run(method="source", setting=0, seed=0, **same)]
        runs += [Run(method="retrained", setting=k, seed=seed, **same) for k in settings.k for seed in range(settings.n_seeds)]
        robust_transfer.compute(runs, compute, out, journal)


def compute(run: Run) -> None:
    """In a worker."""
    from stages.lib import retraining  # here, as torch takes seconds to import

    retraining.compute(run)


if __name__ == "__main__":
    command.run(main, __doc__, "source")
