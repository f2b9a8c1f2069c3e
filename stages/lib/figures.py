"""The report's figures: each function takes a tidy table or arrays and returns a matplotlib Figure that is in no global state.

A source has one colour, marker and dash in all figures (`looks_of`). Accuracy is in percent, differences in points.
"""

import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import wraps
from typing import Any

import matplotlib
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FixedLocator, MaxNLocator, NullLocator

INK, MUTED, GRID, PAPER, WRONG = "#1d2733", "#5f6b7a", "#dfe3e8", "#ffffff", "#d6336c"
WIDTH = 9.6  # inches, of every figure
RC = {
    **sns.axes_style("ticks"), "svg.hashsalt": "robust-transfer", "font.family": ["DejaVu Sans"], "font.size": 9.0, "axes.titlesize": 9.5,
    "axes.titleweight": "bold", "axes.titlelocation": "left", "axes.labelsize": 9.0, "xtick.labelsize": 8.5, "ytick.labelsize": 8.5,
    "axes.edgecolor": MUTED, "axes.labelcolor": MUTED, "xtick.color": MUTED, "ytick.color": MUTED, "text.color": INK,
    "axes.titlecolor": INK,
    "axes.spines.top": False, "axes.spines.right": False, "axes.grid": True, "grid.color": GRID, "grid.linewidth": 0.8,
    "axes.axisbelow": True, "figure.facecolor": PAPER, "axes.facecolor": PAPER, "legend.frameon": False, "legend.fontsize": 9.0,
    "figure.titlesize": 11.5, "figure.titleweight": "bold", "lines.linewidth": 2.0, "image.composite_image": False,
}  # fmt: skip


@dataclass(frozen=True)
class Look:
    """How a source is drawn and called."""

    label: str
    colour: str
    marker: str
    dash: tuple[float, ...] | str


def looks_of(sources: Sequence[tuple[str, str, str, float]]) -> dict[str, Look]:
    """A look for each source: natural grey, L2 orange, Linf teal, darker with eps; random violet and dashed.

    Args:
        sources: name, label, family (`natural`, `l2`, `linf` or `random`) and eps of each.
    """
    ends = {
        "natural": ("#7a8594", "#a5adb8"),
        "random": ("#9775fa", "#b197fc"),
        "l2": ("#f0a35e", "#e8590c"),
        "linf": ("#4fc3b5", "#0c8599"),
    }
    markers = {"natural": "o", "random": "X", "l2": "s", "linf": "D"}
    looks = {}
    for family, (start, end) in ends.items():
        members = sorted((s for s in sources if s[2] == family), key=lambda s: s[3])
        shades = sns.blend_palette([start, end], max(2, len(members))).as_hex()
        shades = shades[:1] if family in ("natural", "random") and len(members) == 1 else shades[-len(members) :]
        for (name, label, _, _), colour in zip(members, shades, strict=False):
            looks[name] = Look(label, colour, markers[family], (3, 1.6) if family == "random" else "")
    return {name: looks[name] for name, *_ in sources}


def drawing(draw: Callable[..., Figure]) -> Callable[..., Figure]:
    """Draws under this module's settings, and leaves matplotlib's own as they were."""

    @wraps(draw)
    def wrapped(*args: Any, **kwargs: Any) -> Figure:
        with matplotlib.rc_context(RC):
            return draw(*args, **kwargs)

    return wrapped


def encode(figure: Figure, kind: str) -> bytes:
    """The figure as `svg` or `png`: the same bytes for the same figure, with no date and no version inside."""
    metadata = {"Date": None, "Creator": None} if kind == "svg" else {"Software": None}
    buffer = io.BytesIO()
    with matplotlib.rc_context(RC):
        figure.savefig(buffer, format=kind, metadata=metadata, dpi=160)
    return buffer.getvalue()


@drawing
def accuracy(summary: pd.DataFrame, looks: dict[str, Look], title: str) -> Figure:
    """Test accuracy against the number of training images, one panel per number of blocks (Utrera et al. 2021, Figure 2a).

    Args:
        summary: of one target: source, blocks, n_images, mean, low, high. A source that has only `all` blocks, as random
            initialisation has, is drawn in every panel.
    """
    panels = [b for b in dict.fromkeys(summary["blocks"]) if b != "all" or (summary["blocks"] != "all").sum() == 0 or _shared(summary)]
    everywhere = [s for s in looks if set(summary.loc[summary["source"] == s, "blocks"]) == {"all"}]
    rows = [summary[(summary["blocks"] == b) | (summary["source"].isin(everywhere))] for b in panels]
    return _against_images(rows, [_blocks_title(b) for b in panels], looks, title, "test accuracy (%)")


