"""Which sources and numbers of blocks go on: rounds of fine-tuning on paired draws, each with a part of the time that is left.

Successive halving (Jamieson & Talwalkar 2016; Karnin et al. 2013) gives each round as much time and drops the worse half after it. Here a
round takes the arms of the highest estimates, as many as its part of the time allows; an arm that is left over is not beaten, and a later
round may take it. An arm is dropped where it can be told from the leader. The favourite of a static list is never dropped.

Arms differ in cost by a factor of a hundred. Costs are learnt from the runs that were done: a pilot comes first, one arm of each
kind, each number of blocks of the most promising source before others.
"""

from collections.abc import Hashable
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np

from stages.lib.report.intervals import resampled
from stages.lib.report.statistics import LEVEL, MIN_N
from stages.lib.report.wording import counted
from stages.recommending.deciding import estimates
from stages.recommending.deciding.arms import Arm

ROUNDS = (1, 2, 5, 10, 20, 40)  # draws of each arm that takes part, or more where these cost nothing
PILOT, FIRST = 0.4, 0.8  # of the time, for the pilot at most, and for that of the most promising source alone
PARTS = (0.35, 0.25, 0.3, 0.4, 0.5, 1.0)  # of the time that is left, for each round
ERROR = (1 - LEVEL) / sum(last >= MIN_N for last in ROUNDS)  # of each look, so that all of them drop the best in 5 of 100 cases at most


class Runs(Protocol):
    """What computes runs, and how long that takes."""

    def left_s(self) -> float:
        """Seconds of one core that may still be spent."""

    def seconds(self, arm: Arm) -> float | None:
        """Seconds of a run of the arm on one core, as runs of its kind took them; None before the first of its kind."""

    def kind(self, arm: Arm) -> Hashable:
        """What decides the cost of a run of the arm."""

    def guess(self, arm: Arm) -> float:
        """Seconds of a run of the arm, roughly, before any of its kind was done."""

    def together(self, arm: Arm) -> int:
        """Runs of the arm that are computed at once, where so many are wanted; each then costs less."""

    def run(self, wanted: dict[Arm, tuple[int, int]], part: float = 1.0) -> bool:
        """Compute, of each arm, the draws from a number to another; False where this part of the time that is left was over before."""

    def scores(self, arms: list[Arm], last: int) -> np.ndarray:
        """Accuracies in percent on the images that decide, [arms, last]; NaN where a run is not done."""


@dataclass
class Course:
    """What happened: the arms that are left, and why others went, in words."""

    standing: list[Arm] = field(default_factory=list)  # the best first
    n_draws: int = 0  # that all of these have
    dropped: dict[Arm, str] = field(default_factory=dict)
    aside: dict[Arm, str] = field(default_factory=dict)  # not beaten
    rounds: list[str] = field(default_factory=list)  # a line for each round


def race(arms: list[Arm], favourite: Arm, share: float, runs: Runs, features: dict[str, float]) -> Course:
    """Rounds of fine-tuning until one arm is left, all rounds are done, or the time is over.

    Args:
        arms: those that are compared, the most promising source first.
        favourite: the arm that is never dropped.
        share: what two draws share.
        features: the accuracy in percent of each source by its features, where that is known.
    """
    course, done = Course(), dict.fromkeys(arms, 0)
    pilot(arms, favourite, runs, done)
    for number, (last, part) in enumerate(zip(ROUNDS, PARTS, strict=True), 1):
        left = [arm for arm in arms if arm not in course.dropped]
        if len(left) == 1 and course.n_draws:
            break
        going = affordable(_ranked(left, runs, done, features), last, part, runs, done)
        if len(going) < 2 and course.n_draws:
            course.rounds.append(f"round {number}: no time to tell apart what is left")
            break
        in_time = _compute(runs, done, going)
        whole = [arm for arm in going if done[arm] >= last]
        if whole and (in_time or not course.n_draws or len(whole) > 1):
            course.standing, course.n_draws = whole, last
        gone = drop(course, runs.scores(course.standing, last), share, favourite) if course.n_draws == last >= MIN_N else []
        over = "" if in_time else "; then the time was over"
        course.rounds.append(
            f"round {number}: {counted(len(whole), 'choice')} with {counted(last, 'draw')} each, {len(gone)} dropped{over}"
        )
        if not in_time:
            break
    course.standing = _ranked(course.standing, runs, dict.fromkeys(course.standing, course.n_draws), features)
    for arm in arms:
        if arm not in course.dropped and arm not in course.standing:
            course.aside[arm] = f"no time for more than {counted(done[arm], 'draw')}" if done[arm] else "no time"
    return course


