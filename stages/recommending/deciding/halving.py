"""Which sources and numbers of blocks go on: proxies prune sources, then rounds of fine-tuning on paired draws drop what is behind.

Successive halving (Jamieson & Talwalkar 2016) drops the worse half after each round. Here a round drops what can be told from the leader,
and nothing else: what cannot stays in, and so does the favourite of a static list. Where the time does not suffice for the next round of
all, the arms of the lowest means are set aside, which is said: they are not beaten.
"""

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from stages.lib.report.intervals import resampled
from stages.lib.report.statistics import LEVEL, MIN_N
from stages.recommending.deciding.arms import Arm, Scored

ROUNDS = (5, 10, 20, 40)  # draws that an arm has had after each round
ERROR = (1 - LEVEL) / len(ROUNDS)  # of each look, so that the best is dropped in any of them in 5 of 100 cases at most
LEAST_SOURCES = 4  # that are fine-tuned, whatever the proxies say
KEPT = 0.5  # of the sources, by the proxies


@dataclass
class Course:
    """What happened: the arms that are left, and why others went, in words."""

    standing: list[Arm]
    dropped: dict[Arm, str] = field(default_factory=dict)
    aside: dict[Arm, str] = field(default_factory=dict)  # not beaten
    n_draws: int = 0  # that all standing arms have
    rounds: list[str] = field(default_factory=list)  # a line for each round
    decided: bool = False  # whether one arm is left, or all rounds were done


def prune(scored: dict[str, Scored], share: float, always: str) -> tuple[list[str], dict[str, str]]:
    """The sources that are fine-tuned, the best first, and why the others are not.

    A source goes where the better of its two heads can be told from that of the best source, and it is in the worse half.

    Args:
        always: the source that stays in any case.
    """
    ranked = sorted((name for name in scored if np.isfinite(scored[name].best).all()), key=lambda name: -float(np.mean(scored[name].best)))
    if not ranked:
        return list(scored), {}
    found = dict(zip(ranked, resampled.compare(np.stack([scored[name].best for name in ranked]), share), strict=True))
    most = max(LEAST_SOURCES, round(KEPT * len(ranked)))
    kept = [name for i, name in enumerate(ranked) if i < most or found[name].may_be_best or name == always]
    out = {
        name: f"with frozen features {found[name].behind:.1f} points behind {ranked[0]} (at least {found[name].low:.1f})"
        for name in ranked
        if name not in kept
    }
    return kept + [name for name in scored if name not in found], out


def race(
    arms: list[Arm], favourite: Arm, share: float, *, run: Callable[[list[Arm], int, int], bool],
    scores: Callable[[list[Arm], int], np.ndarray], affordable: Callable[[list[Arm], int, int], list[Arm]],
) -> Course:  # fmt: skip
    """Rounds of fine-tuning until one arm is left, all rounds are done, or the time is over.

    Args:
        arms: those that are compared, the most promising first.
        favourite: the arm that is never dropped.
        share: what two draws share.
        run: computes the draws from a number to another of some arms; False where the time was over before.
        scores: [arms, draws] of the first draws, NaN where a run is not done.
        affordable: which of some arms, ranked, can go from a number of draws to another in the time that is left.
    """
    course = Course(list(arms))
    for number, (first, last) in enumerate(zip((0, *ROUNDS), ROUNDS, strict=False), 1):
        ranked = course.standing if not first else _ranked(course.standing, scores(course.standing, first))
        able = affordable(ranked, first, last)
        must = {ranked[0], favourite} if first else {ranked[0]}
        going = [arm for arm in ranked if arm in able or arm in must]
        if first and len([arm for arm in going if arm != favourite or arm == ranked[0]]) < 2 and len(ranked) > 2:
            course.rounds.append(f"round {number}: no time to tell apart what is left")
            break
        course.aside |= {arm: f"no time for more than {first} draws" if first else "no time" for arm in ranked if arm not in going}
        in_time = run(going, first, last)
        values = scores(going, last)
        whole = [arm for arm, row in zip(going, values, strict=True) if np.isfinite(row).all()]
        if not in_time and len(whole) < len(going):
            course.rounds.append(f"round {number}: the time was over with {len(whole)} of {len(going)} done")
            if not first:
                course.aside |= {arm: "no time" for arm in going if arm not in whole}
                course.standing, course.n_draws = whole, last if whole else 0
            else:
                course.standing = going
            break
        course.standing, course.n_draws = going, last
        gone = drop(course, values[:, :last], share, favourite)
        course.rounds.append(f"round {number}: {len(going)} with {last} draws each, {len(gone)} dropped")
        if len(course.standing) == 1 or (len(course.standing) == 2 and last == ROUNDS[-1]):
            course.decided = True
            break
    else:
        course.decided = True
    return course


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


def _ranked(arms: list[Arm], values: np.ndarray) -> list[Arm]:
    """The arms by their means, the highest first."""
    order = np.argsort(-np.nan_to_num(values.mean(1), nan=-1.0), kind="stable")
    return [arms[i] for i in order]


def tied(standing: list[Arm], values: np.ndarray, share: float) -> list[Arm]:
    """The arms that may be the best, the leader first. values: [standing, draws], at least one."""
    if values.shape[1] < MIN_N:
        return _ranked(standing, values)
    found = resampled.compare(values, share, ERROR)
    may = {arm for arm, one in zip(standing, found, strict=True) if one.may_be_best}
    return [arm for arm in _ranked(standing, values) if arm in may]
