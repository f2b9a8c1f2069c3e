"""How far from the best source and number of blocks `recommend` ends, and at what cost, beside the full grid, a static list and proxies.

Run it with `python -m benchmarks.recommend`, in a clone whose embedded sources are trained; it computes the grid first (see
`benchmarks.recommend_grid`), and then replays the decisions of `recommend` over it, with the seconds of each run as its clock.

Regret is how many points a choice is below the best of the grid, both judged on images that no decision saw, as means over all draws. The
best is chosen by these images themselves, which makes every regret a little larger than it is. Methods that choose a source alone have all
runs of that source to choose the number of blocks by. Intervals are over targets; of each, the mean over orders of the draws.
"""

from collections.abc import Callable, Hashable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from benchmarks import recommend_grid
from benchmarks.recommend_grid import Grid
from stages.lib.report import statistics
from stages.recommending.clock import Clock
from stages.recommending.deciding import halving, pruning
from stages.recommending.deciding.arms import Arm
from stages.recommending.workspace import Workspace

BUDGETS, ORDERS = (0.1, 0.15, 0.2, 0.4), 20  # parts of the cost of the grid; orders of the draws
TOGETHER = 5  # runs that are computed at once


@dataclass
class Replay:
    """The runs of a grid as `halving.race` asks for them; time is what they took when they were computed."""

    grid: Grid
    left: float  # seconds of one core

    def __post_init__(self) -> None:
        self.rows = {arm: i for i, arm in enumerate(self.grid.arms)}
        self.done = np.zeros(len(self.rows), int)
        self.met: set[Hashable] = set()

    def left_s(self) -> float:
        return self.left

    def kind(self, arm: Arm) -> Hashable:
        return self.grid.kinds[self.rows[arm]]

    def seconds(self, arm: Arm) -> float | None:
        return float(self.grid.seconds[self.rows[arm]]) if self.kind(arm) in self.met else None

    def guess(self, arm: Arm) -> float:
        return float(self.grid.seconds[self.rows[arm]])

    def together(self, arm: Arm) -> int:
        return 1 if arm.blocks == "all" else TOGETHER

    def run(self, wanted: dict[Arm, tuple[int, int]], part: float = 1.0) -> bool:
        limit = part * self.left
        for arm, (first, last) in wanted.items():
            alone = (last - first) % self.together(arm) > 0
            cost = (self.grid.alone if alone else self.grid.seconds)[self.rows[arm]] * (last - first)
            if cost > limit:
                self.left -= limit
                return False
            limit, self.left = limit - cost, self.left - cost
            self.done[self.rows[arm]] = last
            self.met.add(self.kind(arm))
        return True

    def scores(self, arms: list[Arm], last: int) -> np.ndarray:
        values = np.full((len(arms), last), np.nan)
        for row, arm in zip(values, arms, strict=True):
            n = min(self.done[self.rows[arm]], last, self.grid.decided.shape[1])
            row[:n] = self.grid.decided[self.rows[arm], :n]
        return values


def recommended(grid: Grid, budget: float) -> tuple[Arm, float]:
    """The choice of `recommend`, and the seconds that it took."""
    total = budget * grid.cost
    featured = sum(grid.feature_s.values())
    best = max(grid.own_accuracy, key=lambda name: (grid.own_accuracy[name], name))
    kept, _ = pruning.prune(grid.scored, grid.share, best)
    arms = [arm for name in kept for arm in grid.arms if arm.source == name]
    of_best = [arm for arm in arms if arm.source == best]
    replay = Replay(grid, total - featured)
    known = {name: float(np.mean(grid.scored[name].heads)) for name in kept if name in grid.scored}
    course = halving.race(arms, of_best[min(1, len(of_best) - 1)], grid.share, replay, known)
    chosen = halving.tied(course.standing, replay.scores(course.standing, course.n_draws), grid.share)[0]
    return chosen, total - replay.left


def full(grid: Grid) -> tuple[Arm, float]:
    return grid.arms[int(grid.decided.mean(1).argmax())], grid.cost


