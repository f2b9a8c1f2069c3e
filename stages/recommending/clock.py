"""The time that a recommendation may take: what is left of it, and an end to whatever still runs when a part of it is over."""

import multiprocessing
import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType

from stages.lib.workers.executors import Workers

AGAIN_S = 5.0  # after which the end is called out again, should the first call have been lost in code that Python does not let raise


class TimeUp(Exception):  # noqa: N818  no error: the end of a part
    """The time that a part of the work had is over; what it has finished is in the store."""


class Clock:
    """Counts from its making.

    Args:
        minutes: that all of it may take.
        spent_s: what was spent before.
    """

    def __init__(self, minutes: float, spent_s: float = 0.0):
        self._started, self.total_s = time.monotonic() - spent_s, 60 * minutes
        self.start_s = 0.0  # that a process that computes takes to begin on this machine, as busy as it is; `begin` measures it

    @property
    def spent_s(self) -> float:
        return time.monotonic() - self._started

    @property
    def left_s(self) -> float:
        return self.total_s - self.spent_s

    def left_before(self, reserved_s: float) -> float:
        """Seconds that are left when so many are kept for what follows; not below 0."""
        return max(0.0, self.left_s - reserved_s)

    def begin(self, workers: Workers) -> None:
        """Have processes begin, and note how long that takes."""
        started = self.spent_s
        list(workers.run_all(str, range(workers.processes)))
        self.start_s = self.spent_s - started

    @contextmanager
    def at_most(self, seconds: float) -> Iterator[None]:
        """The block ends with TimeUp once these seconds are over. To be used in the main thread, and not within itself."""
        if seconds <= 0:
            raise TimeUp

        def ring(number: int, frame: FrameType | None) -> None:
            for child in multiprocessing.active_children():  # which would first end what they are at; the store holds whole cells alone
                child.terminate()
            raise TimeUp

        before = signal.signal(signal.SIGALRM, ring)
        signal.setitimer(signal.ITIMER_REAL, seconds, AGAIN_S)
        try:
            yield
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
            signal.signal(signal.SIGALRM, before)


def since_start_s() -> float:
    """Seconds since this process was started, its imports included; 0 where the system does not say."""
    with suppress(OSError, ValueError, IndexError):
        ticks = int(Path("/proc/self/stat").read_text().rsplit(")", 1)[1].split()[19])
        return max(0.0, time.clock_gettime(time.CLOCK_BOOTTIME) - ticks / os.sysconf("SC_CLK_TCK"))
    return 0.0
