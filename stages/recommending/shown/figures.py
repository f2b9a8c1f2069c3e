"""Figures of a recommendation: accuracy by the number of labels, and by what a run costs. Drawn to fit a phone.

A choice that may be the best and has a curve has a colour and a marker, the same on the whole page; all others are grey.
"""

from collections import Counter

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, NullLocator

from stages.lib.report import figures
from stages.lib.report.figures import MUTED, PAPER
from stages.lib.report.looks import Look, looks_of_targets
from stages.lib.report.web import svg
from stages.lib.report.wording import counted, number
from stages.recommending.answer import Answer, Ranked
from stages.recommending.computing.beside import CURVES

SIZE = (4.7, 3.3)  # inches; at 330 pixels a side of a phone its letters have 10 pixels
FONTS = {"font.size": 11.0, "axes.labelsize": 11.0, "xtick.labelsize": 10.5, "ytick.labelsize": 10.5, "legend.fontsize": 10.5}
LEAST_SPAN = 8.0  # percentage points of an axis
SECONDS = (0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 30, 60, 120, 300, 600, 1200, 1800, 3600)


def looks(answer: Answer) -> dict[str, Look]:
    """Of the choices that have a colour."""
    return looks_of_targets(answer.tied[:CURVES])


@figures.drawing
def curve(answer: Answer) -> Figure:
    """Accuracy on the images that decide by the number of labels; that of the winner with its 95 % interval."""
    figure, ax = _canvas()
    marked, sizes = looks(answer), sorted({point["n_labels"] for point in answer.curve})
    for name, look in reversed(marked.items()):  # the winner on top
        points = [point for point in answer.curve if point["name"] == name]
        if len(points) < 2:
            continue
        at, means = [point["n_labels"] for point in points], [point["mean"] for point in points]
        if name == answer.winner.name and all(point["low"] is not None for point in points):
            ax.fill_between(at, *([point[end] for point in points] for end in ("low", "high")), color=look.colour, alpha=0.13, linewidth=0)
        [line] = ax.plot(at, means, **figures.style(look))
        line.set_gid(svg.points([f"{name}, {counted(point['n_labels'], 'label')}: {_interval(point)}" for point in points]))
    figures.size_axis(ax, [str(size) for size in sizes], slanted=False)
    ax.set(xlabel="labels", ylabel=_measure(answer))
    _at_least(ax)
    lines = Counter(point["name"] for point in answer.curve)
    _legend(figure, [Line2D([], [], label=name, **figures.style(look)) for name, look in marked.items() if lines[name] > 1])
    return figure


@figures.drawing
def cost(answer: Answer) -> Figure:
    """Accuracy of each choice by the seconds that its run takes on one core, with 95 % intervals."""
    figure, ax = _canvas()
    marked, rows = looks(answer), [row for row in answer.ranking if row.mean is not None and row.seconds]
    for row in reversed(rows):
        look = marked.get(row.name, Look(row.name, MUTED, "o", hollow=row.status == "aside"))
        known = row.low is not None
        alpha = 1.0 if row.name in marked else 0.55
        if known:
            ax.vlines(row.seconds, row.low, row.high, color=look.colour, linewidth=1.6 if row.name in marked else 0.9, alpha=alpha)
        style = figures.style(look) | {"linestyle": "", "alpha": alpha} | ({} if row.name in marked else {"markersize": 4.5})
        [point] = ax.plot([row.seconds], [row.mean], **style)
        point.set_gid(svg.points([f"{row.name}: {_interval(vars(row))}, {row.seconds:.1f} s a run"]))
    ax.set_xscale("log")
    low, high = min(row.seconds for row in rows) / 1.25, max(row.seconds for row in rows) * 1.25
    ax.set_xlim(low, high)
    ticks = [second for second in SECONDS if low <= second <= high]
    ax.set_xticks(ticks or [float(f"{(low * high) ** 0.5:.2g}")])
    ax.xaxis.set_minor_locator(NullLocator())
    ax.xaxis.set_major_formatter(FuncFormatter(lambda second, _: f"{second:g}"))
    ax.set(xlabel="seconds of a run, on one core", ylabel=_measure(answer))
    _at_least(ax)
    others = [Line2D([], [], label="all others", **figures.style(Look("", MUTED, "o")) | {"linestyle": "", "markersize": 4.5})]
    named = [Line2D([], [], label=name, **figures.style(look) | {"linestyle": ""}) for name, look in marked.items()]
    _legend(figure, named + (others if len(rows) > len(marked) else []))
    return figure


def _canvas() -> tuple[Figure, Axes]:
    matplotlib.rcParams.update(FONTS)  # until the end of `drawing`
    figure = Figure(figsize=SIZE, layout="constrained", facecolor=PAPER)
    return figure, figure.subplots()


def _measure(answer: Answer) -> str:
    return f"{answer.measures['mean'].partition(',')[0]}, %"  # without the radius, for which there is no room


def _at_least(ax: Axes) -> None:
    low, high = ax.get_ylim()
    middle, half = (low + high) / 2, max(high - low, LEAST_SPAN) / 2
    ax.set_ylim(max(middle - half, -1.0), min(middle + half, 101.0))


def _legend(figure: Figure, handles: list[Line2D]) -> None:
    figure.legend(handles=handles, loc="outside lower left", ncols=1, handlelength=1.8, labelspacing=0.3)


def _interval(one: dict | Ranked) -> str:
    between = f" ({number(one['low'])} to {number(one['high'])})" if one["low"] is not None else ""
    return f"{number(one['mean'])} %{between}, {counted(one['n'], 'draw')}"
