"""Runs of the experiments of papers: what decides one, its place in the cell store, and the table that they make."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from stages.lib.datasets.sets import card_of
from stages.lib.networks import sources
from stages.lib.runs import missing
from stages.lib.settings import params
from stages.lib.settings.catalog import Part
from stages.lib.store import cells, code, files
from stages.lib.store.journal import Journal
from stages.lib.store.tables import EXPERIMENT_RUNS

LOOP = "stages.lib.training.descent"
EXPERIMENTS = tuple(
    f"stages.studies.shafahi2020.{name}" for name in ("retrain", "train_heads", "harden", "learn_without_forgetting")
)  # which use one another


@dataclass(frozen=True, eq=False)
class Run:
    """One training and the test after it."""

    stage: str
    source: str
    target: str  # whose images are trained and tested on
    method: str
    setting: float  # what is varied: pieces, hidden layers, images of a class, lambda_d
    seed: int
    how: dict[str, Any]  # settings of the training
    measured: dict[str, Any]  # settings of `settings.robustness.MeasuredSettings`
    module: str  # that computes it
    part: Part | None = None  # of the target's classes

    def __str__(self) -> str:
        return f"{self.source} on {self.target}, {self.method}, {self.setting:g}, seed {self.seed}"

    @cached_property
    def key(self) -> str:
        return files.digest_of({
            "stage": self.stage, "source": sources.card_of(self.source).sha256, "method": self.method, "setting": self.setting,
            "target": {split: card.sha256 for split, card in card_of(self.target).splits.items()},
            "part": self.part and self.part.model_dump(), "seed": self.seed, "how": self.how, "measured": self.measured,
            "code": [code.digest(LOOP), code.digest_alone(*EXPERIMENTS)], "torch": code.torch_version(),
        })  # fmt: skip

    @property
    def columns(self) -> dict[str, Any]:
        return {"source": self.source, "target": self.target, "method": self.method, "setting": float(self.setting), "seed": self.seed}

    def keep(self, values: dict[str, float], tensors: dict | None = None) -> None:
        """What the run ends with, by name; accuracies in percent."""
        cells.save(self.stage, self.key, {"values": values}, tensors)


def compute(
    title: str, runs: list[Run], function: Callable[[Run], None], out: Path, journal: Journal,
    prepare: Callable[[list[Run]], None] | None = None,
) -> None:  # fmt: skip
    """Compute the runs that the store lacks, several at once, and write the table of all: a row for each run and measure.

    Args:
        title: of the experiment, which its cells are kept under.
        function: computes one, in a worker, and keeps it.
        prepare: computes what runs share; called first, with the runs that are lacking, where there are any.

    Raises:
        RunError: lists the runs that failed; the others are kept.
    """
    tasks = {run.key: run for run in runs}
    lacking = [run for key, run in tasks.items() if cells.load(title, key) is None]
    if prepare is not None and lacking:
        prepare(lacking)

    def ended(run: Run) -> None:
        journal.cell(run.key, {name: str(value) for name, value in run.columns.items()}, [(0, cells.load(title, run.key)["values"])])

    preload = sorted({run.module for run in runs})
    missing.compute(title, title, tasks, function, settings=params.section("grid"), preload=preload, unit="run", ended=ended)
    rows = []
    for run in runs:
        values = cells.load(title, run.key)["values"]
        rows += [run.columns | {"measure": name, "value": value, "cell": run.key[:16]} for name, value in values.items()]
    import pandas as pd  # here, as it takes a second to import, and plans need none of it

    files.write_parquet(out / "runs.parquet", pd.DataFrame(rows)[[*EXPERIMENT_RUNS]].astype(EXPERIMENT_RUNS))
