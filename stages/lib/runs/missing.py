"""Pieces of work that the cell store does not hold, computed by all workers."""

from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager, nullcontext
from itertools import islice
from typing import Any, Protocol

from stages.lib.errors import RunError
from stages.lib.progress import bar, log
from stages.lib.settings.sections import GridSettings
from stages.lib.store import cells, files
from stages.lib.workers import executors

MOST_SHOWN = 3  # causes in an error, and pieces of each


class Piece(Protocol):
    """Work whose result is kept under a key, such as a training or an attack; the key may rest on files that are not there yet."""

    @property
    def key(self) -> str: ...


def is_done(kind: str, piece: Piece) -> bool:
    """Whether the store holds the result of a piece of work; it does not where the inputs of the piece are not there yet."""
    try:
        return cells.load(kind, piece.key) is not None
    except (RunError, OSError, ValueError):
        return False


def compute(
    title: str, kind: str, tasks: dict[str, Any], function: Callable[[Any], None], *, settings: GridSettings, preload: Sequence[str],
    unit: str, ended: Callable[[Any], None] = lambda task: None, inputs: Callable[[], None] = lambda: None, beside: Sequence[Any] = (),
    meanwhile: AbstractContextManager | None = None,
) -> None:  # fmt: skip
    """Run `function` on each task whose key the store lacks.

    Args:
        kind: that of the cells.
        tasks: the tasks by their keys; the first ones are begun first.
        function: keeps its result under the key.
        preload: modules that the workers need.
        ended: called with each task as it ends well.
        inputs: called first, where a task is to be run: opens what the tasks read, so that a damaged input is found before any work.
        beside: further tasks, for workers that these leave idle; an error in one is left to those who need its result.
        meanwhile: is left once the tasks have ended, before what was begun beside them is waited for.

    Raises:
        RunError: says how many tasks failed, and why.
    """
    absent = [task for key, task in tasks.items() if cells.load(kind, key, log) is None]
    if absent:
        can_keep(kind)
        inputs()
    with executors.workers(settings, preload) as workers, meanwhile or nullcontext():
        outcomes = ((task, error) for task, _, error in workers.run_all(function, [*absent, *beside]) if task not in beside)
        follow(title, len(tasks), absent, islice(outcomes, len(absent)), unit=unit, ended=ended)


def can_keep(kind: str) -> None:
    """Raises RunError where no cell of a kind can be kept here, so that nothing is computed which would then be lost."""
    probe = cells.folder(kind) / ".probe"
    try:
        probe.parent.mkdir(parents=True, exist_ok=True)
        probe.touch()
        probe.unlink()
    except OSError as error:
        why = error.strerror or error
        raise RunError(
            f"{cells.folder(kind)}: cannot be written: {why}; allowed: a folder that can be, as finished work is kept in it"
        ) from None


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
        RunError: says how many pieces failed, and why.
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
    if failed:
        in_order = [(str(piece), str(failed[piece]) or type(failed[piece]).__name__) for piece in absent if piece in failed]
        raise RunError(f"{title}: {len(failed)} of {total} {unit}s failed; the others are kept. {told(title, in_order)}")


def told(title: str, failed: list[tuple[str, str]]) -> str:
    """The causes of failures, each with the first pieces that it struck; where that leaves any out, all are in a file that is named.

    Args:
        failed: pieces and causes, in the order of the pieces, whichever ended first.
    """
    by_cause: dict[str, list[str]] = {}
    for piece, cause in failed:
        by_cause.setdefault(cause, []).append(piece)
    lines = [f"{'; '.join(_first(pieces))}: {cause}" for cause, pieces in list(by_cause.items())[:MOST_SHOWN]]
    if len(by_cause) <= MOST_SHOWN and all(len(pieces) <= MOST_SHOWN for pieces in by_cause.values()):
        return "; ".join(lines)
    whole = files.state_folder() / ".runs" / f"{title}.failed.txt"
    try:
        files.write_bytes(whole, "".join(f"{piece}: {cause}\n" for piece, cause in failed).encode())
    except RunError:
        return "; ".join(lines)  # where nothing can be written, that is a cause which stands here
    return f"{'; '.join(lines)}; all of them: {whole}"


def _first(pieces: list[str]) -> list[str]:
    return pieces if len(pieces) <= MOST_SHOWN else [*pieces[:MOST_SHOWN], f"and {len(pieces) - MOST_SHOWN} more"]
