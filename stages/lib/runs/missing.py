"""Pieces of work that the cell store does not hold, computed by all workers."""

from collections.abc import Callable, Iterable, Sequence
from typing import Any

from stages.lib.errors import RunError
from stages.lib.progress import bar, log
from stages.lib.settings.sections import GridSettings
from stages.lib.store import cells
from stages.lib.workers import executors


def compute(
    title: str, kind: str, tasks: dict[str, Any], function: Callable[[Any], None], *, settings: GridSettings, preload: Sequence[str],
    unit: str, ended: Callable[[Any], None] = lambda task: None,
) -> None:  # fmt: skip
    """Run `function` on each task whose key the store lacks.

    Args:
        kind: that of the cells.
        tasks: the tasks by their keys; the first ones are begun first.
        function: keeps its result under the key.
        preload: modules that the workers need.
        ended: called with each task as it ends well.

    Raises:
        RunError: names each task that failed, and why.
    """
    absent = [task for key, task in tasks.items() if cells.load(kind, key, log) is None]
    with executors.workers(settings, preload) as workers:
        outcomes = ((task, error) for task, _, error in workers.run_all(function, absent))
        follow(title, len(tasks), absent, outcomes, unit=unit, ended=ended)


def follow(
    title: str, total: int, absent: Sequence[Any], outcomes: Iterable[tuple[Any, Exception | None]], *, unit: str,
    ended: Callable[[Any], None],
) -> None:  # fmt: skip
    """Show the progress of work in pieces; a piece that fails stops no other, and is listed at the end.

    Args:
        total: number of pieces, with those that the store held before.
        absent: pieces that are computed; `str` of a piece names it in an error.
        outcomes: each absent piece as it ends, with its error or None.
        ended: called with each piece as it ends well.

    Raises:
        RunError: names each piece that failed, and why.
    """
    failed: dict[Any, Exception] = {}
    with bar(title=title, total=total, unit=unit) as progress:
        progress.update(total - len(absent))
        for piece, error in outcomes:
            progress.update()
            if error is None:
                ended(piece)
            else:
                failed[piece] = error
    if failed:  # in the order of the pieces, whichever ended first
        told = "; ".join(f"{piece}: {failed[piece]}" for piece in absent if piece in failed)
        raise RunError(f"{title}: {len(failed)} of {total} {unit}s failed; the others are kept. {told}")
