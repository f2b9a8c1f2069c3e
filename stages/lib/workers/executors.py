"""The choice of where tasks run: on processes of this machine, or on those of a Ray cluster. Both take the same calls."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from typing import Any, Protocol

from stages.lib.settings.sections import GridSettings
from stages.lib.workers import pool


class Workers(Protocol):
    """Processes that run tasks, one thread each."""

    processes: int  # that run at once

    def run_all(self, function: Callable[[Any], Any], tasks: Sequence[Any]) -> Iterator[tuple[Any, Any | None, Exception | None]]:
        """Run `function` on every task, begun in the order given, and yield (task, result, error) as each ends."""


def workers(settings: GridSettings, preload: Sequence[str]) -> AbstractContextManager[Workers]:
    """The workers that the settings ask for; `preload`: modules that they import before their first task."""
    if settings.executor == "ray":
        from stages.lib.workers.cluster import Cluster  # here, as Ray is an extra

        return Cluster(settings.address, settings.per_gpu)
    return pool.Pool(pool.settle_in, processes=local(settings), preload=preload)


def local(settings: GridSettings) -> int:
    """How many processes of this machine compute."""
    return settings.workers or pool.workers(settings.per_gpu)
