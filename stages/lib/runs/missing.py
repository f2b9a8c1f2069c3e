"""Pieces of work that the cell store does not hold, computed by all workers."""

from collections.abc import Callable, Sequence
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
    """Run `function` on each task whose key the store lacks; what fails is listed at the end, and stops nothing else.

    Args:
        kind: of the cells.
        tasks: by their keys; `str` of one says in an error which it is. The first ones are begun first.
        function: keeps its result under the key.
        preload: modules that the workers need.
        ended: called with each task as it ends well.

    Raises:
        RunError: names each task that failed, and why.
    """
    absent = [task for key, task in tasks.items() if cells.load(kind, key, log) is None]
    failed: dict[Any, str] = {}
    with bar(title=title, total=len(tasks), unit=unit) as progress:
        progress.update(len(tasks) - len(absent))
        with executors.workers(settings, preload) as workers:
            for task, _, error in workers.run_all(function, absent):
                progress.update()
                if error is None:
                    ended(task)
                else:
                    failed[task] = f"{task}: {error}"
    if failed:  # in the order of the tasks, whichever ended first
        told = "; ".join(failed[task] for task in absent if task in failed)
        raise RunError(f"{title}: {len(failed)} of {len(tasks)} failed; the others are kept. {told}")
