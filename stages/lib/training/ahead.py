"""Work that threads do ahead: the next batches are prepared while this one computes."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from typing import TypeVar

import torch

from stages.lib.machine import cores

T = TypeVar("T")
R = TypeVar("R")
MOST = 8  # threads; each holds a batch


def threads_for(device: torch.device) -> int:
    """How many threads prepare batches for a network on a device: none where the processor computes it, which has enough to do."""
    if device.type == "cpu":
        return 0
    return min(MOST, max(1, cores() // max(1, torch.cuda.device_count())))


def mapped(function: Callable[[T], R], items: Iterable[T], threads: int) -> Iterator[R]:
    """The results of a function of each item, in the order of the items; as many items as there are threads are worked on ahead.

    Args:
        threads: 0: each result is computed when it is asked for, by the caller.
    """
    if not threads:
        yield from map(function, items)
        return
    items = iter(items)
    executor = ThreadPoolExecutor(threads)
    try:
        begun = deque(executor.submit(function, item) for item in islice(items, threads))
        while begun:
            result = begun.popleft().result()
            begun.extend(executor.submit(function, item) for item in islice(items, 1))
            yield result
    finally:  # the caller wants no more, or a function raised
        executor.shutdown(cancel_futures=True)
