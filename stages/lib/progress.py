"""Progress bars: a moving bar on a terminal, elsewhere a line every few seconds."""

import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

from tqdm import tqdm


def bar(items: Iterable | None = None, *, title: str, total: int | None = None, unit: str = "it", hidden: bool = False) -> tqdm:
    """A tqdm bar on stderr; where stderr is no terminal, it writes at most a line every few seconds."""
    every_s = 0.2 if sys.stderr.isatty() else 5.0
    return tqdm(items, desc=title, total=total, unit=unit, file=sys.stderr, mininterval=every_s, disable=hidden, **_plain())


@contextmanager
def bytes_bar(title: str) -> Iterator[Callable[[int, int | None], None]]:
    """A bar for a download; the function that it yields takes the bytes received and, where known, the bytes of the whole file."""
    with tqdm(desc=title, unit="B", unit_scale=True, file=sys.stderr, mininterval=0.2 if sys.stderr.isatty() else 5.0, **_plain()) as shown:

        def progress(done: int, total: int | None) -> None:
            shown.total = total
            shown.update(done - shown.n)

        yield progress


def _plain() -> dict[str, Any]:
    return {"dynamic_ncols": True} if sys.stderr.isatty() else {"ncols": 100, "ascii": True}


def log(line: str) -> None:
    """Write a line to stderr without breaking a bar."""
    tqdm.write(line, file=sys.stderr)
