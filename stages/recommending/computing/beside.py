"""What is measured beside the answer, in the time that is left: accuracy under attack, and accuracy by the number of labels."""

from collections.abc import Iterator
from dataclasses import replace
from itertools import pairwise
from typing import Any

import numpy as np

from stages.lib.datasets import sets
from stages.lib.report.binomial import wilson
from stages.lib.report.intervals import resampled
from stages.lib.report.statistics import ACCURACY, DIFFERENCE, MIN_N
from stages.lib.runs.grid import Cell
from stages.lib.workers import executors
from stages.recommending.answer import plain
from stages.recommending.clock import Clock
from stages.recommending.computing import attacks
from stages.recommending.computing.trials import Trials
from stages.recommending.deciding.arms import Arm
from stages.recommending.images.draws import Draws, seeds

CURVES = 4  # choices whose accuracy by the number of labels is shown: the winner, and the first that cannot be told from it
PARTS = (4, 2)  # of the labels that were asked for
FEWEST_MORE = 1.2  # times as many labels are worth a point of the curve


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
    if seconds <= 0 or not attacks.run_on(workers, f"under attack: {cell.source}", [asked], clock, seconds):
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
    least, until = seeds(min(MIN_N, n_draws)), clock.spent_s + seconds
    for arm, n in ((arm, n) for arm in arms for n in sizes(draws)):
        left = until - clock.spent_s
        if left <= 0 or not trials.run_each(f"{arm}, {n} labels", {arm: least}, replace(draws, n_labels=n), clock, left, workers):
            break
    points, gains = [], []
    for arm in arms:
        of_arm = dict(_measured(trials, arm, draws, least, n_draws))
        for n, values in of_arm.items():
            mean, low, high = resampled.interval(values, draws.share, ACCURACY)
            points.append({"name": str(arm), "n_labels": n, "mean": mean, "low": low, "high": high, "n": len(values)})
        if arm == arms[0]:
            numbers = list(of_arm)
            gains = [_gain(of_arm, first, last, draws) for first, last in pairwise(numbers)]
    return plain(points), plain(gains)


def _measured(trials: Trials, arm: Arm, draws: Draws, least: list[int], n_draws: int) -> Iterator[tuple[int, np.ndarray]]:
    """Numbers of labels, rising, and the accuracies of the draws, where all of these are done."""
    for n in sorted({*sizes(draws), draws.n_labels}):
        [values] = trials.scores([arm], seeds(n_draws) if n == draws.n_labels else least, replace(draws, n_labels=n))
        if np.isfinite(values).all() and len(values):
            yield n, values


def _gain(of_arm: dict[int, np.ndarray], first: int, last: int, draws: Draws) -> dict[str, Any]:
    """Percentage points that a number of labels is above a smaller one, on the draws that both have."""
    n = min(len(of_arm[first]), len(of_arm[last]))
    mean, low, high = resampled.interval(of_arm[last][:n] - of_arm[first][:n], draws.share, DIFFERENCE)
    return {"from": first, "to": last, "points": mean, "low": low, "high": high, "n": n}
