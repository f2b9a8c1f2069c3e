"""The paper's figures, drawn as Utrera et al. (2021) draw them, from the tables that `numbers` makes: a colour for each target."""

from collections.abc import Sequence
from dataclasses import replace

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure, SubFigure
from matplotlib.ticker import MaxNLocator

from stages.lib.report.figures import MUTED, canvas, drawing, facets, grid, legend, lines, size_axis, size_places, zero_line
from stages.lib.report.looks import Look, looks_in_order, looks_of_targets
from stages.lib.report.wording import images
from stages.studies.utrera2021.numbers import AUTHORS, MINUS_NATURAL, OURS, Numbers, subsets

LINES = {  # whatever their colour
    "robust": Look("robust", MUTED, "o"), "natural": Look("natural", MUTED, "o", (1, 1.4), hollow=True),
    AUTHORS: Look("published", MUTED, "", (4, 2), thin=True),
}  # fmt: skip
ACCURACY, POINTS, IMAGES, EPOCH = "test accuracy (%)", "points", "training images of the target", "epoch of fine-tuning"


def draw(name: str, numbers: Numbers, looks: dict[str, Look], targets: Sequence[str]) -> Figure:
    """The figure of that name (`numbers.all_figures`); `looks` are of the sources, by their labels."""
    colours, table = looks_of_targets(targets), numbers.table
    x = table["epoch"] if "epoch" in table else table["size"].map(size_places(table["size"]))
    numbers = replace(numbers, table=table.assign(x=x))
    if name == "figure5":
        return constraints(numbers, looks, colours)
    return {"figure2": transfer, "figure3_10": transfer, "figure8": perturbations}.get(name, blocks)(numbers, colours)


@drawing
def transfer(numbers: Numbers, targets: dict[str, Look]) -> Figure:
    """Figures 2, 3 and 10: (a) accuracy of the robust (line) and the natural source (dots), (b) robust minus natural."""
    table = numbers.table
    rows = [table] if "epoch" not in table else [table[table["size"] == size] for size in dict.fromkeys(table["size"])]
    figure, axes = facets(2 * len(rows), numbers.title, columns=2, sharey=False, height=3.3)
    for i, part in enumerate(rows):
        left, right = axes[2 * i], axes[2 * i + 1]
        where = f", {images(part['size'].iloc[0])}" if "epoch" in table else ""
        _by_target(right, part[part["series"] == MINUS_NATURAL], targets)
        for name in ("robust", "natural"):
            _by_target(left, part[part["series"] == name], targets, like=LINES[name])
        _finish_panel(left, table, f"(a) accuracy{where}", ACCURACY, n=subsets(part))
        _finish_panel(right, table, f"(b) robust minus natural{where}", POINTS, n=subsets(part[part["panel"] == "b"]))
        zero_line(right)
    legend(figure, targets, table["target"])
    legend(figure, LINES, [*table["series"], *table["whose"]], side="right")
    return figure


