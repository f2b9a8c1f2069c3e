"""Runs of the experiments of Shafahi et al. (ICLR 2020): what decides one, its place in the cell store, and the table that they make."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import pandas as pd

from stages.lib.datasets.sets import IMAGES, card_of
from stages.lib.networks import sources
from stages.lib.runs import missing
from stages.lib.settings import params
from stages.lib.settings.catalog import Part
from stages.lib.settings.fields import Settings
from stages.lib.settings.robustness import RobustTransferSettings
from stages.lib.store import cells, code, files, journal
from stages.lib.store.journal import Journal
from stages.lib.store.tables import TRANSFERS

LOOP = "stages.lib.training.descent"
EXPERIMENTS = tuple(f"stages.lib.{name}" for name in ("retraining", "heads", "hardening", "forgetting"))  # which use one another


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
    measured: dict[str, Any]  # settings of `robustness_settings.RobustTransferSettings`
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


def execution(
    stage: str, settings: Settings, measured: RobustTransferSettings, out: Path, source: str, target: str | None = None
) -> AbstractContextManager[Journal]:
    """The frame of a stage that writes the folder `out`; without a target its images are the source's own."""
    shown = settings.model_dump() | {"robust_transfer": measured.model_dump()}
    inputs = [*sources.paths(source), IMAGES / (target or sources.card_of(source).dataset)]
    items = [source] if target is None else [source, target]
    return journal.execution(stage, *items, settings=shown, inputs=inputs, outputs=[out])


def compute(
    runs: list[Run], function: Callable[[Run], None], out: Path, journal: Journal, prepare: Callable[[], None] | None = None
) -> None:
    """Compute the runs that the store lacks, several at once, and write the table of all: a row for each run and measure.

    Args:
        function: computes one, in a worker.
        prepare: what runs share; called first where one is lacking.

    Raises:
        RunError: lists the runs that failed; the others are kept.
    """
    stage = runs[0].stage
    tasks = {run.key: run for run in runs}
    if prepare is not None and any(cells.load(stage, key) is None for key in tasks):
        prepare()

    def ended(run: Run) -> None:
        journal.cell(run.key, {name: str(value) for name, value in run.columns.items()}, [(0, cells.load(stage, run.key)["values"])])

    title = f"{stage}@{runs[0].source}-{runs[0].target}"
    missing.compute(title, stage, tasks, function, settings=params.section("grid"), preload=[runs[0].module], unit="run", ended=ended)
    rows = []
    for run in runs:
        values = cells.load(stage, run.key)["values"]
        rows += [run.columns | {"measure": name, "value": value, "cell": run.key[:16]} for name, value in values.items()]
    files.write_parquet(out / "runs.parquet", pd.DataFrame(rows)[[*TRANSFERS]].astype(TRANSFERS))
