"""What arms are expected to reach: how hard draws are is taken out, and what a source gains is carried over."""

import numpy as np
import pytest

from stages.recommending.deciding import estimates, pruning
from stages.recommending.deciding.arms import Arm, Scored

NAN = float("nan")


def test_how_hard_a_draw_is_counts_for_no_arm():
    values = np.array([[80.0, 60.0, 70.0], [82.0, 62.0, 72.0], [85.0, NAN, NAN], [NAN] * 3])
    found = estimates.adjusted(values)
    assert found[:3] == pytest.approx([70.0, 72.0, 75.0])  # the first draw is 10 points easier than the mean of all
    assert np.isnan(found[3])


def test_without_any_run_the_features_order_the_sources():
    arms = [Arm("a", "0"), Arm("b", "0"), Arm("unknown", "all")]
    found = estimates.of(arms, np.empty((3, 0)), {"a": 50.0, "b": 60.0})
    assert found[1] > found[0] >= found[2]


def test_what_more_blocks_gain_is_expected_of_other_sources():
    arms = [Arm("a", "0"), Arm("a", "3"), Arm("b", "0"), Arm("b", "3"), Arm("c", "3")]
    values = np.array([[60.0], [80.0], [70.0], [NAN], [NAN]])
    found = estimates.of(arms, values, {"a": 60.0, "b": 70.0, "c": 50.0})
    assert found[:3] == pytest.approx([60.0, 80.0, 70.0])
    assert found[3] > 80  # b was better with its head alone
    assert found[4] < 80  # c has worse features


def scored(*linear: float) -> Scored:
    return Scored(list(linear), list(linear), list(linear), 0.0, 0.0, 1.0)


def test_sources_that_are_told_from_the_best_go_but_the_favourite_stays():
    noise = np.array([0.0, 1.0, -1.0, 0.5, -0.5])
    sources = {name: scored(*(level + noise * (i + 1))) for i, (name, level) in enumerate({"a": 90, "b": 88, "c": 89, "d": 87}.items())}
    sources |= {"low": scored(*(40 + noise)), "favourite": scored(*(30 - noise))}
    kept, out = pruning.prune(sources, 0.3, "favourite")
    assert kept[0] == "a"
    assert set(kept) == {"a", "b", "c", "d", "favourite"}
    assert "50.0 points behind a" in out["low"]
