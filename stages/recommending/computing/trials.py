"""Fine-tuning runs that decide, as cells of the pipeline's store: computed by its executors until their time is over, and looked up."""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from stages.lib.datasets import sets
from stages.lib.errors import RunError
from stages.lib.progress import bar, log
from stages.lib.runs import computing, grid
from stages.lib.runs.attacked import WORK, Evaluation
from stages.lib.runs.grid import Cell, Plan
from stages.lib.runs.jobs import Blocks, Job
from stages.lib.settings.sections import GridSettings, Params
from stages.lib.store import cells
from stages.lib.workers import executors
from stages.recommending.clock import Clock, TimeUp
from stages.recommending.computing import attacks
from stages.recommending.computing.candidates import Candidate
from stages.recommending.deciding.arms import Arm
from stages.recommending.images.draws import Draws
from stages.recommending.workspace import POOL

Place = tuple[Arm, int, int, int]  # of a run: its arm, seed, number of labels and of images that it is tested on besides the final ones


def place_of(arm: Arm, seed: int, draws: Draws, whole: bool) -> Place:
    return arm, seed, draws.n_labels, 0 if whole else draws.n_tested


def blocks_of(arm: Arm) -> Blocks:
    return arm.blocks if arm.blocks == "all" else int(arm.blocks)


@dataclass(frozen=True)
class Trial:
    """The result of one run."""

    decided: float | None  # accuracy in percent on the images that decide; None where all images were learnt from
    final: float  # on the images that no decision sees
    seconds: float


