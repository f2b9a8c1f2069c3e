"""Rounds on simulated runs: how often equal arms are told apart, what intervals hold, and that the time is kept."""

import numpy as np
import pytest
import simulated
from simulated import POOL, TESTED, Table

from stages.lib.report.binomial import wilson
from stages.lib.report.intervals import resampled
from stages.recommending.deciding import halving
from stages.recommending.deciding.arms import Arm

SHARE = resampled.shared(TESTED, POOL)
SECONDS = {"0": 0.1, "1": 0.5, "all": 4.0}
ARMS = [Arm(source, blocks) for source in "abcd" for blocks in SECONDS]


def looks(values: np.ndarray) -> set[int]:
    """The arms that are dropped at any look, as each would be were none dropped before."""
    gone: set[int] = set()
    for last in (last for last in halving.ROUNDS if last >= 5):
        gone |= {i for i, one in enumerate(resampled.compare(values[:, :last], SHARE, halving.ERROR)) if not one.may_be_best}
    return gone


def test_of_equal_arms_one_is_seldom_called_the_best_and_one_as_good_as_the_best_seldom_dropped():
    for k in (2, 6, 20):
        found = [looks(values) for values in simulated.deciding(np.random.default_rng(k), np.full(k, 70.0), 200)]
        assert np.mean([len(gone) == k - 1 for gone in found]) <= 0.05, k
        assert np.mean([0 in gone for gone in found]) <= 0.05, k


def test_without_the_correction_they_would_be():
    """What the tests above can find: were draws taken as independent, equal arms would be told apart."""
    values = simulated.deciding(np.random.default_rng(0), np.full(6, 70.0), 100)
    wrong = [not resampled.compare(of_trial, 0.0, halving.ERROR)[0].may_be_best for of_trial in values]
    assert np.mean(wrong) > 0.2


def test_an_arm_that_is_far_better_is_found_alone():
    worth = np.array([95.0, *[65.0] * 5])
    found = [looks(values) for values in simulated.deciding(np.random.default_rng(1), worth, 50)]
    assert np.mean([gone == {1, 2, 3, 4, 5} for gone in found]) > 0.9


@pytest.mark.parametrize("draws", [5, 20])
def test_the_interval_of_an_arm_holds_what_it_reaches_on_all_images_there_are(draws):
    values = simulated.deciding(np.random.default_rng(2), np.array([70.0]), 1000, draws)[:, 0]
    intervals = np.array([resampled.interval(row, SHARE)[1:] for row in values])
    assert np.mean((intervals[:, 0] <= 70) & (intervals[:, 1] >= 70)) >= 0.94


def test_the_final_figure_is_free_of_the_choice_and_its_interval_holds():
    """Ten equal arms: the mean of the leader on what decided flatters it; the mean of its draws on other images does not."""
    rng, trials, n = np.random.default_rng(3), 600, 90
    decided = simulated.deciding(rng, np.full(10, 70.0), trials, 5).mean(2)
    hard = rng.beta(1.4, 0.6, (trials, n))  # the probability that an arm labels an image: 70 % on average
    final = 100 * (rng.random((5, trials, n)) < hard).mean((0, 2))
    assert decided.max(1).mean() > 73
    assert final.mean() == pytest.approx(70, abs=0.5)
    held = [low <= 70 <= high for low, high in (wilson(value, n) for value in final)]
    assert np.mean(held) >= 0.95


def raced(values: np.ndarray, left: float, favourite: Arm = ARMS[1], features: dict[str, float] | None = None):
    table = Table(ARMS, values, SECONDS, left)
    return halving.race(ARMS, favourite, SHARE, table, features or {}), table


@pytest.fixture
def values():
    worth = np.array([60, 70, 75, 50, 60, 65, 50, 60, 65, 50, 60, 90], float)  # the best is d with all blocks
    return simulated.deciding(np.random.default_rng(4), worth, 1)[0]


def test_with_time_enough_the_best_is_found_and_all_others_are_dropped_but_the_favourite(values):
    course, _ = raced(values, 1e6)
    assert course.standing[0] == Arm("d", "all")
    assert set(course.standing) | set(course.dropped) == set(ARMS)
    assert ARMS[1] in course.standing
    assert not course.aside


@pytest.mark.parametrize("left", [1.0, 5.0, 20.0, 60.0, 150.0])
def test_every_arm_is_accounted_for_and_the_time_is_kept(values, left):
    course, table = raced(values, left)
    assert table.left >= -1e-9
    assert sorted([*course.standing, *course.dropped, *course.aside]) == sorted(ARMS)
    assert len({*course.standing} & ({*course.dropped} | {*course.aside})) == 0
    assert all(table.n[table.rows[arm]] >= course.n_draws for arm in course.standing)


def test_a_kind_that_is_too_dear_is_set_aside_and_said(values):
    course, _ = raced(values, 3.5)
    assert {arm.blocks for arm in course.standing} <= {"0", "1"}
    assert course.standing
    assert course.aside[Arm("d", "all")] == "no time"


def test_the_favourite_is_never_dropped(values):
    worst = Arm("c", "0")
    course, table = raced(values, 1e6, favourite=worst)
    assert worst in course.standing
    assert table.n[table.rows[worst]] == halving.ROUNDS[-1]


@pytest.mark.parametrize("left", [6.0, 12.0, 25.0])
def test_there_is_no_round_without_the_leader(left):
    """A dear leader, for whose next draws there is no time, is not passed by the cheap ones."""
    worth = np.where([arm.blocks == "1" for arm in ARMS], 90.0, 40.0)
    course, _ = raced(simulated.deciding(np.random.default_rng(5), worth, 1)[0], left, features={"a": 60.0, "b": 50.0})
    assert course.standing[0].blocks == "1"


def test_no_time_at_all_leaves_nothing_standing(values):
    course, _ = raced(values, 0.0)
    assert (course.standing, course.n_draws) == ([], 0)
    assert set(course.aside) == set(ARMS)


def test_few_draws_tell_nothing_apart():
    values = np.array([[90.0, 91.0], [20.0, 21.0], [50.0, 51.0]])
    assert halving.tied(ARMS[:3], values, SHARE) == [ARMS[0], ARMS[2], ARMS[1]]
