"""Figures in which a source has a colour: accuracy and differences of each target, speed, and accuracy under attack."""

from textwrap import fill
from typing import Any

import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from stages.lib.norms.table import norm_of
from stages.lib.report.figures import PAPER, drawing, facets, legend, lines, size_axis, size_places, zero_line
from stages.lib.report.looks import Look
from stages.lib.report.web import svg
from stages.lib.report.wording import block_text, images, number, threat_text

WIDEST = 50  # letters of a title above one of two panels


@drawing
def accuracy(summary: pd.DataFrame, looks: dict[str, Look], title: str, score: str = "test accuracy") -> Figure:
    """Test accuracy against the number of training images, one panel per number of blocks (Utrera et al. 2021, Figure 2a).

    Args:
        summary: of one target: source, blocks, size, mean, low, high. A source that has only `all` blocks, as random
            initialisation has, is drawn in every panel.
        score: what the mean is of, in words.
    """
    panels = [b for b in dict.fromkeys(summary["blocks"]) if b != "all" or (summary["blocks"] != "all").sum() == 0 or _shared(summary)]
    everywhere = [s for s in looks if set(summary.loc[summary["source"] == s, "blocks"]) == {"all"}]
    rows = [summary[(summary["blocks"] == b) | (summary["source"].isin(everywhere))] for b in panels]
    return _against_images(rows, [_blocks_title(b) for b in panels], looks, title, f"{score} (%)")


@drawing
def difference(differences: pd.DataFrame, looks: dict[str, Look], title: str, ylabel: str = "points over natural") -> Figure:
    """Robust minus natural on the same subsets against the number of training images (Utrera et al. 2021, Figure 2b).

    Args:
        differences: of one target: source, blocks, size, mean, low, high.
    """
    panels = list(dict.fromkeys(differences["blocks"]))
    figure = _against_images(
        [differences[differences["blocks"] == b] for b in panels], [_blocks_title(b) for b in panels], looks, title, ylabel
    )
    for ax in figure.axes:
        zero_line(ax, "natural")
    return figure


@drawing
def epochs(summary: pd.DataFrame, looks: dict[str, Look], title: str) -> Figure:
    """Test accuracy by epoch of fine-tuning, one panel per target (Utrera et al. 2021, Figure 3a).

    Args:
        summary: source, target, epoch, mean, low, high.
    """
    panels = list(dict.fromkeys(summary["target"]))
    figure, axes = facets(len(panels), title, sharey=False)
    for ax, panel in zip(axes, panels, strict=True):
        lines(ax, summary[summary["target"] == panel], "epoch", looks, "source")
        ax.xaxis.set_major_locator(MaxNLocator(nbins=6, integer=True))
        ax.set(title=panel, xlabel="epoch of fine-tuning", ylabel="test accuracy (%)")
    legend(figure, looks, summary["source"])
    return figure


@drawing
def robustness(accuracies: pd.DataFrame, looks: dict[str, Look], title: str) -> Figure:
    """Accuracy under attack against its radius, one panel per norm and set of models.

    Args:
        accuracies: panel (which models, on which images), source, norm, eps (pixel units of [0, 1]), mean, low, high.
    """
    pairs = list(dict.fromkeys(zip(accuracies["panel"], accuracies["norm"], strict=True)))
    figure, axes = facets(len(pairs), title, columns=2, height=2.7)
    for ax, (panel, norm) in zip(axes, pairs, strict=True):
        rows = accuracies[(accuracies["panel"] == panel) & (accuracies["norm"] == norm)]
        lines(ax, rows, "eps", looks, "source")
        radii = sorted(rows["eps"].unique())
        ax.set_xticks(radii, [norm_of(norm).tick(eps) for eps in radii])
        ax.set(title=fill(panel, WIDEST), xlabel=norm_of(norm).axis, ylabel="accuracy (%)", ylim=(-3, 103))
    legend(figure, looks, accuracies["source"])
    return figure


@drawing
def clean_robust(models: pd.DataFrame, looks: dict[str, Look], title: str) -> Figure:
    """Accuracy under attack against accuracy without, a point for each source, number of blocks and number of images.

    Args:
        models: target, norm, eps, source, blocks, n_images, clean, robust. More images make a point larger; what is written beside
            it is the number of blocks.
    """
    pairs = list(dict.fromkeys(zip(models["target"], models["norm"], models["eps"], strict=True)))
    figure, axes = facets(len(pairs), title, columns=2, sharey=False, height=3.0)
    sizes = sorted(models["n_images"].unique())
    for ax, (target, norm, eps) in zip(axes, pairs, strict=True):
        rows = models[(models["target"] == target) & (models["norm"] == norm)]
        for name, look in looks.items():
            points = rows[rows["source"] == name]
            area = 36 * (1 + points["n_images"].map(sizes.index))
            drawn = ax.scatter(points["clean"], points["robust"], area, look.colour, marker=look.marker, edgecolors=PAPER, linewidths=0.8)
            drawn.set_gid(svg.points([_model_text(look, row) for row in points.to_dict("records")]))
            for row in points.itertuples():
                ax.annotate(row.blocks, (row.clean, row.robust), (5, 4), textcoords="offset points", fontsize=7, color=look.colour)
        ax.margins(0.12)
        ax.set(title=f"{target}, {threat_text(norm, eps)}", xlabel="accuracy without an attack (%)", ylabel="under attack (%)")
    legend(figure, looks, models["source"])
    return figure


def _model_text(look: Look, model: dict[str, Any]) -> str:
    """What the point of a fine-tuned model says where a pointer rests on it."""
    what = f"{look.label}, {images(model['n_images'])}, {block_text(model['blocks'])}"
    return f"{what}: {number(model['clean'])} clean, {number(model['robust'])} under attack"


def _shared(summary: pd.DataFrame) -> bool:
    """Whether `all` blocks belong to more than the sources that have nothing else."""
    counts = summary.groupby("source")["blocks"].nunique()
    return bool((summary[summary["blocks"] == "all"]["source"].map(counts) > 1).any())


def _blocks_title(blocks: str) -> str:
    return {"0": "head only (0 blocks)", "all": "whole network"}.get(blocks, block_text(blocks))


def _against_images(panels: list[pd.DataFrame], titles: list[str], looks: dict[str, Look], title: str, ylabel: str) -> Figure:
    figure, axes = facets(len(panels), title)
    shown = pd.concat(panels)
    sizes = list(shown["size"].unique())
    for i, (ax, rows, name) in enumerate(zip(axes, panels, titles, strict=True)):
        lines(ax, rows.assign(x=rows["size"].map(size_places(sizes))), "x", looks, "source")
        size_axis(ax, sizes)
        ax.set(title=name, xlabel="training images of the target", ylabel=ylabel if i % 4 == 0 else "")
    legend(figure, looks, shown["source"])
    return figure
