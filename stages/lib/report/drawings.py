"""Drawings become files, several side by side; one whose numbers and code have not changed is taken from where it is kept.

Drawn figures are kept in `.cells/figures/` under the hash of all that decides them: their function's code, their arguments, and the
versions of what draws them.
"""

import hashlib
import json
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import is_dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from stages.lib.progress import bar
from stages.lib.report import figures
from stages.lib.report.section import Drawing
from stages.lib.store import cells, code, files
from stages.lib.workers import pool

KINDS = ("svg", "png")
KEPT = 1000  # files of drawn figures; the oldest are removed


@contextmanager
def processes() -> Iterator[pool.Pool | None]:
    """Processes that draw, begun at once, so that they are ready when the numbers are; None where there is one core alone."""
    if pool.workers() == 1:
        yield None
        return
    with pool.Pool(_nothing, preload=[figures.__name__]) as workers:
        workers.begin()
        yield workers


def draw_all(drawings: Sequence[Drawing], folder: Path, workers: pool.Pool | None = None) -> dict[str, str]:
    """Write every drawing to `folder` as SVG and PNG.

    Args:
        workers: processes that draw; None: this one.

    Returns:
        The SVGs as text, by name, in the order of the drawings.
    """
    keys = {drawing.name: key_of(drawing) for drawing in drawings}
    missing = [drawing for drawing in drawings if not all(_is_kept(_kept(keys[drawing.name], kind)) for kind in KINDS)]
    with bar(title="report: figures", total=len(drawings), unit="figure") as progress:
        progress.update(len(drawings) - len(missing))
        for drawing, contents in _drawn(missing, workers):
            for kind, content in contents.items():
                files.write_bytes(_kept(keys[drawing.name], kind), content)
            progress.update()
    svgs = {}
    for name, key in keys.items():
        for kind in KINDS:
            content = _kept(key, kind).read_bytes()
            files.write_bytes(folder / f"{name}.{kind}", content)
            if kind == "svg":
                svgs[name] = content.decode()
    _forget_old()
    return svgs


def _drawn(drawings: list[Drawing], workers: pool.Pool | None) -> Iterator[tuple[Drawing, dict[str, bytes]]]:
    if workers is None:
        yield from ((drawing, drawn(drawing)) for drawing in drawings)
        return
    for drawing, contents, error in workers.run_all(drawn, drawings):
        if error is not None:
            raise error
        yield drawing, contents


def drawn(drawing: Drawing) -> dict[str, bytes]:
    """The figure as the bytes of each kind of file."""
    figure = drawing.draw(*drawing.arguments)
    return {kind: figures.encode(figure, kind) for kind in KINDS}


def _nothing() -> None:
    """Nothing: a process that draws needs no preparation."""


def key_of(drawing: Drawing) -> str:
    """Hash of all that decides the files of a drawing."""
    made_by = [code.digest(drawing.draw.__module__, __name__), version("matplotlib"), version("seaborn")]
    deciding = [drawing.name, drawing.draw.__qualname__, drawing.arguments, made_by]
    return hashlib.sha256(json.dumps(deciding, default=_as_json).encode()).hexdigest()


def _as_json(value: Any) -> Any:
    """A value that JSON does not know, as one that it does: arrays by their hash, tables by their columns, dataclasses by their fields.

    Raises:
        TypeError: for a kind of value that no drawing has taken so far.
    """
    if isinstance(value, np.ndarray):
        return [str(value.dtype), value.shape, hashlib.sha256(np.ascontiguousarray(value).tobytes()).hexdigest()]
    if isinstance(value, pd.DataFrame):
        return [[str(name), str(column.dtype), column.tolist()] for name, column in value.items()]
    if is_dataclass(value):
        return vars(value)
    if isinstance(value, np.generic):
        return value.item()
    if value is pd.NA:
        return "NA"
    raise TypeError(f"{type(value).__name__}: no drawing takes one; allowed: numbers, text, arrays, tables, and collections of them")


def _kept(key: str, kind: str) -> Path:
    return cells.path_of("figures", key, f".{kind}")


def _is_kept(path: Path) -> bool:
    """Whether the file is there; if so it counts as new, so that a report that ends at the same time does not remove it."""
    try:
        os.utime(path)
    except FileNotFoundError:
        return False
    return True


def _forget_old() -> None:
    """Remove the files that no report has used for the longest time; another report may do the same at the same time."""
    ages = []
    for path in (path for kind in KINDS for path in cells.folder("figures").rglob(f"*.{kind}")):
        with suppress(FileNotFoundError):
            ages.append((path.stat().st_mtime_ns, path))
    for _, path in sorted(ages)[:-KEPT]:
        path.unlink(missing_ok=True)