@drawing
def difference(differences: pd.DataFrame, looks: dict[str, Look], title: str, ylabel: str = "points over natural") -> Figure:
    """Robust minus natural on the same subsets against the number of training images (Utrera et al. 2021, Figure 2b).

    Args:
        differences: of one target: source, blocks, n_images, mean, low, high.
    """
    panels = list(dict.fromkeys(differences["blocks"]))
    figure = _against_images(
        [differences[differences["blocks"] == b] for b in panels], [_blocks_title(b) for b in panels], looks, title, ylabel
    )
    for ax in figure.axes:
        _zero_line(ax)
    return figure


@drawing
def epochs(summary: pd.DataFrame, looks: dict[str, Look], title: str) -> Figure:
    """Test accuracy by epoch of fine-tuning, one panel per target (Utrera et al. 2021, Figure 3a).

    Args:
        summary: source, target, epoch, mean, low, high.
    """
    panels = list(dict.fromkeys(summary["target"]))
    figure, axes = _facets(len(panels), title, sharey=False)
    for ax, panel in zip(axes, panels, strict=True):
        _lines(ax, summary[summary["target"] == panel], "epoch", looks)
        ax.xaxis.set_major_locator(MaxNLocator(nbins=6, integer=True))
        ax.set(title=panel, xlabel="epoch of fine-tuning", ylabel="test accuracy (%)")
    return _finish(figure, looks, summary)


@drawing
def robustness(accuracies: pd.DataFrame, looks: dict[str, Look], title: str) -> Figure:
    """Accuracy under attack against its radius, one panel per norm and set of models.

    Args:
        accuracies: panel (which models, on which images), source, norm, eps (pixel units of [0, 1]), accuracy.
    """
    pairs = list(dict.fromkeys(zip(accuracies["panel"], accuracies["norm"], strict=True)))
    figure, axes = _facets(len(pairs), title, columns=2, height=2.7)
    for ax, (panel, norm) in zip(axes, pairs, strict=True):
        rows = accuracies[(accuracies["panel"] == panel) & (accuracies["norm"] == norm)]
        _lines(ax, rows.rename(columns={"accuracy": "mean"}), "eps", looks)
        radii = sorted(rows["eps"].unique())
        ax.set_xticks(radii, [f"{e * 255:.3g}/255" if norm == "linf" and e else f"{e:g}" for e in radii])
        ax.set(title=panel, xlabel=f"eps of the attack, {'L∞' if norm == 'linf' else 'L2'}", ylabel="accuracy (%)", ylim=(-3, 103))
    return _finish(figure, looks, accuracies)


@drawing
def published(table: pd.DataFrame, title: str) -> Figure:
    """The published difference of the L2 eps 3 source and natural (Utrera et al. 2021, Table 7), one line per target.

    Args:
        table: target, n_images, natural, l2_eps3.
    """
    colours = sns.color_palette("Set2", table["target"].nunique()).as_hex()
    markers = "osD^vP"
    looks = {t: Look(t.upper(), c, m, "") for t, c, m in zip(dict.fromkeys(table["target"]), colours, markers, strict=False)}
    n = table["n_images"].where(table["n_images"] <= 25600, 51200)  # the whole training set, whose size differs
    rows = table.assign(source=table["target"], mean=table["l2_eps3"] - table["natural"], n_images=n)
    figure, [ax] = _facets(1, title, height=3.4)
    _lines(ax, rows, "n_images", looks)
    _image_axis(ax, sorted(rows["n_images"].unique()), slanted=False)
    ax.set_xticklabels([*(text.get_text() for text in ax.get_xticklabels()[:-1]), "all"])
    ax.set(xlabel="training images of the target", ylabel="points over natural")
    _zero_line(ax)
    return _finish(figure, looks, rows)


def _shared(summary: pd.DataFrame) -> bool:
    """Whether `all` blocks belong to more than the sources that have nothing else."""
    counts = summary.groupby("source")["blocks"].nunique()
    return bool((summary[summary["blocks"] == "all"]["source"].map(counts) > 1).any())


def _blocks_title(blocks: str) -> str:
    return {"0": "head only (0 blocks)", "1": "1 block", "all": "whole network"}.get(blocks, f"{blocks} blocks")


