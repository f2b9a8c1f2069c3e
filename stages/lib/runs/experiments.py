"""Runs of the experiments of papers: the settings of a run, its key in the cell store, and the table of all runs."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cached_property
from importlib import import_module
from pathlib import Path
from typing import Any

from stages.lib.datasets.sets import card_of, load
from stages.lib.networks.pretrained import Pretrained
from stages.lib.networks.sources import card_of as card_of_source
from stages.lib.networks.sources import pretrained_of
from stages.lib.runs import deciding, missing
from stages.lib.settings import params
from stages.lib.settings.catalog import Part
from stages.lib.store import cells, files, verified
from stages.lib.store.journal import Journal
from stages.lib.store.tables import CORRECT, EXPERIMENT_IMAGES, EXPERIMENT_RUNS, IMAGE

UNSEEN = {"name", "stored_size", "label_is_texture", "metric"}  # what no run knows of the card of an image set


@dataclass(frozen=True, eq=False)
class Run:
    """One training and the test after it."""

    experiment: str
    source: str
    target: str  # whose images are trained and tested on
    method: str
    setting: float  # value of the quantity that the experiment varies: pieces, hidden layers, images of a class, lambda_d
    seed: int
    how: dict[str, Any]  # settings of the training
    measured: dict[str, Any]  # settings of `settings.robustness.MeasuredSettings`; empty where no robustness is measured
    module: str
    """Dotted name. Its `compute(run, source, stored)` gives values by name, accuracies in percent, and tensors or None, such as
    `CORRECT + measure` (bool [n]) and `IMAGE + measure` (int64 [n])."""
    part: Part | None = None  # of the target's classes
    number: int = 0  # of the source's models, counted from 0
    also: str | None = None  # a further image set, that what comes of the training is tested on
    others: tuple[Pretrained, ...] = ()  # models besides the source that the run reads, such as those that judge its images

    def __str__(self) -> str:
        return f"{self.source} on {self.target}, {self.method}, {self.setting:g}, seed {self.seed}"

    @cached_property
    def key(self) -> str:
        """The hash of all that decides the result."""
        source, target = card_of_source(self.source, self.number), card_of(self.target)
        return files.digest_of(self._made_by(source.architecture) | {
            "experiment": self.experiment, "source": source.sha256, "architecture": source.architecture, "method": self.method,
            "setting": self.setting, "target": target.model_dump(exclude=UNSEEN),
            "part": self.part and self.part.model_dump(), "seed": self.seed, "how": self.how, "measured": self.measured,
        } | self._further())  # fmt: skip

    def _further(self) -> dict[str, Any]:
        """What else the run reads; nothing of it is in the keys of runs that read no more than their source and target."""
        also = {"also": card_of(self.also).model_dump(exclude=UNSEEN)} if self.also else {}
        return also | ({"others": [(other.name, other.sha256, other.architecture) for other in self.others]} if self.others else {})

    def _made_by(self, architecture: str) -> dict[str, str]:
        """The hash of the code: the run's module, and those of the architectures, the norms and the attacks that it names."""
        attacks = list(self.measured.get("attacks", {}).values())
        norms = [self.measured["norm"]] if "norm" in self.measured else []
        if "attack" in self.how:  # the attack that the run trains with
            attacks.append(self.how["attack"])
            norms.append(self.how["attack"]["norm"])
        if "descent" in self.how:  # by which the run optimises images
            norms.append(self.how["descent"]["norm"])
        chosen = [deciding.modules_of_attack(attack) for attack in attacks] + [deciding.modules_of_norm(norm) for norm in norms]
        chosen += [deciding.modules_of_architecture(other.architecture) for other in self.others]
        return deciding.code_of(self.module, deciding.modules_of_architecture(architecture), *chosen)

    @property
    def image_sets(self) -> list[str]:
        """The image sets that the run reads."""
        return [self.target, *([self.also] if self.also else [])]

    @property
    def columns(self) -> dict[str, Any]:
        """The columns of a table that name the run."""
        return {"source": self.source, "target": self.target, "method": self.method, "setting": float(self.setting), "seed": self.seed}


