"""Three ways to a robust model of a target with few images of each class, against one another: accuracy, robustness and cost.

Reads models/sources/<source>.*, data/images/<target>/, params.yaml: harden, robust_transfer. Writes
models/robustness/hardened/<source>/<target>/runs.parquet: a row for each way, number of images of a class, seed and measure.
"""

from functools import partial

from stages.lib import command, features, params, robust_transfer, sources
from stages.lib.datasets import IMAGES
from stages.lib.journal import execution
from stages.lib.robust_transfer import Run
from stages.lib.tables import HARDENED


def main(source: str, target: str) -> None:
    settings, measured = params.section("harden"), params.section("robust_transfer")
    shown, out = settings.model_dump() | {"robust_transfer": measured.model_dump()}, HARDENED / source / target
    with execution("harden", source, target, settings=shown, inputs=[*sources.paths(source), IMAGES / target], outputs=[out]) as journal:
        same = {"stage": "harden", "source": source, "target": target, "measured": measured.model_dump(), "module": "stages.lib.hardening"}
        attack = settings.attack.model_dump()
        ways = {
            "adversarial": {"training": settings.from_scratch.model_dump(), "attack": attack},
            "finetuned": {"training": settings.adversarial_finetuning.model_dump(), "attack": attack, "pieces": settings.pieces},
            "transferred": {"training": settings.natural_head.model_dump()},
        }
        runs = [
            Run(method=name, setting=n, seed=seed, how=how, **same)
            for n in sorted(settings.n_per_class, reverse=True)  # the longest trainings first
            for name, how in ways.items()
            for seed in range(settings.n_seeds)
        ]
        robust_transfer.compute(runs, compute, out, journal, partial(features.store, source, target, params.section("grid")))


def compute(run: Run) -> None:
    """In a worker."""
    from stages.lib import hardening  # here, as torch takes seconds to import

    hardening.compute(run)


if __name__ == "__main__":
    command.run(main, __doc__, "source", "target")
