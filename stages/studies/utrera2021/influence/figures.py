"""Figures 6 and 7 of Utrera et al. (2021): the images that help most, the matrix of influences, and whose label they have, by rank."""

from dataclasses import replace
from textwrap import fill

import numpy as np
import pandas as pd
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, NullLocator

from stages.lib.report.figures import INK, MUTED, PAPER, WIDTH, WRONG, drawing, facets, legend, lines
from stages.lib.report.looks import Look
from stages.lib.report.pictures import class_text, picture, sheet, write

TICKS = [1, 2, 5, 10, 20, 50, 100, 200, 500, 1000]  # ranks that the axis names
WIDEST = 34  # letters of a line of a title


@drawing
def helpful(pictures: dict[str, dict[str, np.ndarray]], looks: dict[str, Look], title: str, names: list[str] | None) -> Figure:
    """A test image of each class, and below it the training image that helps it most, a row for each source (Figure 6).

    Args:
        pictures: of each source, images and labels as the run leaves them.
        names: of the classes, by label; None: labels are numbers.
    """
    first = next(iter(pictures.values()))
    test, labels = first["picture/test"], first["picture/test_label"]
    left = 1.15
    size = min(1.0, (WIDTH - left) / len(labels))
    height = 0.5 + (len(pictures) + 1) * (size + 0.2)
    figure = sheet(height, title)
    rows = [("test", test, labels, MUTED)]
    rows += [(looks[source].label, of["picture/train"], of["picture/train_label"], looks[source].colour) for source, of in pictures.items()]
    for row, (name, x, found, colour) in enumerate(rows):
        top = height - 0.42 - row * (size + 0.2)
        write(figure, 0.1, top - size / 2, name.replace(", ", ",\n"), va="center", color=colour, fontweight="bold")
        for column, (image, label) in enumerate(zip(x, found, strict=True)):
            same = label == labels[column]
            text = class_text(int(label), names) + ("" if same else " ≠")
            picture(figure, (left + column * size, top), size, image, text=text, colour=MUTED if same else WRONG)
    return figure


@drawing
def matrix(matrices: dict[str, dict[str, np.ndarray]], looks: dict[str, Look], title: str) -> Figure:
    """Influences of training images on test images in the order of their labels, a panel for each source (Figure 7a)."""
    figure, axes = facets(len(matrices), title, columns=2, sharey=False, height=4.2)
    grey = LinearSegmentedColormap.from_list("influence", [PAPER, INK])
    for ax, (source, of) in zip(axes, matrices.items(), strict=True):
        ax.imshow(of["matrix/grey"], cmap=grey, vmin=0, vmax=255, aspect="auto", interpolation="none")
        for name, axis in (("matrix/test", ax.yaxis), ("matrix/train", ax.xaxis)):
            labels = of[name]
            starts = np.flatnonzero(np.r_[True, labels[1:] != labels[:-1]])
            ends = np.r_[starts[1:], len(labels)]
            axis.set_ticks((starts + ends - 1) / 2, [str(labels[start]) for start in starts], size=7)
            axis.set_tick_params(length=0)
        ax.set(title=looks[source].label, xlabel="label of the training image", ylabel="label of the test image")
        ax.grid(False)
    return figure


@drawing
def by_rank(
    ranks: pd.DataFrame, looks: dict[str, Look], labels: dict[str, str], chance: float, published: pd.DataFrame, title: str
) -> Figure:
    """Share of the test images whose training image of each rank has their label, a panel for each way to score (Figure 7b).

    Args:
        ranks: way, rank, source, n, mean, low, high.
        labels: of the ways.
        chance: percent, of an image that is drawn.
        published: way, source, value: of the first image.
    """
    figure, axes = facets(len(labels), title, columns=3, height=2.9)
    thin = {name: replace(look, marker="") for name, look in looks.items()}
    last = int(ranks["rank"].max())
    for ax, (way, label) in zip(axes, labels.items(), strict=True):
        lines(ax, ranks[ranks["way"] == way], "rank", thin, "source")
        for row in published[published["way"] == way].itertuples():
            ax.plot([1], [row.value], marker="*", markersize=11, color=looks[row.source].colour, markeredgecolor=INK, zorder=5)
        ax.axhline(chance, color=MUTED, linewidth=1.0, linestyle=(0, (4, 2)))
        ax.set_xscale("log")
        ax.xaxis.set_major_locator(FixedLocator([tick for tick in TICKS if tick <= last]))
        ax.xaxis.set_minor_locator(NullLocator())
        ax.set_xticklabels([f"{tick:,}" for tick in TICKS if tick <= last])
        ax.set(title=fill(label, WIDEST), xlabel="rank of the training image", xlim=(0.9, last * 1.1))
        ax.set_ylim(0, 100)
    for ax in axes[::3]:
        ax.set_ylabel("with the label (%)")
    legend(figure, thin, ranks["source"])
    return figure
