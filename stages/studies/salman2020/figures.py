"""The figures of Salman et al. (2020), from the tables that `numbers` makes.

On an axis of radii each radius of the grid is one step, as it is dense near 0. Natural sources stand at 0.
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from stages.lib.report.figures import MUTED, dots, drawing, facets, legend, lines, point_text, style, zero_line
from stages.lib.report.looks import OTHERS, Look, looks_in_order, looks_of_targets
from stages.lib.report.results import at
from stages.lib.report.section import Drawing
from stages.lib.report.web import svg
from stages.studies.salman2020.numbers import Numbers
from stages.studies.salman2020.results import MODE_NAMES, WIDTHS, SalmanResults

ACCURACY, POINTS = "test accuracy (%)", "points over natural"
SERIES = {
    "robust": Look("best robust radius", "#2b50e0", "s"), "natural": Look("natural", MUTED, "o", hollow=True),
    "published": Look("published best run", "#c2259a", "D", thin=True, hollow=True),
}  # fmt: skip


def drawings_of(results: SalmanResults, numbers: Numbers, looks: dict[str, Look]) -> Iterator[Drawing]:
    """Every figure that the configuration has the runs for, each mode in one of its own."""
    labels = {architecture: architecture for architecture in results.architectures}
    ticks = [f"{eps:g}" for eps in results.radii]
    for mode in results.modes:
        of = {name: at(getattr(numbers, name), mode=mode) for name in ("best", "accuracy", "gains")}
        number, name = {"fixed": "2", "full": "3"}[mode], MODE_NAMES[mode]
        yield Drawing(f"salman_figure{number}", best, (of["best"], f"Figure {number}: best radius against natural, {name} transfer"))
        yield Drawing(f"salman_figure5_{mode}", by_radius,
                      (of["accuracy"], labels, ticks, f"Figure 5: accuracy against the radius, {name} transfer"))  # fmt: skip
        if of["accuracy"]["source_accuracy"].notna().any():
            title = f"Figure 5: accuracy against that of the source on its own data, {name} transfer"
            yield Drawing(f"salman_figure5_{mode}_source", by_source_accuracy, (of["accuracy"], labels, title))
        yield Drawing(f"salman_figure7_{mode}", by_target,
                      (at(of["gains"], architecture=results.main), results.low_resolution, ticks,
                       f"Figure 7: which radius for which target, {results.main}, {name} transfer"))  # fmt: skip
        for family in WIDTHS:
            widths = [architecture for architecture in family if architecture in results.architectures]
            if len(widths) > 1 and _in_common(of["accuracy"], widths):
                yield Drawing(f"salman_figure6_{mode}", by_width, (of["accuracy"], widths, f"Figure 6: width, {name} transfer"))
    if len(numbers.by_texture):
        own = {name: replace(looks[name], label=_of_figure8(results, name)) for name in dict.fromkeys(numbers.by_texture["source"])}
        yield Drawing("salman_figure8", textures, (numbers.textures, numbers.by_texture, own))


@drawing
def best(table: pd.DataFrame, title: str) -> Figure:
    """Figures 2 and 3: a panel for each architecture; of each target the best robust radius beside natural, and the published run."""
    names = list(dict.fromkeys(table["architecture"]))
    targets = list(dict.fromkeys(table["target"]))
    figure, axes = facets(len(names), title, columns=2, height=3.3)
    for i, (ax, name) in enumerate(zip(axes, names, strict=True)):
        rows = at(table, architecture=name)
        parts = [rows[["target", f"{series}_mean", f"{series}_low", f"{series}_high", "n"]].set_axis(
            ["target", "mean", "low", "high", "n"], axis=1).assign(series=series) for series in ("robust", "natural")]  # fmt: skip
        theirs = rows[["target", "published"]].rename(columns={"published": "mean"}).dropna().assign(series="published")
        dots(ax, pd.concat([*parts, theirs]), "target", targets, SERIES, "series")
        ax.set(title=name, ylabel=ACCURACY if i % 2 == 0 else "")
    legend(figure, SERIES, ["robust", "natural", *(["published"] if table["published"].notna().any() else [])])
    return figure


@drawing
def by_radius(table: pd.DataFrame, labels: dict[str, str], ticks: Sequence[str], title: str) -> Figure:
    """Figure 5: a panel for each target, a line for each architecture."""
    targets, looks = list(dict.fromkeys(table["target"])), _looks_of_architectures(labels)
    figure, axes = facets(len(targets), title, sharey=False, height=2.6)
    for ax, target in zip(axes, targets, strict=True):
        lines(ax, at(table, target=target), "place", looks, "architecture")
        _radius_axis(ax, ticks)
        ax.set(title=target, xlabel="radius", ylabel=ACCURACY if _begins_row(ax) else "")
    legend(figure, looks, table["architecture"])
    return figure


@drawing
def by_source_accuracy(table: pd.DataFrame, labels: dict[str, str], title: str) -> Figure:
    """Figure 5 as the paper has it: sources of one architecture are joined in the order of their radius, from natural (large)."""
    targets, looks = list(dict.fromkeys(table["target"])), _looks_of_architectures(labels)
    figure, axes = facets(len(targets), title, sharey=False, height=2.6)
    for ax, target in zip(axes, targets, strict=True):
        for name, look in looks.items():
            line = at(table, target=target, architecture=name).sort_values("eps")
            [drawn] = ax.plot(line["source_accuracy"], line["mean"], **style(replace(look, thin=True)))
            drawn.set_gid(svg.points([point_text(look, row) for row in line.dropna(subset=["source_accuracy"]).to_dict("records")]))
            ax.plot(line["source_accuracy"].iloc[:1], line["mean"].iloc[:1], "o", color=look.colour, markersize=9, fillstyle="none")
        ax.set(title=target, xlabel="source accuracy (%)", ylabel=ACCURACY if _begins_row(ax) else "")
    legend(figure, looks, table["architecture"])
    return figure


@drawing
def by_target(table: pd.DataFrame, low: dict[str, str], ticks: Sequence[str], title: str) -> Figure:
    """What each radius gains over natural, a panel for each target; the same images at a low resolution are dashed.

    Args:
        ticks: the radii from the place 0 on, of which the first is natural and is no point.
    """
    whole = [target for target in dict.fromkeys(table["target"]) if target not in low.values()]
    looks = looks_of_targets(whole)
    dashed = {low[name]: replace(look, label=low[name], dash=(3, 1.6), hollow=True) for name, look in looks.items() if name in low}
    figure, axes = facets(len(whole), title, height=2.6)
    for ax, target in zip(axes, whole, strict=True):
        lines(ax, table, "place", {name: look for name, look in (looks | dashed).items() if name in (target, low.get(target))}, "target")
        _radius_axis(ax, ticks)
        ax.set_xlim(left=0.6)
        ax.set(title=target, xlabel="radius", ylabel=POINTS if _begins_row(ax) else "")
    for ax in axes:
        zero_line(ax, "natural" if ax is axes[0] else "")
    if dashed:
        legend(figure, dashed, table["target"])
    return figure


@drawing
def by_width(table: pd.DataFrame, widths: Sequence[str], title: str) -> Figure:
    """Figure 6: a panel for each target, a line for each radius that several widths have, from the narrowest to the widest."""
    rows = table[table["architecture"].isin(widths)]
    rows = rows[rows.groupby(["eps", "target"])["architecture"].transform("nunique") > 1]
    rows = rows.assign(width=[list(widths).index(name) for name in rows["architecture"]], series=[f"{eps:g}" for eps in rows["eps"]])
    targets, looks = list(dict.fromkeys(rows["target"])), looks_in_order([f"{eps:g}" for eps in sorted(set(rows["eps"]))])
    figure, axes = facets(len(targets), title, sharey=False, height=2.6)
    for ax, target in zip(axes, targets, strict=True):
        for name, look in looks.items():
            line = at(rows, target=target, series=name).sort_values("width")
            [drawn] = ax.plot(line["width"], line["mean"], **style(look))
            drawn.set_gid(svg.points([point_text(replace(look, label=row["architecture"]), row) for row in line.to_dict("records")]))
            ax.vlines(line["width"], line["low"], line["high"], color=look.colour, linewidth=1, alpha=0.5)
        ax.set_xticks(range(len(widths)), [_short(name, widths) for name in widths])
        ax.set_xlim(-0.3, len(widths) - 0.7)
        ax.set(title=target, ylabel=ACCURACY if _begins_row(ax) else "")
    legend(figure, {name: replace(look, label=f"eps {look.label}") for name, look in looks.items()}, rows["series"], columns=8)
    return figure


@drawing
def textures(own: pd.DataFrame, table: pd.DataFrame, looks: dict[str, Look]) -> Figure:
    """Figure 8: (a) sources on their own test images, with and without the texture of the class; (b) their accuracy on each target."""
    modes, splits = list(dict.fromkeys(table["mode"])), {"test": "as they are", "test_decorrelated": "any texture"}
    title = "Figure 8: sources that are robust to texture, and to perturbations"
    figure, axes = facets(1 + len(modes), title, columns=1, sharey=False, height=2.6)
    dots(axes[0], own.assign(shown=own["split"].map(splits)), "shown", list(splits.values()), looks, "source")
    axes[0].set(title="(a) own test images", ylabel=ACCURACY)
    for letter, ax, mode in zip("bc", axes[1:], modes, strict=False):
        rows = at(table, mode=mode)
        dots(ax, rows, "target", list(dict.fromkeys(rows["target"])), looks, "source")
        ax.set(title=f"({letter}) {MODE_NAMES[mode]} transfer", ylabel=ACCURACY)
    legend(figure, looks, table["source"], columns=5)
    return figure


def _in_common(table: pd.DataFrame, widths: Sequence[str]) -> bool:
    """Whether two of the widths have a radius in common."""
    return bool(table[table["architecture"].isin(widths)].groupby(["eps", "target"])["architecture"].nunique().gt(1).any())


def _of_figure8(results: SalmanResults, name: str) -> str:
    """What a source is called beside others of its architecture."""
    return "any texture" if name in results.texture_robust else f"L2 {results.eps(name):g}" if results.eps(name) else "natural"


def _begins_row(ax: Axes) -> bool:
    """Whether a panel is the first of its row, which has the label of the axis."""
    return ax.get_subplotspec().is_first_col()


def _radius_axis(ax: Axes, ticks: Sequence[str]) -> None:
    ax.set_xticks(range(len(ticks)), ticks, rotation=45 if len(ticks) > 5 else 0)
    ax.set_xlim(-0.4, len(ticks) - 0.6)


def _looks_of_architectures(labels: dict[str, str]) -> dict[str, Look]:
    """A look for each architecture; colours that mean neither a source nor a target."""
    colours = ["#1d6f8f", "#d9822b", *OTHERS]
    return {name: Look(label, colours[i % len(colours)], "os^Dv"[i % 5]) for i, (name, label) in enumerate(labels.items())}


def _short(name: str, widths: Sequence[str]) -> str:
    """What of an architecture's name the others of its family do not begin with: `_x0_5`, `_4`; the whole where that is nothing."""
    begin = min(widths, key=len)
    return name.removeprefix(begin).lstrip("_") or name
