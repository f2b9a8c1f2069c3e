"""The paper's figures: a line for each target in its colour, panels as in the paper, and nothing that is not in the table."""

import made
import matplotlib
import numpy as np
import pandas as pd
import pytest

from stages.lib.report import figures
from stages.lib.report.looks import looks_of_all, looks_of_targets
from stages.studies.utrera2021 import authors, numbers
from stages.studies.utrera2021 import figures as paper_figures

L2, LINF = {"norm": "l2", "eps": 3.0}, {"norm": "linf", "eps": 8 / 255}
THREATS = {"l2": L2, "linf4": {"norm": "linf", "eps": 4 / 255}, "linf8": LINF, "one": L2 | {"perturbation": "PGD(1)"}}
LEAD = {"l2": 8.0, "linf4": 6.0, "linf8": 5.0, "one": 7.0}
TARGETS = ("cifar10", "mnist", "svhn")
AUTHORS = pd.DataFrame(
    [
        (source, "mnist", "3", n, str(n), epoch, 10, mean if epoch == 100.0 else 50.0, 2.0, epoch == 100.0)
        for source, means in {"l2": (69.0, 79.5), "natural": (60.0, 70.0)}.items()
        for n, mean in zip((50, 200), means, strict=True)
        for epoch in (21.0, 100.0)
    ],
    columns=[*authors.KEY, "n", "mean", "sd", "last"],
)


@pytest.fixture(scope="module")
def drawn():
    results = made.results(
        lambda s, t, b, n, e: LEAD.get(s, 0.0) + TARGETS.index(t) + int(b), targets=TARGETS, sizes=(50, 200), blocks=("0", "1", "3"),
        threats=THREATS | {"noise": L2 | {"perturbation": "Gaussian"}}, epochs_at=["50", "200"],
    )  # fmt: skip
    looks = {look.label: look for look in looks_of_all(results, {}).values()}
    found = {n: (v, paper_figures.draw(n, v, looks, TARGETS)) for n, v in numbers.all_figures(results, AUTHORS).items()}
    for _, figure in found.values():
        figures.encode(figure, "svg")  # lays it out
    return found


def curves(ax: matplotlib.axes.Axes) -> list[tuple[str, list[float]]]:
    """Colour and y values of the lines of an axes, but for that at zero."""
    lines = [line for line in ax.lines if len(line.get_xdata()) and list(line.get_xdata()) != [0, 1]]
    return [(matplotlib.colors.to_hex(line.get_color()), np.round(line.get_ydata(), 6).tolist()) for line in lines]


def titles(figure: matplotlib.figure.Figure) -> list[str]:
    return [ax.get_title("left").replace("\n", " ") for ax in figure.axes if ax.get_visible()]


COLOURS = {name: look.colour for name, look in looks_of_targets(TARGETS).items()}


def test_figure_2_draws_robust_natural_and_published(drawn):
    _, figure = drawn["figure2"]
    left, right = figure.axes
    assert titles(figure) == ["(a) accuracy", "(b) robust minus natural"]
    assert len(curves(left)) == 6 + 2
    assert curves(right) == [*((COLOURS[t], [8.0, 8.0]) for t in TARGETS), (COLOURS["mnist"], [9.0, 9.5])]
    assert left.get_title("right") == right.get_title("right") == "n = 6"
    assert [text.get_text() for legend in figure.legends for text in legend.get_texts()] == [*TARGETS, "robust", "natural", "published"]


def test_figure_3_has_a_row_for_each_size(drawn):
    _, figure = drawn["figure3_10"]
    assert titles(figure) == [
        f"({p}) {what}, {n} images" for n in (50, 200) for p, what in (("a", "accuracy"), ("b", "robust minus natural"))
    ]
    assert curves(figure.axes[1]) == [*((COLOURS[t], [8.0, 8.0]) for t in TARGETS), (COLOURS["mnist"], [0.0, 9.0])]
    assert figure.axes[0].get_xlabel() == "epoch of fine-tuning"


def test_figure_4_has_a_panel_for_each_target_and_one_for_the_difference(drawn):
    for name in ("figure4", "figure11_natural", "figure11_linf8"):
        _, figure = drawn[name]
        assert titles(figure) == ["(a) cifar10", "mnist", "svhn", "(b) 3 blocks minus 1 block"]
        published = name != "figure11_linf8"
        assert [len(curves(ax)) for ax in figure.axes] == [3, 3 + published, 3, 3]
        assert curves(figure.axes[-1]) == [(COLOURS[t], [2.0, 2.0]) for t in TARGETS]


def test_figure_5_has_targets_above_and_pairs_below(drawn):
    _, figure = drawn["figure5"]
    assert titles(figure) == [
        "(a) cifar10", "mnist", "svhn", "(c) linf4 minus linf8", "(d) l2 minus linf4", "(e) l2 minus linf8",
    ]  # fmt: skip
    assert curves(figure.axes[3])[0] == (COLOURS["cifar10"], [1.0, 1.0])


def test_figure_8_has_one_scale(drawn):
    _, figure = drawn["figure8"]
    assert titles(figure) == ["(a) l2 minus natural", "(b) one minus natural", "(c) noise minus natural"]
    assert len({ax.get_ylim() for ax in figure.axes}) == 1


@pytest.mark.parametrize("name", ["figure2", "figure3_10", "figure4", "figure5", "figure8"])
def test_no_text_of_a_panel_leaves_the_figure_or_covers_another_title(drawn, name):
    _, figure = drawn[name]
    renderer = matplotlib.backends.backend_agg.FigureCanvasAgg(figure).get_renderer()
    width, height = figure.get_size_inches() * figure.dpi
    boxes = [ax.title.get_window_extent(renderer) for ax in figure.axes] + [
        ax._left_title.get_window_extent(renderer) for ax in figure.axes
    ]
    boxes = [box for box in boxes if box.width]
    for i, box in enumerate(boxes):
        assert box.x0 >= 0
        assert box.x1 <= width
        assert box.y1 <= height
        assert not any(box.overlaps(other) for other in boxes[i + 1 :])
    for legend in [*figure.legends, *(legend for part in figure.subfigs for legend in part.legends)]:
        box = legend.get_window_extent(renderer)
        assert box.x1 <= width
        assert box.y0 >= 0


def test_one_source_of_a_pair_and_one_target_are_drawn_too():
    results = made.results(lambda *_: 3.0, threats={"l2": L2, "linf8": LINF}, sizes=(100,))
    found = numbers.all_figures(results, AUTHORS[:0])
    for name in ("figure2", "figure5"):
        figure = paper_figures.draw(name, found[name], {}, ["digits"])
        assert figures.encode(figure, "png")
    assert titles(figure)[-1] == "(d) l2 minus linf8", "the paper's letter, also without two radii of a norm"


def test_published_differences_end_with_the_whole_training_set():
    table = pd.DataFrame({"target": "mnist", "n_images": [100, 25600, 60000], "natural": [68.7, 99.1, 99.2], "l2_eps3": [83.8, 99.3, 99.4]})
    [ax] = paper_figures.published(table, "published").axes
    assert [tick.get_text() for tick in ax.get_xticklabels()] == ["100", "25.6k", "all"]
