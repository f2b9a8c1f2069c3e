"""Runs for `deciding.halving`: computed by the executors until the time is over, whose cost is learnt from those that were done."""

import numpy as np

from stages.lib.networks.architectures import blocks_of
from stages.lib.workers import executors
from stages.recommending.clock import Clock
from stages.recommending.computing.trials import Trials
from stages.recommending.deciding.arms import Arm, Scored
from stages.recommending.images.draws import Draws, seeds

BACKWARD, LEAST = 3, 0.1  # passes through a network that a step of training takes, and that a run takes at least
Kind = tuple[str, int, str]  # architecture, pixels a side, blocks: what decides the cost of a run


class Racing:
    """What `halving.race` runs and asks for.

    Args:
        reserved_s: seconds that are kept for what follows.
        workers: that compute.
        scored: the sources by their features.
    """

    def __init__(
        self, trials: Trials, draws: Draws, clock: Clock, reserved_s: float, workers: executors.Workers, scored: dict[str, Scored]
    ):
        self.trials, self.draws, self.clock, self.reserved_s, self.workers = trials, draws, clock, reserved_s, workers
        self.scored = scored
        self._seconds: dict[Kind, float] = {}
        self._beside_s = 0.0  # that the last call took beside its runs
        self._calls = 0

    def left_s(self) -> float:
        return max(0.0, self.clock.left_before(self.reserved_s) - self._beside_s) * self.workers.processes

    def seconds(self, arm: Arm) -> float | None:
        return self._seconds.get(self.kind(arm))

    def guess(self, arm: Arm) -> float:
        """From the time that the features took: a step takes three passes, and a pass through some blocks their part of one."""
        candidate, found = self.trials.candidates[arm.source], self.scored.get(arm.source)
        if found is None:  # as the dearest of the others
            return max((self.guess(Arm(name, "all")) for name in self.scored), default=np.inf)
        passes = BACKWARD * self.draws.n_labels * self.trials.epochs(arm.source, self.draws) / len(self.draws.y)
        part = 1.0 if arm.blocks == "all" else int(arm.blocks) / blocks_of(candidate.card.architecture)
        return found.seconds * max(passes * part, LEAST)

    def together(self, arm: Arm) -> int:
        return self.trials.together(arm)

    def run(self, wanted: dict[Arm, tuple[int, int]], part: float = 1.0) -> bool:
        self._calls += 1
        started, before = self.clock.spent_s, self._results(wanted)
        asked = {arm: seeds(last - first, first) for arm, (first, last) in wanted.items()}
        left = part * self.clock.left_before(self.reserved_s)
        title = f"fine-tuning, part {self._calls}"
        in_time = left > 0 and self.trials.run_each(title, asked, self.draws, self.clock, left, self.workers)
        computed = {place: seconds for place, seconds in self._results(wanted).items() if place not in before}
        self._learn(wanted)
        if in_time and computed:
            self._beside_s = max(0.0, self.clock.spent_s - started - sum(computed.values()) / self.workers.processes)
        return in_time

    def scores(self, arms: list[Arm], last: int) -> np.ndarray:
        return self.trials.scores(arms, seeds(last), self.draws)

    def kind(self, arm: Arm) -> Kind:
        candidate = self.trials.candidates[arm.source]
        return candidate.card.architecture, candidate.size, arm.blocks

    def _results(self, wanted: dict[Arm, tuple[int, int]]) -> dict[tuple[Arm, int], float]:
        """Seconds of the runs that are done."""
        places = [(arm, seed) for arm, (first, last) in wanted.items() for seed in seeds(last - first, first)]
        return {place: found.seconds for place in places if (found := self.trials.found(*place, self.draws)) is not None}

    def _learn(self, wanted: dict[Arm, tuple[int, int]]) -> None:
        """The cost of a kind is the mean over its runs of the last call, as the machine may have become busier since."""
        of_kind: dict[Kind, list[float]] = {}
        for (arm, _), seconds in self._results(wanted).items():
            of_kind.setdefault(self.kind(arm), []).append(seconds)
        self._seconds |= {kind: float(np.mean(seconds)) for kind, seconds in of_kind.items()}