def _facets(count: int, title: str, columns: int = 4, sharey: bool = True, height: float = 3.0) -> tuple[Figure, list[Axes]]:
    """A figure with `count` panels in rows of `columns`, its title at the upper left."""
    columns = min(columns, max(1, count))
    rows = -(-count // columns)
    figure = Figure(figsize=(WIDTH, 0.95 + height * rows), layout="constrained")
    figure.get_layout_engine().set(w_pad=0.08, h_pad=0.08, wspace=0.03)
    figure.suptitle(title, x=0.012, ha="left")
    grid = figure.subplots(rows, columns, squeeze=False, sharey=sharey)
    axes = list(grid.flat)
    for ax in axes[count:]:
        ax.set_visible(False)
    return figure, axes[:count]


def _against_images(panels: list[pd.DataFrame], titles: list[str], looks: dict[str, Look], title: str, ylabel: str) -> Figure:
    figure, axes = _facets(len(panels), title)
    for i, (ax, rows, name) in enumerate(zip(axes, panels, titles, strict=True)):
        _lines(ax, rows, "n_images", looks)
        _image_axis(ax, sorted(rows["n_images"].unique()))
        ax.set(title=name, xlabel="training images of the target", ylabel=ylabel if i % 4 == 0 else "")
    return _finish(figure, looks, pd.concat(panels))


def _lines(ax: Axes, rows: pd.DataFrame, x: str, looks: dict[str, Look]) -> None:
    """A line of means per source, with its interval as a band, or as a bar where there is one point."""
    shown = [name for name in looks if name in set(rows["source"])]
    if rows[x].nunique() == 1:  # one point each: side by side
        rows = rows.assign(**{x: rows[x] * 1.04 ** (rows["source"].map(shown.index) - (len(shown) - 1) / 2)})
    sns.lineplot(
        rows, x=x, y="mean", hue="source", style="source", hue_order=shown, style_order=shown, estimator=None, errorbar=None, legend=False,
        palette={n: looks[n].colour for n in shown}, markers={n: looks[n].marker for n in shown}, dashes={n: looks[n].dash for n in shown},
        markersize=6, ax=ax,
    )  # fmt: skip
    for name in shown:
        own = rows[rows["source"] == name].sort_values(x)
        if "low" not in own or own["low"].isna().all():
            continue
        colour = looks[name].colour
        if len(own) == 1:
            ax.errorbar(own[x], own["mean"], [own["mean"] - own["low"], own["high"] - own["mean"]], color=colour, capsize=4, fmt="none")
        ax.fill_between(own[x], own["low"], own["high"], color=colour, alpha=0.16, linewidth=0)


def _image_axis(ax: Axes, sizes: Sequence[int], slanted: bool | None = None) -> None:
    """Logarithmic, with a tick at each configured number of images."""
    slanted = len(sizes) > 5 if slanted is None else slanted
    ax.set_xscale("log")
    ax.xaxis.set_major_locator(FixedLocator(list(sizes)))
    ax.xaxis.set_minor_locator(NullLocator())
    ax.set_xticklabels([f"{n:,}" if n < 10000 else f"{n / 1000:.3g}k" for n in sizes], rotation=45 if slanted else 0)
    margin = 1.15 if len(sizes) > 1 else 1.3
    ax.set_xlim(min(sizes) / margin, max(sizes) * margin)


def _zero_line(ax: Axes) -> None:
    """What natural has, and which side of it is which."""
    low, high = ax.get_ylim()
    margin = 0.12 * (high - low)
    ax.set_ylim(min(low, -margin), max(high, margin))
    ax.axhline(0, color=INK, linewidth=1.2)
    offset, va = ((4, -3), "top") if high > -low else ((4, 3), "bottom")  # on the side where no lines are
    ax.annotate("natural", (0, 0), xycoords=ax.get_yaxis_transform(), xytext=offset, textcoords="offset points", va=va, fontsize=7.5)


def _finish(figure: Figure, looks: dict[str, Look], rows: pd.DataFrame) -> Figure:
    """One legend below all panels."""
    shown = [look for name, look in looks.items() if name in set(rows["source"])]
    styles = [{"color": s.colour, "marker": s.marker, "linestyle": (0, s.dash) if s.dash else "-", "label": s.label} for s in shown]
    handles = [Line2D([], [], markeredgecolor=PAPER, **style) for style in styles]
    figure.legend(handles=handles, loc="outside lower left", ncols=min(7, len(handles)), handlelength=2.6, columnspacing=1.5)
    return figure
