"""Runs of the experiments of papers: what decides a run, its place in the cell store, and the table that the runs of a stage make."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import cached_property
from importlib import import_module
from pathlib import Path
from typing import Any

import pandas as pd

from stages.lib.datasets.sets import IMAGES, card_of
from stages.lib.networks import sources
from stages.lib.networks.pretrained import Pretrained
from stages.lib.runs import deciding, missing
from stages.lib.settings import params
from stages.lib.settings.catalog import Part
from stages.lib.settings.fields import Settings
from stages.lib.settings.robustness import RobustTransferSettings
from stages.lib.store import cells, files, journal
from stages.lib.store.journal import Journal
from stages.lib.store.tables import TRANSFERS


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
    measured: dict[str, Any]  # settings of `settings.robustness.RobustTransferSettings`
    module: str  # dotted name; its `compute(run, source, stored)` gives values by name, accuracies in percent, and tensors or None
    part: Part | None = None  # of the target's classes

    def __str__(self) -> str:
        return f"{self.source} on {self.target}, {self.method}, {self.setting:g}, seed {self.seed}"

    @cached_property
    def key(self) -> str:
        """The hash of all that decides the result."""
        source, target = sources.card_of(self.source), card_of(self.target)
        return files.digest_of(self._made_by(source.architecture) | {
            "stage": self.stage, "source": source.sha256, "architecture": source.architecture, "method": self.method,
            "setting": self.setting, "target": target.model_dump(exclude={"name", "stored_size"}),
            "part": self.part and self.part.model_dump(), "seed": self.seed, "how": self.how, "measured": self.measured,
        })  # fmt: skip

    def _made_by(self, architecture: str) -> dict[str, str]:
        """The code: of the run's own module, and of the architecture, the norms and the attacks that it names."""
        attacks = list(self.measured["attacks"].values())
        norms = [self.measured["norm"]]
        if "attack" in self.how:  # that it trains with
            attacks.append(self.how["attack"])
            norms.append(self.how["attack"]["norm"])
        chosen = [deciding.modules_of_attack(attack) for attack in attacks] + [deciding.modules_of_norm(norm) for norm in norms]
        return deciding.code_of(self.module, deciding.modules_of_architecture(architecture), *chosen)

    @property
    def columns(self) -> dict[str, Any]:
        """What tables say of the run."""
        return {"source": self.source, "target": self.target, "method": self.method, "setting": float(self.setting), "seed": self.seed}


@dataclass(frozen=True, eq=False)
class Assignment:
    """A run as a worker is sent it."""

    run: Run
    source: Pretrained
    stored: Path | None  # what the runs of a stage share, as `prepare` of `compute` has left it

    def __str__(self) -> str:
        return str(self.run)


def execution(
    stage: str, settings: Settings, measured: RobustTransferSettings, out: Path, source: str, target: str | None = None
) -> AbstractContextManager[Journal]:
    """The frame of a stage that writes the folder `out`; without a target its images are the source's own."""
    shown = settings.model_dump() | {"robust_transfer": measured.model_dump()}
    inputs = [*sources.paths(source), IMAGES / (target or sources.card_of(source).dataset)]
    items = [source] if target is None else [source, target]
    return journal.execution(stage, *items, settings=shown, inputs=inputs, outputs=[out])


def compute(runs: list[Run], out: Path, journal: Journal, prepare: Callable[[], Path] | None = None) -> None:
    """Compute the runs that the store lacks, several at once, and write the table of all: a row for each run and measure.

    Args:
        runs: of one stage and one source.
        prepare: computes what the runs share, and says where it is; called first where a run is lacking.

    Raises:
        RunError: lists the runs that failed; the others are kept.
    """
    stage = runs[0].stage
    lacking = any(cells.load(stage, run.key) is None for run in runs)
    stored = prepare() if lacking and prepare is not None else None
    source = sources.pretrained_of(sources.card_of(runs[0].source))
    tasks = {run.key: Assignment(run, source, stored) for run in runs}

    def ended(done: Assignment) -> None:
        run = done.run
        journal.cell(run.key, {name: str(value) for name, value in run.columns.items()}, [(0, cells.load(stage, run.key)["values"])])

    title = f"{stage}@{runs[0].source}-{runs[0].target}"
    missing.compute(title, stage, tasks, _work, settings=params.section("grid"), preload=[runs[0].module], unit="run", ended=ended)
    rows = []
    for run in runs:
        values = cells.load(stage, run.key)["values"]
        rows += [run.columns | {"measure": name, "value": value, "cell": run.key[:16]} for name, value in values.items()]
    files.write_parquet(out / "runs.parquet", pd.DataFrame(rows)[[*TRANSFERS]].astype(TRANSFERS))


def _work(assigned: Assignment) -> None:
    """In a worker: compute a run and keep what it ends with."""
    values, tensors = import_module(assigned.run.module).compute(assigned.run, assigned.source, assigned.stored)
    cells.save(assigned.run.stage, assigned.run.key, {"values": values}, tensors)
