"""The figures of Shafahi et al. (ICLR 2020), drawn from `numbers.Transfers`: numbers, gradients as pictures, and histograms."""

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from stages.lib.report.figures import INK, MUTED, WIDTH, drawing, facets, legend, lines
from stages.lib.report.looks import OTHERS, Look
from stages.lib.report.pictures import picture, sheet, write
from stages.lib.report.results import at
from stages.lib.report.section import Drawing
from stages.studies.shafahi2020.numbers import BOTH, Transfers
from stages.studies.shafahi2020.runs import LEARN_WITHOUT_FORGETTING

WAYS = {
    "adversarial": Look("adversarial training of the target alone", OTHERS[0], "v", (3, 1.6)),
    "finetuned": Look("robust source, fine-tuned on adversarial examples", OTHERS[1], "s"),
    "transferred": Look("robust source, head trained on clean images", OTHERS[2], "D"),
}
BINS = 40


def drawings_of(transfers: Transfers, looks: dict[str, Look]) -> Iterator[Drawing]:
    """The figures of the experiments that are on. `looks` are of the sources."""
    if len(transfers.retrain):
        yield Drawing("shafahi_figure1", retrain, (transfers.retrain, transfers.attack, looks))
    if len(transfers.harden):
        yield Drawing("shafahi_figure3", harden, (transfers.harden, transfers.attack))
    for target in dict.fromkeys(transfers.train_heads["target"]):
        rows = at(transfers.train_heads, target=target)
        if rows["setting"].nunique() > 1:
            yield Drawing(f"shafahi_figure4_{target}", heads, (rows, looks))
    for target in dict.fromkeys(target for _, target in transfers.gradients):
        arrays = {source: pictures for (source, to), pictures in transfers.gradients.items() if to == target}
        yield Drawing(f"shafahi_figure5_{target}", gradients, (arrays, transfers.labels, looks, target))
    for target in dict.fromkeys(transfers.learn_without_forgetting["target"]):
        rows = at(transfers.learn_without_forgetting, target=target)
        arguments = (rows, transfers.attack, transfers.ways, looks)
        yield Drawing(f"shafahi_{LEARN_WITHOUT_FORGETTING}_{target}", learn_without_forgetting, arguments)
    if transfers.distances:
        shown = [(transfers.labels[source], target, arrays) for (source, target), arrays in transfers.distances.items()]
        yield Drawing("shafahi_figure7", distances, (shown,))


@drawing
def retrain(table: pd.DataFrame, attack: str, looks: dict[str, Look]) -> Figure:
    """Figure 1: accuracy under attack, and without, against the number of pieces that were drawn anew; dashed: the source itself."""
    figure, axes = facets(2, "Figure 1: the last k pieces retrained on clean images of the source's own data", columns=2, height=3.2)
    for ax, measure, title in zip(axes, (attack, "clean"), (_under(attack), "clean images"), strict=True):
        rows = at(table, measure=measure)
        lines(ax, at(rows, method="retrained"), "setting", looks, "source")
        for row in at(rows, method="source").itertuples():
            ax.axhline(row.mean, color=looks[row.source].colour, linestyle=(0, (4, 2)), linewidth=1.4)
        _finish(ax, title, "k: pieces drawn anew, from the head downwards", sorted(at(rows, method="retrained")["setting"].unique()))
    legend(figure, looks, table["source"])
    return figure


@drawing
def harden(rows: pd.DataFrame, attack: str) -> Figure:
    """Figure 3: three ways to a robust model against the number of images of a class, and what they cost."""
    figure, axes = facets(4, "Figure 3: few images of each class", columns=2, sharey=False, height=2.9)
    titles = {
        "clean": "(a) clean images",
        attack: f"(b) {_under(attack)}",
        BOTH: "(c) mean of both",
        "passes": "(d) cost: images forth and back through the network",
    }
    for ax, (measure, title) in zip(axes, titles.items(), strict=True):
        shown = at(rows, measure=measure)
        lines(ax, shown, "setting", WAYS, "method")
        ax.set_xscale("log")
        _finish(ax, title, "images of each class", sorted(shown["setting"].unique()))
        if measure == "passes":
            ax.set_yscale("log")
            ax.set_ylabel("passes of an image")
    legend(figure, WAYS, rows["method"], columns=1)
    return figure


@drawing
def heads(rows: pd.DataFrame, looks: dict[str, Look]) -> Figure:
    """Figure 4: accuracy against the number of hidden layers; dashed with dropout and batch norm."""
    measures = {"train": "training images", "clean": "test images", **{name: f"under {name.upper()}" for name in _attacks(rows)}}
    figure, axes = facets(len(measures), f"Figure 4: heads with hidden layers on frozen features, {rows['target'].iloc[0]}", height=3.0)
    kinds = list(dict.fromkeys(rows["method"]))
    for i, (ax, (measure, title)) in enumerate(zip(axes, measures.items(), strict=True)):
        shown = at(rows, measure=measure)
        for place, kind in enumerate(kinds):
            start = shown[(shown["setting"] == 0) & (shown["method"] == kinds[0])]
            part = pd.concat([start, at(shown, method=kind)]).drop_duplicates() if place else at(shown, method=kind)
            dash = (2.5, 1.5) if place else ()
            lines(ax, part, "setting", {n: replace(look, dash=dash, hollow=bool(place)) for n, look in looks.items()}, "source")
        _finish(ax, title, "hidden layers", sorted(shown["setting"].unique()), ylabel="" if i % 4 else "accuracy (%)")
    legend(figure, looks, rows["source"])
    return figure


