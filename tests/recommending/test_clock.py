"""The time is counted from the start of the process, and what runs when a part of it is over ends, its workers with it."""

import time

import pytest

from stages.lib.workers import pool
from stages.recommending.clock import Clock, TimeUp, since_start_s


def test_what_still_runs_ends_and_the_same_workers_go_on():
    clock = Clock(1.0)
    with pool.Pool(str, ("nothing",), processes=1) as workers:
        list(workers.run_all(str, [1]))
        began = time.monotonic()
        with pytest.raises(TimeUp), clock.at_most(0.3):
            list(workers.run_all(time.sleep, [60.0]))
        assert time.monotonic() - began < 30
        assert [result for _, result, _ in workers.run_all(str, [2])] == ["2"]


def test_no_time_is_over_at_once_and_an_end_in_time_leaves_no_alarm():
    clock = Clock(1.0, spent_s=59.9)
    assert clock.left_before(5.0) == 0.0
    with pytest.raises(TimeUp), clock.at_most(0.0):
        pytest.fail("the block has begun")
    with clock.at_most(0.05):
        pass
    time.sleep(0.1)


def test_the_start_of_the_process_lies_in_the_past():
    first = since_start_s()
    assert 0 < first <= since_start_s()