class Trials:
    """All runs of the candidates on the user's images.

    Args:
        targets: the image set of each size.
        settings: those of each size.
        grid_settings: how runs are computed.
        eps: the radius of the attack under which runs decide; None: they decide by their accuracy.
    """

    def __init__(
        self, candidates: list[Candidate], targets: dict[int, str], settings: dict[int, Params], grid_settings: GridSettings,
        eps: float | None = None,
    ):  # fmt: skip
        self.candidates = {one.name: one for one in candidates}
        self.targets, self.settings, self.grid = targets, settings, grid_settings
        self.eps = eps
        self._cells: dict[Place, Cell] = {}
        self._found: dict[Place, Trial] = {}  # of runs that are done, which do not change

    def job(self, source: str) -> Job:
        candidate = self.candidates[source]
        return grid.job_of(candidate.card, sets.card_of(self.targets[candidate.size]), self.settings[candidate.size].finetune)

    def plan(self, source: str, wanted: dict[Arm, list[int]], draws: Draws, weights: bool = False, whole: bool = False) -> Plan:
        """The runs of some arms of one source, each on the draws of some seeds.

        Args:
            weights: whether these are kept.
            whole: whether each run learns from all that it draws, and is tested on the final images alone.
        """
        job, drawn, held, planned = self.job(source), {}, {}, []
        for seed in sorted({seed for seeds in wanted.values() for seed in seeds}):
            learnt, tested = draws.draw(seed)
            drawn[draws.name(seed)] = learnt if whole else np.concatenate([learnt, tested])
            held[draws.name(seed)] = tested
        held_out = 0 if whole else draws.n_tested
        epochs = self.epochs(source, draws)
        for arm, seeds in wanted.items():
            size = self.together(arm)
            for i, seed in enumerate(seeds):
                company = size if i < len(seeds) // size * size else 1
                cell = Cell(
                    source, job.target, blocks_of(arm), draws.n_labels + draws.n_tested, seed, epochs, epochs, 0, job.rates[0], held_out,
                    company,
                )  # fmt: skip
                cell = replace(cell, key=grid.key_of(job, cell, *grid.rows_of(cell, drawn, held)))
                planned.append(cell)
                self._cells[place_of(arm, seed, draws, whole)] = cell
        return Plan(job, planned, drawn, planned if weights else [], held)

    @property
    def preload(self) -> list[str]:
        """Modules that workers need for the runs that decide."""
        return [*computing.PRELOAD, *(WORK.values() if self.eps is not None else ())]

    def epochs(self, source: str, draws: Draws) -> int:
        return grid.schedule(self.settings[self.candidates[source].size].finetune, len(draws.y), draws.n_labels)[0]

    def together(self, arm: Arm) -> int:
        """How many runs of an arm are computed at once."""
        return grid.together(self.job(arm.source), blocks_of(arm))

    def run_each(
        self, title: str, wanted: dict[Arm, list[int]], draws: Draws, clock: Clock, seconds: float, workers: executors.Workers,
        weights: bool = False, whole: bool = False,
    ) -> bool:  # fmt: skip
        """Compute what the store lacks, source by source in the order of the arms; returns whether all of it was done in time."""
        work, started, weights = [], clock.spent_s, weights or self._attacks(whole)
        for source in dict.fromkeys(arm.source for arm in wanted):
            of_source = {arm: seeds for arm, seeds in wanted.items() if arm.source == source}
            plan = self.plan(source, of_source, draws, weights, whole)
            absent = grid.missing(plan.cells, {cell.key for cell in plan.with_weights}, log)
            if absent:
                work.append((plan, absent))
        total = sum(len(absent) for _, absent in work)
        failed: dict[str, Exception] = {}
        try:
            with clock.at_most(seconds), bar(title=title, total=total, unit="run", hidden=not total) as progress:
                for plan, absent in work:
                    for cell, error in computing.compute_plans([(plan, absent)], workers, self.grid):
                        progress.update()
                        if error is not None:
                            failed[f"{cell.source}, blocks {cell.blocks}"] = error
        except TimeUp:
            return False
        for what, error in failed.items():
            log(f"warning: recommend: {what}: runs failed: {error}")
        if not self._attacks(whole):
            return True
        asked = [self.attack(arm, seed, draws) for arm, seeds in wanted.items() for seed in seeds if self._is_kept(arm, seed, draws)]
        return attacks.run(workers, f"{title}: under attack", asked, clock, seconds - (clock.spent_s - started))

    def _is_kept(self, arm: Arm, seed: int, draws: Draws) -> bool:
        return "weights_sha256" in (cells.load("finetune", self.cell(arm, seed, draws).key) or {})

    def _attacks(self, whole: bool) -> bool:
        """Whether runs decide by their accuracy under attack; those that learn from all images decide nothing."""
        return self.eps is not None and not whole

    def attack(self, arm: Arm, seed: int, draws: Draws) -> Evaluation:
        """The attack by which a run decides, on images among which are those that it did not learn from."""
        cell, candidate = self.cell(arm, seed, draws), self.candidates[arm.source]
        dataset = f"{self.targets[candidate.size]}_{POOL}"
        return attacks.evaluation(candidate.card, cell, dataset, [self.eps], attacks.MOST_DECIDING)

    def found(self, arm: Arm, seed: int, draws: Draws, whole: bool = False) -> Trial | None:
        """The result of a run that was planned, where it is done."""
        place = place_of(arm, seed, draws, whole)
        if place not in self._found and (trial := self._looked_up(arm, seed, draws, whole)):
            self._found[place] = trial
        return self._found.get(place)

    def _looked_up(self, arm: Arm, seed: int, draws: Draws, whole: bool) -> Trial | None:
        """As the store has it now."""
        cell = self._cells.get(place_of(arm, seed, draws, whole))
        result = cell and cells.load("finetune", cell.key)
        if not result:
            return None
        row: dict[str, Any] = result["rows"][-1]
        decided = row["validation_accuracy"]
        seconds = float(result.get("seconds", 0.0))
        if self._attacks(whole):
            if "weights_sha256" not in result or (attacked := attacks.found(self.attack(arm, seed, draws))) is None:
                return None
            decided = attacks.accuracy(attacked, self.eps, draws.draw(seed)[1])
            seconds += attacked.seconds
        return Trial(decided, row["test_accuracy"], seconds)

    def cell(self, arm: Arm, seed: int, draws: Draws, whole: bool = False) -> Cell:
        """A run that was planned; raises RunError for one that was not."""
        try:
            return self._cells[place_of(arm, seed, draws, whole)]
        except KeyError:
            raise RunError(f"{arm}: no run on {draws.n_labels} labels was planned") from None

    def scores(self, arms: list[Arm], seeds: list[int], draws: Draws) -> np.ndarray:
        """Accuracies in percent on the images that decide, [arms, seeds]; NaN where a run is not done."""
        trials = [[self.found(arm, seed, draws) for seed in seeds] for arm in arms]
        return np.array([[np.nan if one is None else one.decided for one in of_arm] for of_arm in trials], dtype=float).reshape(
            len(arms), len(seeds)
        )