@drawing
def blocks(numbers: Numbers, targets: dict[str, Look]) -> Figure:
    """Figures 4 and 11: (a) a panel per target, a line for each number of blocks; (b) three blocks minus one."""
    left, right = (numbers.table[numbers.table["panel"] == p] for p in "ab")
    looks, names = looks_in_order(list(dict.fromkeys(left["series"]))), list(dict.fromkeys(left["target"]))
    columns = min(3, len(names))
    figure = canvas(numbers.title, 0.95 + 2.6 * max(1.2, -(-len(names) // columns)))
    a, b = figure.subfigures(1, 2, width_ratios=[0.4 + columns, 1.3])
    for i, (ax, name) in enumerate(zip(grid(a, len(names), columns, sharey=False), names, strict=True)):
        _lines(ax, left[left["target"] == name], looks, "series")
        last, first = i + columns >= len(names), i % columns == 0
        _finish_panel(ax, numbers.table, f"(a) {name}" if i == 0 else name, ACCURACY if first else "", x=last)
    legend(a, looks | LINES, [*looks, *left["whose"]])
    [ax] = grid(b, 1, 1)
    _by_target(ax, right, targets)
    _finish_panel(ax, numbers.table, f"(b) {right['series'].iloc[0]}", POINTS)
    zero_line(ax)
    legend(b, targets, right["target"], columns=2)
    return figure


@drawing
def constraints(numbers: Numbers, sources: dict[str, Look], targets: dict[str, Look]) -> Figure:
    """Figure 5: accuracy of the robust sources, a panel per target; then the differences between them, a panel per pair."""
    above, below = numbers.table[numbers.table["panel"] == "a"], numbers.table[numbers.table["panel"] != "a"]
    names, pairs = list(dict.fromkeys(above["target"])), list(dict.fromkeys(below["series"]))
    columns = min(3, len(names))
    rows, more = -(-len(names) // columns), -(-len(pairs) // 4)
    figure = canvas(numbers.title, 0.6 + 2.7 * (rows + more) + 0.35)
    parts = figure.subfigures(2 if pairs else 1, 1, height_ratios=[rows + 0.2, more + 0.2] if pairs else [1], squeeze=False)[:, 0]
    for i, (ax, name) in enumerate(zip(grid(parts[0], len(names), columns, sharey=False), names, strict=True)):
        _lines(ax, above[above["target"] == name], sources, "series")
        last, first = i + columns >= len(names), i % columns == 0
        _finish_panel(ax, numbers.table, f"(a) {name}" if i == 0 else name, ACCURACY if first else "", x=last)
    legend(parts[0], sources | LINES, [*above["series"], *above["whose"]])
    if pairs:
        _differences(parts[1], below, pairs, targets, first=below["panel"].iloc[0])
        legend(parts[1], targets, below["target"])
    return figure


@drawing
def perturbations(numbers: Numbers, targets: dict[str, Look]) -> Figure:
    """Figure 8: each kind of perturbed training minus natural training, on one scale."""
    pairs = list(dict.fromkeys(numbers.table["series"]))
    figure = canvas(numbers.title, 0.95 + 3.0 * -(-len(pairs) // 4))
    _differences(figure, numbers.table, pairs, targets, first="a")
    legend(figure, targets, numbers.table["target"])
    return figure


@drawing
def published(table: pd.DataFrame, title: str) -> Figure:
    """The published difference of the L2 eps 3 source and natural (Utrera et al. 2021, Table 7), one line per target.

    Args:
        table: target, n_images, natural, l2_eps3.
    """
    looks = looks_of_targets(list(dict.fromkeys(table["target"])))
    whole = table["n_images"] == table.groupby("target")["n_images"].transform("max")
    sizes = table["n_images"].astype(str).where(~whole, "all")
    rows = table.assign(mean=table["l2_eps3"] - table["natural"], x=sizes.map(size_places(list(sizes))))
    figure, [ax] = facets(1, title, height=3.4)
    lines(ax, rows, "x", looks, "target")
    size_axis(ax, list(sizes), slanted=False)
    ax.set(xlabel="training images of the target", ylabel="points over natural")
    zero_line(ax, "natural")
    legend(figure, looks, looks)
    return figure


def _differences(figure: Figure | SubFigure, table: pd.DataFrame, pairs: list[str], targets: dict[str, Look], *, first: str) -> None:
    """A panel for each difference, named from the letter `first` on, all on one scale."""
    columns = min(4, len(pairs))
    axes = grid(figure, len(pairs), columns)
    long = max(map(len, pairs)) > 88 / columns
    for i, (ax, pair) in enumerate(zip(axes, pairs, strict=True)):
        _by_target(ax, table[table["series"] == pair], targets)
        title = f"({chr(ord(first) + i)}) {pair}"
        _finish_panel(ax, table, title.replace(" minus ", "\nminus ") if long else title, POINTS if i % columns == 0 else "")
    for ax in axes:
        zero_line(ax)


def _by_target(ax: Axes, rows: pd.DataFrame, targets: dict[str, Look], like: Look | None = None) -> None:
    """A line per target in its colour, dashed and filled `like` another look."""
    if like:
        targets = {name: replace(look, dash=like.dash, hollow=like.hollow) for name, look in targets.items()}
    _lines(ax, rows, targets, "target")


def _lines(ax: Axes, rows: pd.DataFrame, looks: dict[str, Look], key: str) -> None:
    """Our lines, and the authors' in the same colours, thin and dashed."""
    theirs = {name: replace(look, dash=look.dash or LINES[AUTHORS].dash, marker="", thin=True) for name, look in looks.items()}
    for whose, of_whose in ((OURS, looks), (AUTHORS, theirs)):
        lines(ax, rows[rows["whose"] == whose], "x", of_whose, key)


def _finish_panel(ax: Axes, table: pd.DataFrame, title: str, ylabel: str, *, x: bool = True, n: str = "") -> None:
    """Titles and axes; `table` is the figure's, so that its panels have one scale of images."""
    by_epoch = "epoch" in table
    if by_epoch:
        ax.xaxis.set_major_locator(MaxNLocator(nbins=6, integer=True))
    else:
        size_axis(ax, list(table["size"]))
    label = EPOCH if by_epoch else IMAGES
    ax.set(title=title, xlabel=label if x else "", ylabel=ylabel)
    ax.set_title(n, loc="right", fontsize=8, fontweight="normal", color=MUTED)