def pilot(arms: list[Arm], favourite: Arm, runs: Runs, done: dict[Arm, int]) -> None:
    """Run the first arm of each kind, and the favourite, as far as the pilot's time goes; whole networks after parts of them."""
    first = [*dict.fromkeys([*{runs.kind(arm): arm for arm in reversed(arms)}.values(), favourite])]
    order = sorted(first, key=lambda arm: (arm.source != arms[0].source, arm.blocks))
    for whole in (False, True):
        left, able, cost = runs.left_s(), {}, 0.0
        for arm in (arm for arm in order if (arm.blocks == "all") == whole):
            part = FIRST if arm.source == arms[0].source and not whole else PILOT
            for n in (runs.together(arm), 1):
                if arm not in able and cost + runs.guess(arm) * n <= part * left:
                    able[arm], cost = n, cost + runs.guess(arm) * n
        if able:
            _compute(runs, done, able, PILOT if whole else FIRST)
    if not any(done.values()) and runs.left_s() > 0:  # better one number of blocks in all of the time than nothing
        _compute(runs, done, {arm: 1 for arm in order if arm.blocks == min(other.blocks for other in order)})


def affordable(order: list[Arm], last: int, part: float, runs: Runs, done: dict[Arm, int]) -> dict[Arm, int]:
    """The arms that take part in a round, with the number of draws that each has after it.

    Args:
        order: the arms, the best first.
        last: draws that each is to have at least.
        part: of the time that is left, for this round; the first two arms may take all of it.

    Returns:
        None of them where there is no time for the leader, the first arm that has a run: a round without it tells nothing.
    """
    left, leader = runs.left_s(), next((arm for arm in order if done[arm]), None)
    allowed, going = part * left, {}
    for arm in order:
        known = runs.seconds(arm)
        seconds = runs.guess(arm) if known is None else known
        for goal in (max(last, runs.together(arm)), last) if done[arm] < last else (done[arm],):
            cost = seconds * (goal - done[arm])
            if arm not in going and cost <= (left if len(going) < 2 else allowed):
                going[arm] = goal
                allowed, left = allowed - cost, left - cost
        if arm == leader and arm not in going:
            return {}
    return going


def _compute(runs: Runs, done: dict[Arm, int], goals: dict[Arm, int], part: float = 1.0) -> bool:
    """Run each arm up to its number of draws, and note in `done` what came of it; returns whether all was done in time."""
    wanted = {arm: (done[arm], goal) for arm, goal in goals.items() if goal > done[arm]}
    in_time = runs.run(wanted, part) if wanted else True
    for arm, (_, goal) in wanted.items():
        missing = np.flatnonzero(np.isnan(runs.scores([arm], goal)[0]))
        done[arm] = int(missing[0]) if len(missing) else goal
    return in_time


def _ranked(arms: list[Arm], runs: Runs, done: dict[Arm, int], features: dict[str, float]) -> list[Arm]:
    """The arms by their estimates, the highest first."""
    most = max(done.values(), default=0)
    values = runs.scores(arms, most) if most else np.empty((len(arms), 0))
    for arm, row in zip(arms, values, strict=True):
        row[done[arm] :] = np.nan
    found = estimates.of(arms, values, features)
    return [arms[i] for i in np.argsort(-found, kind="stable")]


def drop(course: Course, values: np.ndarray, share: float, favourite: Arm) -> list[Arm]:
    """Drop the arms that can be told from the leader, but for the favourite; returns them. values: [standing, draws]."""
    leader = course.standing[int(values.mean(1).argmax())]
    found = resampled.compare(values, share, ERROR)
    gone = [arm for arm, one in zip(course.standing, found, strict=True) if not one.may_be_best and arm != favourite]
    for arm, one in zip(course.standing, found, strict=True):
        if arm in gone:
            course.dropped[arm] = f"{one.behind:.1f} points behind {leader} on {values.shape[1]} draws (at least {one.low:.1f})"
    course.standing = [arm for arm in course.standing if arm not in gone]
    return gone


def tied(standing: list[Arm], values: np.ndarray, share: float) -> list[Arm]:
    """The arms that may be the best, the leader first. values: [standing, draws], at least one; of fewer than MIN_N none is told apart."""
    order = np.argsort(-values.mean(1), kind="stable")
    if values.shape[1] < MIN_N:
        return [standing[i] for i in order]
    found = resampled.compare(values, share, ERROR)
    return [standing[i] for i in order if found[i].may_be_best]
