"""What all figures of the report share: colours, panels, lines with their intervals, axes and legends, and the bytes of a file.

How a source or target looks is said in `looks`. A figure is in no global state. Accuracy is in percent, differences in points.
"""

import io
from collections.abc import Callable, Iterable, Sequence
from functools import wraps
from typing import Any

import matplotlib
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure, SubFigure
from matplotlib.lines import Line2D
from matplotlib.ticker import FixedLocator, NullLocator

from stages.lib.report.looks import INK, Look
from stages.lib.report.web import svg
from stages.lib.report.wording import images, number, size_order

MUTED, GRID, PAPER, WRONG = "#5f6b7a", "#dfe3e8", "#ffffff", "#d6336c"
WIDTH = 9.6  # inches, of every figure
POINTS = 72  # in an inch
LETTER, BESIDE = 5.0, 44.0  # points: the mean width of a letter in a legend, and the room that a line and its spaces take there
THIN = "PX*"  # markers that look smaller than the others
PLACES = {"size": images, "epoch": "epoch {:g}".format, "eps": "eps {:.3g}".format, "setting": "{:g}".format}  # what a column of x says
RC = {
    **sns.axes_style("ticks"), "svg.hashsalt": "robust-transfer", "font.family": ["DejaVu Sans"], "font.size": 9.0, "axes.titlesize": 9.5,
    "axes.titleweight": "bold", "axes.titlelocation": "left", "axes.labelsize": 9.0, "xtick.labelsize": 8.5, "ytick.labelsize": 8.5,
    "axes.edgecolor": MUTED, "axes.labelcolor": MUTED, "xtick.color": MUTED, "ytick.color": MUTED, "text.color": INK,
    "axes.titlecolor": INK,
    "axes.spines.top": False, "axes.spines.right": False, "axes.grid": True, "grid.color": GRID, "grid.linewidth": 0.8,
    "axes.axisbelow": True, "figure.facecolor": PAPER, "axes.facecolor": PAPER, "legend.frameon": False, "legend.fontsize": 9.0,
    "figure.titlesize": 11.5, "figure.titleweight": "bold", "lines.linewidth": 2.0, "image.composite_image": False,
}  # fmt: skip


def drawing(draw: Callable[..., Figure]) -> Callable[..., Figure]:
    """Draws under this module's settings, and leaves matplotlib's own settings as they were."""

    @wraps(draw)
    def wrapped(*args: Any, **kwargs: Any) -> Figure:
        with matplotlib.rc_context(RC):
            return draw(*args, **kwargs)

    return wrapped


def encode(figure: Figure, kind: str) -> bytes:
    """The figure as `svg` or `png`: the same bytes for the same figure, with no date and no version inside."""
    metadata = {} if kind == "svg" else {"Software": None}
    buffer = io.BytesIO()
    with matplotlib.rc_context(RC):
        figure.savefig(buffer, format=kind, metadata=metadata, dpi=160)
    figure.set_layout_engine("none")  # it is laid out: the next file needs not do it again
    return svg.tidy(buffer.getvalue()) if kind == "svg" else buffer.getvalue()