@dataclass(frozen=True, eq=False)
class Assignment:
    """A run with its source, as it is sent to a worker."""

    run: Run
    source: Pretrained
    stored: Path | None  # the file for this run that `prepare` of `compute` has made
    stored_sha256: str | None = None

    def __str__(self) -> str:
        return str(self.run)


def compute(
    experiment: str, runs: list[Run], out: Path, journal: Journal, prepare: Callable[[list[Run]], dict[str, Path]] | None = None
) -> None:
    """Compute the runs that the store lacks, several at once, and write the tables of all: a row for each run and measure, and for each
    of their test images.

    Args:
        prepare: called first with the runs that are lacking, where there are any; computes files that runs share, and returns the
            path of its file by the key of a run.

    Raises:
        RunError: says how many runs failed, and why; the others are kept.
    """
    models = dict.fromkeys((run.source, run.number) for run in runs)
    sources = {model: pretrained_of(card_of_source(*model)) for model in models}
    lacking = [run for run in runs if cells.load(experiment, run.key) is None]
    if lacking:
        read = [source for run in lacking for source in (sources[run.source, run.number], *run.others)]
        open_inputs(read, [name for run in lacking for name in run.image_sets])
    stored = prepare(lacking) if lacking and prepare is not None else {}
    hashes = {path: verified.sha256_of(path) for path in dict.fromkeys(stored.values())}
    of_runs = {run.key: (sources[run.source, run.number], stored.get(run.key)) for run in runs}
    tasks = {run.key: Assignment(run, *of_runs[run.key], hashes.get(of_runs[run.key][1])) for run in runs}

    def ended(done: Assignment) -> None:
        run = done.run
        journal.cell(run.key, {name: str(value) for name, value in run.columns.items()}, [(0, cells.load(experiment, run.key)["values"])])

    preload = sorted({run.module for run in runs})
    missing.compute(
        f"experiment@{experiment}", experiment, tasks, _work, settings=params.section("grid"), preload=preload, unit="run", ended=ended
    )
    write(experiment, runs, out)


def open_inputs(sources: Iterable[Pretrained], targets: Iterable[str]) -> None:
    """Compare sources and image sets with their hashes, once, before workers read them; raises RunError where one differs."""
    for source in dict.fromkeys(sources):
        source.check()
    for target in dict.fromkeys(targets):
        for split in card_of(target).splits:
            load(target, split)


def write(experiment: str, runs: list[Run], out: Path) -> None:
    """Write the tables of runs that the store holds."""
    import pandas as pd  # here, as it takes a second to import, and plans need none of it

    rows, images = [], []
    for run in runs:
        cell = cells.load(experiment, run.key)
        arrays = cells.arrays(experiment, run.key) if "weights_sha256" in cell else {}
        for name, value in cell["values"].items():
            n_test = len(arrays.get(CORRECT + name, ()))
            rows.append(run.columns | {"measure": name, "value": value, "n_test": n_test, "cell": run.key[:16]})
            if IMAGE + name in arrays:
                columns = run.columns | {"measure": name, "image": arrays[IMAGE + name], "correct": arrays[CORRECT + name]}
                images.append(pd.DataFrame(columns)[[*EXPERIMENT_IMAGES]].astype(EXPERIMENT_IMAGES))
    files.write_parquet(out / "runs.parquet", pd.DataFrame(rows)[[*EXPERIMENT_RUNS]].astype(EXPERIMENT_RUNS))
    nothing = pd.DataFrame(columns=[*EXPERIMENT_IMAGES]).astype(EXPERIMENT_IMAGES)
    files.write_parquet(out / "images.parquet", pd.concat(images or [nothing], ignore_index=True))


def _work(assigned: Assignment) -> None:
    """In a worker: compute a run and keep its values and tensors."""
    if assigned.stored is not None and assigned.stored_sha256 is not None:
        verified.check(assigned.stored, assigned.stored_sha256, "this run's key", "run again: it is computed anew")
    values, tensors = import_module(assigned.run.module).compute(assigned.run, assigned.source, assigned.stored)
    cells.save(assigned.run.experiment, assigned.run.key, {"values": values}, tensors)
