"""Runs of fine-tuning, simulated: arms on images, where what an arm finds hard stays, and what a draw brings comes anew."""

from collections.abc import Hashable

import numpy as np

from stages.recommending.deciding.arms import Arm

POOL, TESTED, DRAWS = 210, 70, 40
STAYS, COMES = 0.35, 0.35  # standard deviations of an arm's probability for an image: between images, and between draws


def deciding(rng: np.random.Generator, worth: np.ndarray, trials: int, draws: int = DRAWS) -> np.ndarray:
    """Accuracies in percent on the images that decide, [trials, arms, draws]; each trial has images of its own.

    Args:
        worth: [arms], the accuracy of each over all images that there are, in percent.
    """
    hard = rng.normal(0, STAYS, (trials, 1, POOL)) + rng.normal(0, STAYS, (trials, len(worth), POOL))
    found = np.empty((trials, len(worth), draws))
    for draw in range(draws):
        images = rng.permutation(POOL)[:TESTED]
        noise = rng.normal(0, COMES, (trials, len(worth), TESTED))
        found[:, :, draw] = worth[:, None].T + 100 * (hard[:, :, images] + noise).mean(2)
    return found


class Table:
    """Runs whose results are known: `halving.Runs` of a table, [arms, draws], where a run costs what its number of blocks does."""

    def __init__(self, arms: list[Arm], values: np.ndarray, seconds: dict[str, float], left: float):
        self.rows, self.values, self.cost, self.left = {arm: i for i, arm in enumerate(arms)}, values, seconds, left
        self.n, self.known = np.zeros(len(arms), int), set()

    def left_s(self) -> float:
        return self.left

    def kind(self, arm: Arm) -> Hashable:
        return arm.blocks

    def seconds(self, arm: Arm) -> float | None:
        return self.cost[arm.blocks] if arm.blocks in self.known else None

    def guess(self, arm: Arm) -> float:
        return self.cost[arm.blocks]

    def together(self, arm: Arm) -> int:
        return 1 if arm.blocks == "all" else 5

    def run(self, wanted: dict[Arm, tuple[int, int]], part: float = 1.0) -> bool:
        limit = part * self.left
        for arm, (first, last) in wanted.items():
            assert self.n[self.rows[arm]] == first, "a run is computed once"
            for _ in range(first, last):
                if self.cost[arm.blocks] > limit:
                    self.left -= limit
                    return False
                limit, self.left = limit - self.cost[arm.blocks], self.left - self.cost[arm.blocks]
                self.n[self.rows[arm]] += 1
            self.known.add(arm.blocks)
        return True

    def scores(self, arms: list[Arm], last: int) -> np.ndarray:
        values = np.full((len(arms), last), np.nan)
        for row, arm in zip(values, arms, strict=True):
            n = min(self.n[self.rows[arm]], last)
            row[:n] = self.values[self.rows[arm], :n]
        return values
