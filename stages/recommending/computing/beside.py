"""What is measured beside the answer, in the time that is left: accuracy under attack, and accuracy by the number of labels."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np

from stages.lib.datasets import sampling, sets
from stages.lib.report.binomial import wilson
from stages.lib.report.intervals import resampled
from stages.lib.report.statistics import ACCURACY, DIFFERENCE
from stages.lib.runs.grid import Cell
from stages.lib.workers import executors
from stages.recommending.answer import plain
from stages.recommending.clock import Clock
from stages.recommending.computing import attacks
from stages.recommending.computing.trials import Trials
from stages.recommending.deciding.arms import Arm
from stages.recommending.images.draws import Draws, drawn, seeds

COUNTS = (5, 10, 20)  # draws of each point of a curve, more of them where the time suffices
CURVES = 4  # choices whose accuracy by the number of labels is shown: the winner, and the first that cannot be told from it
PARTS = (4, 2)  # of the labels that were asked for
FEWEST_MORE = 1.2  # times as many labels are worth a point of the curve


@dataclass(frozen=True)
class Nested(Draws):
    """Draws of another number of labels than was asked for, tested on the same images: what is learnt from is a part of the draw that was
    asked for, or that and more, so that differences between numbers of labels are paired."""

    asked: Draws

    def draw(self, seed: int) -> tuple[np.ndarray, np.ndarray]:
        learnt, tested = self.asked.draw(seed)
        if self.n_labels <= len(learnt):
            return learnt[drawn(self.y[learnt], self.n_labels, seed)], tested
        rest = np.setdiff1d(np.arange(len(self.y)), np.concatenate([learnt, tested]))
        more = rest[sampling.stratified(self.y[rest], self.n_labels - len(learnt), seed)]
        return np.sort(np.concatenate([learnt, more])), tested


def nested(asked: Draws, n: int) -> Draws:
    """The draws of n labels beside those that were asked for."""
    return asked if n == asked.n_labels else Nested(asked.y, n, asked.n_tested, asked)


def under_attack(
    trials: Trials, arms: list[Arm], draws: Draws, eps: float, workers: executors.Workers, clock: Clock, seconds: float
) -> dict[Arm, dict[str, float]]:  # fmt: skip
    """Accuracy in percent under attack on the images that no decision saw, of one run of each of some arms, as far as the time goes.

    Args:
        arms: the first ones come first.
        workers: processes that have loaded what trains and what attacks.
    """
    [seed], found, until = seeds(1), {}, clock.spent_s + seconds
    for arm in arms:
        left = until - clock.spent_s
        if left <= 0 or not trials.run_each(f"{arm}, for an attack", {arm: [seed]}, draws, clock, left, workers, weights=True):
            break
        if (one := of_cell(trials, trials.cell(arm, seed, draws), eps, workers, clock, until - clock.spent_s)) is None:
            break
        found[arm] = one
    return found


def of_cell(
    trials: Trials, cell: Cell, eps: float, workers: executors.Workers, clock: Clock, seconds: float
) -> dict[str, float] | None:  # fmt: skip
    """Accuracy under attack of a run that has kept its weights, on the images that no decision saw; None where the time is over."""
    card, most = trials.candidates[cell.source].card, min(attacks.MOST_DECIDING, sets.card_of(cell.target).splits["test"].n)
    asked = attacks.evaluation(card, cell, cell.target, [eps], most)
    if seconds <= 0 or not attacks.run(workers, f"under attack: {cell.source}", [asked], clock, seconds):
        return None
    if (attacked := attacks.found(asked)) is None:
        return None
    mean, n = attacks.accuracy(attacked, eps, attacked.tested), len(attacked.tested)
    low, high = wilson(mean, n)
    return {"mean": mean, "low": low, "high": high, "n": n}


def sizes(draws: Draws) -> list[int]:
    """Numbers of labels of a curve, in the order in which they are computed: as many as there are, then parts of those asked for."""
    classes, most = int(draws.y.max()) + 1, len(draws.y) - draws.n_tested
    more = [most] if most >= FEWEST_MORE * draws.n_labels else []
    return more + [n for part in PARTS[::-1] if classes <= (n := draws.n_labels // part) < draws.n_labels]


def curves(
    trials: Trials, arms: list[Arm], draws: Draws, n_draws: int, workers: executors.Workers, clock: Clock, seconds: float
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:  # fmt: skip
    """Accuracy on the images that decide by the number of labels, of some arms, as far as the time goes.

    Args:
        arms: the first ones come first; the gains are those of the very first.
        n_draws: that all arms have on the labels asked for.

    Returns:
        The points of the curves; and what the first arm gains from each number of labels to the next, paired by draw. Without an interval
        `low` and `high` are None.
    """
    until = clock.spent_s + seconds
    for count, arm, n in ((min(count, n_draws), arm, n) for count in COUNTS for arm in arms for n in sizes(draws)):
        left = until - clock.spent_s
        if left <= 0 or not trials.run_each(f"{arm}, {n} labels", {arm: seeds(count)}, nested(draws, n), clock, left, workers):
            break
    points, gains = [], []
    for arm in arms:
        of_arm = dict(_measured(trials, arm, draws, n_draws))
        for n, values in of_arm.items():
            mean, low, high = resampled.interval(values, draws.share, ACCURACY)
            points.append({"name": str(arm), "n_labels": n, "mean": mean, "low": low, "high": high, "n": len(values)})
        if arm == arms[0]:
            numbers = list(of_arm)
            gains = [_gain(of_arm, first, last, draws) for first, last in pairwise(numbers)]
    return plain(points), plain(gains)


def _measured(trials: Trials, arm: Arm, draws: Draws, n_draws: int) -> Iterator[tuple[int, np.ndarray]]:
    """Numbers of labels, rising, and the accuracies of as many first draws as are all done."""
    for n in sorted({*sizes(draws), draws.n_labels}):
        for count in (n_draws,) if n == draws.n_labels else sorted({min(count, n_draws) for count in COUNTS}, reverse=True):
            [values] = trials.scores([arm], seeds(count), nested(draws, n))
            if len(values) and np.isfinite(values).all():
                yield n, values
                break


def _gain(of_arm: dict[int, np.ndarray], first: int, last: int, draws: Draws) -> dict[str, Any]:
    """Percentage points that a number of labels is above a smaller one, on the draws that both have."""
    n = min(len(of_arm[first]), len(of_arm[last]))
    mean, low, high = resampled.interval(of_arm[last][:n] - of_arm[first][:n], draws.share, DIFFERENCE)
    return {"from": first, "to": last, "points": mean, "low": low, "high": high, "n": n}
