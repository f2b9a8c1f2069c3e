"""The page of a recommendation: one self-contained HTML file in the style of the report. The same answer gives the same bytes."""

import base64
import io
import math
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from jinja2 import Environment, StrictUndefined
from markupsafe import Markup

from stages.lib.datasets.pictures import Pictures, as_picture
from stages.lib.errors import RunError
from stages.lib.report import figures
from stages.lib.report.web import page as report
from stages.lib.report.web import svg
from stages.lib.report.wording import block_text, counted, listed, number, signed
from stages.lib.store import files
from stages.recommending.answer import HOW_SURE, Answer, Ranked
from stages.recommending.shown import figures as drawn

TEMPLATE, STYLE = Path(__file__).with_name("index.html.j2"), Path(__file__).with_name("index.css")
NAME = "index.html"
ROWS = 10  # of the ranking that are shown at once
PICTURES = 24  # of images that the model gets wrong
MOST_CLASSES = 12  # of a table of confusions; of more classes the pairs that are confused most
SIDE = 112  # pixels of a small picture
QUALITY = 82  # of these, as JPEG
STEPS = (2, 5, 10, 20, 25, 50)  # percentage points between the ticks of an axis
TICKS, HIGHEST = 5, 100


def write(path: Path, answer: Answer) -> None:
    """Write the page of an answer; its pictures are read from the folder that it is about."""
    examples = answer.examples if len(answer.classes) <= MOST_CLASSES else []
    shown = {name for name in examples if name} | {one["file"] for one in answer.wrong[:PICTURES]}
    files.write_bytes(path, render(answer, pictures(Path(answer.folder), sorted(shown))).encode())


def render(answer: Answer, small: dict[str, str]) -> str:
    """The page as text.

    Args:
        small: the picture of each image that is shown, as the address of an <img>.
    """
    marked, compared = drawn.looks(answer), [row for row in answer.ranking if row.mean is not None]
    svgs = {}
    if len({point["n_labels"] for point in answer.curve}) > 1:
        svgs["curve"] = figures.encode(drawn.curve(answer), "svg").decode()
    if any(row.mean is not None and row.seconds for row in answer.ranking):
        svgs["cost"] = figures.encode(drawn.cost(answer), "svg").decode()
    inlined, letters = svg.inlined(svgs, report.COLOURS)
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    environment.filters |= {"signed": signed, "number": known, "counted": counted, "listed": listed, "blocks": block_text, "si": si}
    return environment.from_string(TEMPLATE.read_text()).render(
        style=Markup(report.STYLE.read_text() + STYLE.read_text()), answer=answer, letters=letters, figures=inlined, pictures=small,
        colours={name: report.COLOURS.get(look.colour, look.colour) for name, look in marked.items()}, name=Path(answer.folder).name,
        place=Path(answer.model.get("folder", "")).parent.name,
        compared=compared, rows=ROWS, axes=[axes_of(compared[:ROWS]), axes_of(compared[ROWS:])], how_sure=HOW_SURE,
        behind=sum(row.status == "behind" for row in answer.ranking), pairs=pairs_of(answer.confusion, answer.classes),
        favourite=next((row.name for row in answer.ranking if row.source == answer.favourite), None), most=MOST_CLASSES, shown=PICTURES,
    )  # fmt: skip


class Axis:
    """A stretch of percent that a plot shows, and where on it a value lies."""

    def __init__(self, low: float, high: float, step: float):
        self.low, self.high = low, high
        self.ticks = [low + i * step for i in range(round((high - low) / step) + 1)]

    def place(self, value: float) -> str:
        """Percent of the width from the left."""
        return f"{100 * (value - self.low) / (self.high - self.low):.2f}"

    def width(self, low: float, high: float) -> str:
        return f"{100 * (high - low) / (self.high - self.low):.2f}"


def axis_of(intervals: Sequence[dict[str, Any]]) -> Axis | None:
    """The axis on which all these lie, of at most TICKS ticks; None without any."""
    values = [one[end] for one in intervals for end in ("low", "mean", "high")]
    if not values:
        return None
    least, most = min(values), max(values)
    for step in STEPS:
        low, high = step * math.floor(least / step), step * math.ceil(most / step)
        if high == low:
            low, high = (low, low + step) if low + step <= HIGHEST else (low - step, low)
        if (high - low) / step <= TICKS:
            break
    return Axis(low, high, step)


def axes_of(rows: Sequence[Ranked]) -> tuple[Axis | None, Axis | None]:
    """The axis of what decides, and that of what stands beside it."""
    return axis_of([_reach(row) for row in rows]), axis_of([row.beside for row in rows if row.beside])


def _reach(row: Ranked) -> dict[str, Any]:
    return {"mean": row.mean, "low": row.mean if row.low is None else row.low, "high": row.mean if row.high is None else row.high}


def pairs_of(confusion: list[list[int]], classes: list[str]) -> list[tuple[str, str, int]]:
    """The pairs of classes that are confused, most often first: true, given, how often."""
    found = [
        (classes[true], classes[given], count)
        for true, row in enumerate(confusion) for given, count in enumerate(row) if count and true != given
    ]  # fmt: skip
    return sorted(found, key=lambda pair: (-pair[2], pair[:2]))


def pictures(root: Path, paths: Iterable[str]) -> dict[str, str]:
    """Images of a folder, small and square, as addresses that hold their content; those that are gone are left out."""
    paths, found = list(paths), {}
    small = Pictures(root, paths, SIDE, 1.0, 3, None)
    for path in paths:
        try:
            image = as_picture(small.decoded(path))
        except RunError:
            continue
        content = io.BytesIO()
        image.save(content, "JPEG", quality=QUALITY)
        found[path] = f"data:image/jpeg;base64,{base64.b64encode(content.getvalue()).decode()}"
    return found


def known(value: float | None, digits: int = 1) -> str:
    """A number; a dash where it is not known."""
    return "–" if value is None or not math.isfinite(value) else number(value, digits)


def si(count: float) -> str:
    """A large number in short: `273 k`, `11.7 M`."""
    for unit, factor in (("G", 1e9), ("M", 1e6), ("k", 1e3)):
        if count >= factor:
            return f"{count / factor:.3g} {unit}"
    return f"{count:.0f}"
