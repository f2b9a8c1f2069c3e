"""Other numbers of labels are tested on the same images, so that what they are worth is paired; and what was not done in time is left out."""

from types import SimpleNamespace

import numpy as np
import pytest

from stages.recommending.clock import Clock
from stages.recommending.computing import beside
from stages.recommending.deciding.arms import Arm
from stages.recommending.images import draws

Y = np.repeat([0, 1, 2], [90, 60, 4])
ASKED = draws.Draws(Y, 60, 40)
WINNER, OTHER = Arm("natural", "1"), Arm("natural", "0")


@pytest.mark.parametrize("n", [15, 30, 114])
def test_draws_are_nested_and_tested_on_the_same_images(n):
    for seed in draws.seeds(20):
        learnt, tested = ASKED.draw(seed)
        other, same = beside.nested(ASKED, n).draw(seed)
        assert np.array_equal(same, tested)
        assert set(other) <= set(learnt) if n < 60 else set(learnt) < set(other)
        assert (len(other), set(Y[other])) == (n, {0, 1, 2})
        assert not set(other) & set(tested)


@pytest.mark.parametrize(("n_labels", "sizes"), [(60, [114, 30, 15]), (100, [50, 25]), (8, [114, 4]), (3, [114])])
def test_numbers_of_labels_of_a_curve(n_labels, sizes):
    assert beside.sizes(draws.Draws(Y, n_labels, 40)) == sizes


class Known:
    """Runs whose accuracy is known, of which only so many can be done in time."""

    def __init__(self, in_time: int):
        self.left, self.done = in_time, {}

    def run_each(self, title, wanted, of, clock, seconds, workers):
        [(arm, seeds)] = wanted.items()
        self.left -= 1
        if self.left >= 0:
            self.done |= {(arm, of.n_labels, seed): self.accuracy(arm, of.n_labels, seed) for seed in seeds}
        return self.left >= 0

    def accuracy(self, arm, n, seed):
        return 50 + (seed % 10) + {15: 0, 30: 6, 60: 10, 114: 13}[n] + (arm == WINNER)

    def scores(self, arms, seeds, of):
        asked = of.n_labels == ASKED.n_labels
        return np.array(
            [[self.accuracy(arm, 60, seed) if asked else self.done.get((arm, of.n_labels, seed), np.nan) for seed in seeds] for arm in arms]
        )


def curves(in_time: int, n_draws: int = 10):
    return beside.curves(Known(in_time), [WINNER, OTHER], ASKED, n_draws, SimpleNamespace(), Clock(1), 60.0)


def test_curves_hold_the_known_means_and_gains_are_paired():
    points, gains = curves(in_time=100)
    means = {(point["name"], point["n_labels"]): (point["mean"], point["n"]) for point in points}
    assert means == {
        (str(arm), n): (pytest.approx(54.5 + above + (arm == WINNER)), 10)
        for arm in (WINNER, OTHER) for n, above in ((15, 0), (30, 6), (60, 10), (114, 13))
    }  # fmt: skip
    assert [(gain["from"], gain["to"], gain["points"]) for gain in gains] == [(15, 30, 6), (30, 60, 4), (60, 114, 3)]
    assert all(gain["low"] == gain["points"] == gain["high"] for gain in gains), "what draws share cancels"


def test_what_was_not_done_in_time_is_left_out():
    points, gains = curves(in_time=1)
    assert [(point["name"], point["n_labels"], point["n"]) for point in points] == [
        (str(WINNER), 60, 10),
        (str(WINNER), 114, 5),
        (str(OTHER), 60, 10),
    ]
    assert [(gain["from"], gain["to"], gain["n"]) for gain in gains] == [(60, 114, 5)]
    assert curves(in_time=0)[1] == []


def test_of_fewer_draws_than_an_interval_takes_there_is_none():
    points, gains = curves(in_time=100, n_draws=2)
    assert {point["n"] for point in points} == {2}
    assert points[0]["low"] is None
    assert gains[0]["high"] is None
