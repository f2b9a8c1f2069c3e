"""The figures of images that are optimised: pictures of each source, distances and recognition against the source, curves by steps."""

import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from stages.lib.report.figures import INK, MUTED, WIDTH, drawing, facets, legend, lines, style
from stages.lib.report.looks import MARKERS, OTHERS, Look
from stages.lib.report.pictures import picture, sheet, write
from stages.lib.report.web import svg
from stages.lib.report.wording import number

PLAIN = "plain"
NAMES = {PLAIN: "without noise", "variational": "noise drawn once", "effective": "noise drawn anew"}  # ways of inversion in text
LEFT, LINE = 1.25, 0.17  # inches: the room for the label of a row, and for a line of text
LABEL = 12  # letters that have room in a line of the label of a row


@dataclass(frozen=True)
class Row:
    """A row of pictures."""

    label: str
    images: np.ndarray  # uint8 [k, H, W, 3]
    texts: Sequence[str]  # below each, one line
    colour: str = INK


def way_text(method: str, setting: float) -> str:
    """`without noise`, or `noise drawn once, β = 0.001`."""
    name = NAMES.get(method, method)
    return f"{name}, β = {setting:g}" if setting else name


@drawing
def panels(rows: Sequence[Row], title: str) -> Figure:
    """Pictures, a row for each source or way; images of one column belong together."""
    columns = max(len(row.images) for row in rows)
    size = min((WIDTH - LEFT) / columns, 1.35)
    height = 0.5 + len(rows) * (size + LINE)
    figure = sheet(height, title)
    for place, row in enumerate(rows):
        top = height - 0.45 - place * (size + LINE)
        label = "\n".join(textwrap.fill(part, LABEL) for part in row.label.replace(", ", ",\n").splitlines())
        write(figure, 0.1, top - size / 2, label, va="center", color=row.colour, fontweight="bold")
        for column, image in enumerate(row.images):
            text = row.texts[column] if column < len(row.texts) else ""
            picture(figure, (LEFT + column * size, top), size, image, text=text)
    return figure


@drawing
def against_sources(measures: Mapping[str, pd.DataFrame], looks: Mapping[str, Look], title: str) -> Figure:
    """A panel for each measure: its mean with interval for each source, from the natural one to the largest radius, a mark for each way.

    Args:
        measures: by the title of its panel, which ends with its unit in brackets: source, method, setting, n, mean, low, high. A method
            may also be a level to compare with, such as the start.
        looks: of the sources, in the order of the axis.
    """
    figure, axes = facets(len(measures), title, columns=3, sharey=False, height=3.2)
    ways = list(dict.fromkeys(way for table in measures.values() for way in _ways(table)))
    of_ways = looks_of_ways(ways)
    for ax, (name, table) in zip(axes, measures.items(), strict=True):
        shown = [source for source in looks if source in set(table["source"])]
        here = [way for way in ways if way in set(_ways(table))]
        for i, way in enumerate(here):
            rows = table[[each == way for each in _ways(table)]].set_index("source")
            places = [place for place, source in enumerate(shown) if source in rows.index]
            rows = rows.loc[[shown[place] for place in places]]
            beside = np.array(places) + 0.16 * (i - (len(here) - 1) / 2)
            look = of_ways[way]
            [drawn] = ax.plot(beside, rows["mean"], **style(look) | {"linestyle": ""})
            drawn.set_gid(svg.points([_point(looks[source].label, look.label, row) for source, row in rows.iterrows()]))
            known = rows["low"].notna().to_numpy()
            if known.any():
                spread = [(rows["mean"] - rows["low"])[known], (rows["high"] - rows["mean"])[known]]
                ax.errorbar(beside[known], rows["mean"][known], spread, color=look.colour, capsize=3, fmt="none")
        ax.set_xticks(range(len(shown)), [looks[source].label.replace(", ", ",\n") for source in shown], rotation=45, ha="right")
        ax.set(title=name.rpartition(" [")[0], ylabel=name.rpartition(" [")[2].rstrip("]"), xlim=(-0.6, len(shown) - 0.4))
        ax.set_ylim(bottom=min(0.0, ax.get_ylim()[0]))
    legend(figure, of_ways, ways, columns=4)
    return figure


@drawing
def by_steps(curves: pd.DataFrame, looks: Mapping[str, Look], title: str, measure: str = "feature") -> Figure:
    """Distance against the number of steps, a panel for each source and a line for each way (Terzi et al. 2021, Figure 2).

    Args:
        curves: of one target, as `numbers.Optimised.curves` has them.
    """
    rows = curves[(curves["measure"] == measure) & (curves["step"] > 0)]
    shown = [source for source in looks if source in set(rows["source"])]
    figure, axes = facets(len(shown), title, columns=3)
    rows = rows.assign(way=[way_text(*way) for way in rows[["method", "setting"]].itertuples(index=False, name=None)])
    of_ways = looks_of_ways(list(dict.fromkeys(rows["way"])))
    for ax, source in zip(axes, shown, strict=True):
        lines(ax, rows[rows["source"] == source].drop(columns="setting"), "step", {k: _without_marks(v) for k, v in of_ways.items()}, "way")
        ax.set(title=looks[source].label, xlabel="steps", xscale="log", yscale="log")
    axes[0].set_ylabel(f"distance in {'features' if measure == 'feature' else 'pixels'} (%)", color=MUTED)
    legend(figure, {k: _without_marks(v) for k, v in of_ways.items()}, of_ways, columns=4)
    return figure


def looks_of_ways(ways: Sequence[str]) -> dict[str, Look]:
    """Ways of optimising images, apart in colour, in marker and, as lines, in dash."""
    dashes = ((), (5, 1.5), (1.5, 1.2), (5, 1.5, 1.5, 1.5))
    return {
        way: Look(way, OTHERS[i % len(OTHERS)], MARKERS[i % len(MARKERS)], dashes[i % len(dashes)], hollow=i >= len(OTHERS))
        for i, way in enumerate(ways)
    }


def _without_marks(look: Look) -> Look:
    return Look(look.label, look.colour, "", look.dash)


def _ways(table: pd.DataFrame) -> list[str]:
    return [way_text(*way) for way in table[["method", "setting"]].itertuples(index=False, name=None)]


def _point(source: str, way: str, row: pd.Series) -> str:
    interval = f" ({number(row['low'])} to {number(row['high'])})" if pd.notna(row["low"]) else ""
    return f"{source}, {way}: {number(row['mean'])}{interval}, n = {row['n']}"
