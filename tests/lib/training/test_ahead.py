"""Work ahead: in order, no further than there are threads, and at an end when its caller is."""

import threading
import time

import pytest
import torch

from stages.lib.training import ahead


@pytest.mark.parametrize("threads", [0, 1, 3])
def test_results_come_in_the_order_of_the_items(threads):
    def slow_at_first(item: int) -> int:
        time.sleep(0.02 / (1 + item))
        return item**2

    assert list(ahead.mapped(slow_at_first, range(10), threads)) == [item**2 for item in range(10)]


@pytest.mark.parametrize(("threads", "begun"), [(0, 1), (3, 4)])
def test_no_more_is_done_ahead_than_there_are_threads(threads, begun):
    done = []
    results = ahead.mapped(lambda item: done.append(item) or item, range(20), threads)
    assert next(results) == 0
    results.close()  # waits for what was begun
    assert len(done) <= begun
    assert threading.active_count() < 20


@pytest.mark.parametrize("threads", [0, 2])
def test_an_error_reaches_the_caller_where_its_item_is(threads):
    def fails_at_two(item: int) -> int:
        if item == 2:
            raise ValueError("the image is broken")
        return item

    results = ahead.mapped(fails_at_two, range(5), threads)
    assert [next(results), next(results)] == [0, 1]
    with pytest.raises(ValueError, match="the image is broken"):
        next(results)


def test_work_is_done_by_others_only_where_there_are_threads():
    here = threading.get_ident()
    assert set(ahead.mapped(lambda _: threading.get_ident(), range(3), 0)) == {here}
    assert here not in set(ahead.mapped(lambda _: threading.get_ident(), range(3), 2))


def test_the_processor_prepares_nothing_ahead():
    assert ahead.threads_for(torch.device("cpu")) == 0
    assert 1 <= ahead.threads_for(torch.device("cuda")) <= ahead.MOST
