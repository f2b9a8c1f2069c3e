"""The figures of information: Fisher informations and nearest neighbours by eps, Figures 4, 5 and 6 of Terzi et al. (2021)."""

from collections.abc import Iterator

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from stages.lib.information.weight_norm import NORM
from stages.lib.report.figures import MUTED, PAPER, canvas, drawing, facets, grid, legend, lines
from stages.lib.report.looks import Look, looks_of_targets
from stages.lib.report.results import at
from stages.lib.report.section import Drawing
from stages.studies.terzi2021.information import numbers
from stages.studies.terzi2021.information.numbers import Information

PANELS = {  # of the Fisher informations: the title of each measure
    "fisher_w": "weights: trace of F",
    "fisher_z": "representation: trace of F$_{z|x}$, noise 1",
    "fisher_z_relative": "representation: trace of F$_{z|x}$, noise of the features",
    "fisher_y": "label: trace of F$_{y|x}$",
}
LETTERS = 12  # classes of a map up to which each is named in it
LAYERS = 14  # layers up to which each tick has its name


def drawings_of(information: Information, looks: dict[str, Look]) -> Iterator[Drawing]:
    """The figures, as far as their parts of the experiment are on. `looks` are of the sources."""
    table, chosen = numbers.summary(information), information.grid
    on_grid = table[table["source"].isin(chosen)]
    own = at(on_grid, target=information.own)
    fisher = own[own["measure"].isin(PANELS)]
    if len(fisher):
        yield Drawing("terzi_fisher", by_eps, (fisher, [name for name in PANELS if name in set(fisher["measure"])]))
    of_layers = numbers.layers(information)
    if len(of_layers):
        yield Drawing("terzi_figure4", log_variances, (of_layers, looks))
    norms, final = numbers.norms(information), at(own, measure=NORM)
    if len(final):
        yield Drawing("terzi_figure5", weight_norms, (norms, final, looks))
    knn = at(on_grid, measure="knn")
    if len(knn):
        yield Drawing("terzi_neighbours", neighbours, (knn, information.targets, information.own))
    for target in information.targets:
        panels = {name: numbers.map_of(information, name, target) for name in information.cards}
        shown = {name: (looks[name].label, *drawn, _knn(table, name, target)) for name, drawn in panels.items() if drawn is not None}
        if shown:
            yield Drawing(f"terzi_figure6_{target}", maps, (shown, f"Figure 6: test images of {target} by their features (t-SNE)"))


def _knn(table: pd.DataFrame, source: str, target: str) -> float:
    return float(at(table, source=source, target=target, measure="knn")["mean"].iloc[0])


@drawing
def by_eps(rows: pd.DataFrame, measures: list[str]) -> Figure:
    """Fisher informations against the radius, a panel each, on logarithmic axes; means are geometric."""
    figure, axes = facets(len(measures), "Fisher information by eps", columns=2, sharey=False, height=2.5)
    look = Look("mean over models", "#2b50e0", "o")
    for ax, measure in zip(axes, measures, strict=True):
        lines(ax, at(rows, measure=measure).assign(line="all"), "eps", {"all": look}, "line")
        ax.set_yscale("log")
        ax.set(title=PANELS[measure], xlabel="eps of the source (0: natural)")
    return figure


@drawing
def log_variances(rows: pd.DataFrame, looks: dict[str, Look]) -> Figure:
    """The mean logarithm of the variance that the weights of a layer may have, a line for each source, in the order of the network."""
    figure = canvas("Figure 4: log-variance of the weights by layer", 4.0)
    [ax] = grid(figure, 1, 1)
    lines(ax, rows, "place", looks, "source")
    names = rows.drop_duplicates("place").set_index("place")["layer"].str.removesuffix(".weight").sort_index()
    shown = names if len(names) <= LAYERS else names.iloc[:: -(-len(names) // LAYERS)]
    ax.set_xticks(shown.index, shown, rotation=35, ha="right", rotation_mode="anchor")
    ax.set(ylabel="mean ln of the variance", title="higher: less information in the weights")
    legend(figure, looks, rows["source"])
    return figure


@drawing
def weight_norms(by_epoch: pd.DataFrame, final: pd.DataFrame, looks: dict[str, Look]) -> Figure:
    """The norm of all weights while training, where it was kept, and at its end against eps."""
    has_epochs = len(by_epoch) > 0
    figure, axes = facets(1 + has_epochs, "Figure 5: norm of the weights", columns=2, sharey=False)
    if has_epochs:
        lines(axes[0], by_epoch, "epoch", looks, "source")
        axes[0].set(title="while training", xlabel="epoch", ylabel="L2 norm of the weights")
        legend(figure, looks, by_epoch["source"])
    lines(axes[-1], final.assign(line="all"), "eps", {"all": Look("mean over models", "#2b50e0", "o")}, "line")
    axes[-1].set(title="of the sources", xlabel="eps of the source (0: natural)", ylabel="L2 norm of the weights")
    return figure


@drawing
def neighbours(rows: pd.DataFrame, targets: list[str], own: str) -> Figure:
    """The accuracy of nearest neighbours against the radius, a line for each set; dashed the sources' own data."""
    looks = looks_of_targets(targets)
    if own in looks:
        looks[own] = Look(f"{own} (own data)", looks[own].colour, looks[own].marker, (4, 2))
    figure = canvas("How well features separate classes", 3.8)
    [ax] = grid(figure, 1, 1)
    lines(ax, rows, "eps", looks, "target")
    ax.set(xlabel="eps of the source (0: natural)", ylabel="accuracy of nearest neighbours (%)")
    legend(figure, looks, rows["target"])
    return figure


@drawing
def maps(shown: dict[str, tuple[str, np.ndarray, np.ndarray, float]], title: str) -> Figure:
    """A map for each source, a point for each image, coloured by class; few classes are named where their images are.

    Args:
        shown: what the source is called, places [n, 2], labels [n], and the accuracy of nearest neighbours in percent.
    """
    figure, axes = facets(len(shown), title, columns=3, sharey=False, height=2.9)
    for ax, (label, places, labels, knn) in zip(axes, shown.values(), strict=True):
        classes = np.unique(labels)
        colours = sns.husl_palette(len(classes), s=0.8, l=0.55)
        for colour, y in zip(colours, classes, strict=True):
            of_class = places[labels == y]
            ax.scatter(*of_class.T, s=5, color=colour, linewidth=0)
            if len(classes) <= LETTERS:
                _name(ax, of_class, str(y), colour)
        ax.set(title=f"{label}: neighbours {knn:.1f} %", xticks=[], yticks=[])
        ax.grid(visible=False)
    return figure


def _name(ax: Axes, of_class: np.ndarray, text: str, colour: tuple[float, ...]) -> None:
    """The number of a class at the median of its images, on a disc so that no point hides it."""
    ax.text(
        *np.median(of_class, axis=0), text, ha="center", va="center", fontsize=7, fontweight="bold", color=colour,
        bbox={"boxstyle": "circle,pad=0.15", "facecolor": PAPER, "edgecolor": MUTED, "linewidth": 0.5, "alpha": 0.85},
    )  # fmt: skip