def facets(count: int, title: str, columns: int = 4, sharey: bool = True, height: float = 3.0) -> tuple[Figure, list[Axes]]:
    """A figure with `count` panels in rows of at most `columns`, evenly filled, its title at the upper left."""
    rows = -(-count // columns)
    columns = max(1, -(-count // max(1, rows)))
    figure = canvas(title, 0.95 + height * rows)
    return figure, grid(figure, count, columns, sharey)


def canvas(title: str, height: float) -> Figure:
    figure = Figure(figsize=(WIDTH, height), layout="constrained")
    figure.get_layout_engine().set(w_pad=0.08, h_pad=0.08, wspace=0.03)
    figure.suptitle(title, x=0.012, ha="left")
    return figure


def grid(figure: Figure | SubFigure, count: int, columns: int, sharey: bool = True) -> list[Axes]:
    """`count` panels in rows of `columns`."""
    axes = list(figure.subplots(-(-count // columns), columns, squeeze=False, sharey=sharey).flat)
    for ax in axes[count:]:
        ax.set_visible(False)
    return axes[:count]


def lines(ax: Axes, rows: pd.DataFrame, x: str, looks: dict[str, Look], key: str) -> None:
    """A line of means for each value of `key`, with its interval as a band, or as a bar where there is one point.

    Args:
        rows: the columns x, key, mean, and low and high where there are intervals.
    """
    shown = [name for name in looks if name in set(rows[key])]
    alone = rows[x].nunique() == 1  # one point each: side by side
    for i, name in enumerate(shown):
        look, line = looks[name], rows[rows[key] == name].sort_values(x)
        at = line[x] * 1.04 ** (i - (len(shown) - 1) / 2) if alone else line[x]
        [drawn] = ax.plot(at, line["mean"], **style(look))
        if look.marker:
            drawn.set_gid(svg.points([point_text(look, row) for row in line[line["mean"].notna()].to_dict("records")]))
        if "low" not in line or line["low"].isna().all():
            continue
        if alone:
            ax.errorbar(
                at, line["mean"], [line["mean"] - line["low"], line["high"] - line["mean"]], color=look.colour, capsize=4, fmt="none"
            )
        ax.fill_between(at, line["low"], line["high"], color=look.colour, alpha=0.16, linewidth=0)


def dots(ax: Axes, rows: pd.DataFrame, x: str, places: Sequence[str], looks: dict[str, Look], key: str) -> None:
    """A point with its interval for each series at each place, side by side."""
    shown = [name for name in looks if name in set(rows[key])]
    for i, name in enumerate(shown):
        look, line = looks[name], rows[rows[key] == name]
        at_x = np.array([list(places).index(place) for place in line[x]]) + 0.6 * ((i + 0.5) / len(shown) - 0.5)
        [drawn] = ax.plot(at_x, line["mean"], **style(look) | {"linestyle": ""})
        texts = [f"{row[x]}, {point_text(look, {k: v for k, v in row.items() if pd.notna(v)})}" for row in line.to_dict("records")]
        drawn.set_gid(svg.points(texts))
        if "low" in line:
            ax.vlines(at_x, line["low"], line["high"], color=look.colour, linewidth=1.4)
    ax.set_xticks(range(len(places)), places, rotation=30 if len(places) > 3 else 0, ha="right" if len(places) > 3 else "center")
    ax.set_xlim(-0.5, len(places) - 0.5)
    ax.grid(axis="x", visible=False)


def point_text(look: Look, row: dict[str, Any]) -> str:
    """What a point says where a pointer rests on it: `L2 0.5, 100 images: 81.7 (80.1 to 83.2), n = 20`."""
    where = ", ".join([look.label, *(say(row[column]) for column, say in PLACES.items() if column in row)])
    has_interval = "low" in row and pd.notna(row["low"])
    interval = f" ({number(row['low'])} to {number(row['high'])})" if has_interval else ""
    return f"{where}: {number(row['mean'])}{interval}" + (f", n = {row['n']}" if "n" in row else "")


def style(look: Look) -> dict[str, Any]:
    face, edge, width = (PAPER, look.colour, 1.2) if look.hollow else (look.colour, PAPER, 0.8)
    return {
        "color": look.colour, "linestyle": (0, look.dash) if look.dash else "-", "marker": look.marker, "markerfacecolor": face,
        "linewidth": RC["lines.linewidth"] / (2 if look.thin else 1), "markeredgecolor": edge, "markeredgewidth": width,
        "markersize": 8 if look.marker in THIN else 6,
    }  # fmt: skip


def size_axis(ax: Axes, sizes: Sequence[str], slanted: bool | None = None) -> None:
    """Logarithmic, with a tick at each number of images; `all`, whose number differs between targets, is the last."""
    places = size_places(sizes)
    slanted = len(places) > 4 if slanted is None else slanted
    ax.set_xscale("log")
    ax.xaxis.set_major_locator(FixedLocator(list(places.values())))
    ax.xaxis.set_minor_locator(NullLocator())
    ax.set_xticklabels([size_label(size, len(places)) for size in places])
    if slanted:
        ax.tick_params(axis="x", rotation=45)
        for label in ax.get_xticklabels():
            label.set(ha="right", rotation_mode="anchor")
    margin = 1.15 if len(places) > 1 else 1.3
    ax.set_xlim(min(places.values()) / margin, max(places.values()) * margin)


def size_places(sizes: Sequence[str]) -> dict[str, float]:
    """Where on the axis a size lies: at its number of images, `all` a step after the largest of these."""
    ordered = sorted(set(sizes), key=size_order)
    numbers = [float(size) for size in ordered if size != "all"] or [1.0]
    step = numbers[-1] / numbers[-2] if len(numbers) > 1 else 2.0
    return {size: numbers[-1] * step if size == "all" else float(size) for size in ordered}


def size_label(size: str, count: int) -> str:
    if size == "all":
        return size
    n = int(size)
    return f"{n:,}" if n < (1000 if count > 4 else 10000) else f"{n / 1000:.3g}k"


def zero_line(ax: Axes, name: str = "") -> None:
    """A line at zero, the difference of the reference from itself, which is called `name`; the axis shows both sides of it."""
    low, high = ax.get_ylim()
    span = max(high, 0) - min(low, 0)
    if high - low < 0.01 * span:  # all values are one
        low, high = low - 0.1 * span, high + 0.1 * span
    ax.set_ylim(min(low, -0.12 * span), max(high, 0.12 * span))
    ax.axhline(0, color=INK, linewidth=1.2)
    offset, va = ((4, -3), "top") if high > -low else ((4, 3), "bottom")  # on the side where no lines are
    ax.annotate(name, (0, 0), xycoords=ax.get_yaxis_transform(), xytext=offset, textcoords="offset points", va=va, fontsize=7.5)


def legend(figure: Figure | SubFigure, looks: dict[str, Look], shown: Iterable[str], columns: int = 7, side: str = "left") -> None:
    """Below all panels, what is shown; a second one may stand at the right of the first."""
    wanted = set(shown)
    handles = [Line2D([], [], label=look.label, **style(look)) for name, look in looks.items() if name in wanted]
    columns = _fitting([handle.get_label() for handle in handles], columns, figure.bbox.width / figure.dpi * POINTS)
    by_column = [handle for first in range(columns) for handle in handles[first::columns]]  # as matplotlib fills a legend
    figure.legend(handles=by_column, loc=f"outside lower {side}", ncols=columns, handlelength=2.6, columnspacing=1.5)


def _fitting(labels: list[str], most: int, width: float) -> int:
    """The columns of a legend that is filled row by row: as many as fit into a width in points."""
    for columns in range(min(most, len(labels)), 1, -1):
        if sum(BESIDE + LETTER * max(map(len, labels[first::columns])) for first in range(columns)) <= width:
            return columns
    return 1