@drawing
def gradients(by_source: dict[str, dict[str, np.ndarray]], labels: dict[str, str], looks: dict[str, Look], target: str) -> Figure:
    """Figure 5: the gradient of the loss by the image, a row for each source and number of hidden layers."""
    rows = [("image", None, INK, next(iter(by_source.values()))["image_0"])] if "image_0" in next(iter(by_source.values())) else []
    for source, arrays in by_source.items():
        numbers = sorted(float(name.removeprefix("gradient_")) for name in arrays if name.startswith("gradient_"))
        rows += [(labels[source], f"{n:g} hidden", looks[source].colour, arrays[f"gradient_{n:g}"]) for n in numbers]
    left, columns = 1.5, max(len(pictures) for *_, pictures in rows)
    size = min(0.95, (WIDTH - left) / columns)
    height = 0.5 + len(rows) * (size + 0.06)
    figure = sheet(height, f"Figure 5: gradient of the loss by the image, {target}")
    for i, (label, second, colour, pictures) in enumerate(rows):
        top = height - 0.45 - i * (size + 0.06)
        write(
            figure, 0.1, top - size / 2, f"{label}\n{second}" if second else label, va="center", color=colour, fontweight="bold", fontsize=8
        )
        for j, pixels in enumerate(pictures):
            picture(figure, (left + j * size, top), size, pixels if second is None else _shown(pixels), text="")
    return figure


def _shown(gradient: np.ndarray) -> np.ndarray:
    """Around grey, so that three standard deviations fill the range; all grey where the gradient is no number."""
    gradient = np.nan_to_num(gradient, posinf=0.0, neginf=0.0)
    return np.clip(0.5 + gradient / (6 * gradient.std() + 1e-30), 0, 1)


@drawing
def learn_without_forgetting(rows: pd.DataFrame, attack: str, ways: list[str], looks: dict[str, Look]) -> Figure:
    """Tables 4 to 7 as a figure: accuracy against lambda_d; dashed the frozen source, dotted on its own data the source itself.

    Of several ways of learning, the markers of the first are full, and those of the others hollow.
    """
    target = rows["target"].iloc[0]
    figure, axes = facets(2, f"Learning without forgetting, {target}", columns=2, height=3.1)
    values = sorted(rows.loc[rows["method"].isin(ways), "setting"].unique())
    places = {value: i for i, value in enumerate(values)}
    for ax, measure, title in zip(axes, ("clean", attack), ("clean images", _under(attack)), strict=True):
        for way in ways:
            shown = at(rows, method=way, measure=measure).assign(x=lambda table: table["setting"].map(places))
            lines(ax, shown, "x", {name: replace(look, hollow=way != ways[0]) for name, look in looks.items()}, "source")
        for method, dash in (("frozen", (4, 2)), ("source", (1, 1.4))):
            for row in at(rows, method=method, measure=measure).itertuples():
                ax.axhline(row.mean, color=looks[row.source].colour, linestyle=(0, dash), linewidth=1.4)
        _finish(ax, title, "lambda_d: weight of the distance from the source's features", list(places.values()), [f"{v:g}" for v in values])
    legend(figure, looks, rows["source"])
    return figure


@drawing
def distances(pairs: list[tuple[str, str, dict[str, np.ndarray]]]) -> Figure:
    """Figure 7: how far the features of an image are from those of its augmentation."""
    figure, axes = facets(
        len(pairs), "Figure 7: distance of the features of an image from those of its augmentation", columns=2, sharey=False
    )
    for ax, (label, target, arrays) in zip(axes, pairs, strict=True):
        edges = np.linspace(0, max(float(values.max()) for values in arrays.values()), BINS)
        for (split, values), colour in zip(arrays.items(), (MUTED, OTHERS[1]), strict=True):
            name = f"{split}: mean {values.mean():.2f}"
            ax.hist(values, edges, density=True, histtype="stepfilled", alpha=0.35, color=colour, label=name)
        ax.legend(loc="upper right")
        ax.set(title=f"{label} on {target}", xlabel="L2 distance", ylabel="density")
    return figure


def _under(attack: str) -> str:
    return f"under {attack.upper()}"


def _attacks(rows: pd.DataFrame) -> list[str]:
    return [name for name in dict.fromkeys(rows["measure"]) if name not in ("train", "clean")]


def _finish(ax: Axes, title: str, xlabel: str, ticks: list[float], labels: list[str] | None = None, ylabel: str = "accuracy (%)") -> None:
    ax.set_xticks(ticks, labels or [f"{tick:g}" for tick in ticks])
    ax.minorticks_off()
    ax.set(title=title, xlabel=xlabel, ylabel=ylabel)