def by(worth: Callable[[Grid], dict[str, float]], features: bool) -> Callable[[Grid], tuple[Arm, float]]:
    """A method that chooses the source of the highest worth, and then its number of blocks by all runs of it."""

    def method(grid: Grid) -> tuple[Arm, float]:
        values = worth(grid)
        source = max(values, key=lambda name: (values[name], name))
        rows = [i for i, arm in enumerate(grid.arms) if arm.source == source]
        cost = float(grid.seconds[rows].sum()) * grid.decided.shape[1] + (sum(grid.feature_s.values()) if features else 0.0)
        return grid.arms[max(rows, key=lambda i: grid.decided[i].mean())], cost

    return method


def in_order(grid: Grid, order: np.ndarray) -> Grid:
    """The grid with its draws in another order."""
    return replace(grid, decided=grid.decided[:, order], judged=grid.judged[:, order])


def measured(grid: Grid, method: Callable[[Grid], tuple[Arm, float]], orders: int) -> tuple[float, float]:
    """Mean regret in percentage points, and mean part of the cost of the grid, over orders of the draws."""
    truth, rng, found = grid.judged.mean(1), np.random.default_rng(0), []
    for _ in range(orders):
        chosen, cost = method(in_order(grid, rng.permutation(grid.decided.shape[1])))
        found.append((truth.max() - truth[grid.arms.index(chosen)], cost / grid.cost))
    return tuple(np.mean(found, 0))


def at_random(grid: Grid) -> tuple[Arm, float]:
    """A source at random, another one in each call."""
    source = np.random.default_rng(int(grid.decided[0].tobytes()[:8].hex()[:8], 16)).choice(sorted(grid.own_accuracy))
    return by(lambda _: {str(source): 0.0}, features=False)(grid)


METHODS: dict[str, Callable[[Grid], tuple[Arm, float]]] = {
    **{f"recommend, {100 * budget:.0f} % of the cost": (lambda grid, budget=budget: recommended(grid, budget)) for budget in BUDGETS},
    "full grid": full,
    "static list, by the source's accuracy": by(lambda grid: grid.own_accuracy, features=False),
    "1-NN": by(lambda grid: {name: float(np.mean(one.nearest)) for name, one in grid.scored.items()}, features=True),
    "mean of linear head, 5-NN and 1-NN": by(
        lambda grid: {name: float(np.mean(one.heads)) for name, one in grid.scored.items()}, features=True
    ),
    "LogME": by(lambda grid: {name: one.log_me for name, one in grid.scored.items()}, features=True),
    "H-score": by(lambda grid: {name: one.h_score for name, one in grid.scored.items()}, features=True),
    "a source at random": at_random,
}


def main() -> None:
    asked = recommend_grid.asked()
    recommend_grid.compute_grids(asked.targets, asked.blocks)
    with Workspace(Path.cwd(), "benchmark", Clock(recommend_grid.MINUTES)) as work:
        grids = {target: recommend_grid.grid_of(work, target, asked.blocks) for target in asked.targets}
    print(f"| method | regret, points | {' | '.join(grids)} | cost, % of the grid |")
    print("|---|---|" + "---|" * len(grids) + "---|")
    regrets = {}
    for name, method in METHODS.items():
        found = np.array([measured(grid, method, ORDERS) for grid in grids.values()])
        regrets[name] = found[:, 0]
        mean, low, high = statistics.interval(found[:, 0], bounds=statistics.ACCURACY)
        each = " | ".join(f"{value:.1f}" for value in found[:, 0])
        print(f"| {name} | {mean:.2f} ({low:.2f} to {high:.2f}) | {each} | {100 * found[:, 1].mean():.1f} |")
    static = regrets["static list, by the source's accuracy"]
    for name in list(METHODS)[: len(BUDGETS)]:
        mean, low, high = statistics.interval(regrets[name] - static, bounds=statistics.DIFFERENCE)
        print(f"\n{name} minus static list: {mean:.2f} ({low:.2f} to {high:.2f}) points of regret")


if __name__ == "__main__":
    main()
