"""Figures by source: what is drawn is what the table says."""

import matplotlib
import pandas as pd

from stages.lib.report import looks
from stages.studies.question import figures

SOURCES = [("natural", "natural", "natural", 0.0), ("l2", "L2 0.5", "l2", 0.5), ("linf", "L∞ 8/255", "linf", 8 / 255)]
SOURCES += [("random", "random", "random", 0.0)]
LOOKS = looks.looks_of(SOURCES)


def summary(blocks: tuple[str, ...] = ("0", "1"), sizes: tuple[str, ...] = ("50", "100")) -> pd.DataFrame:
    rows = [(s, b, n, 60.0 + int(n) / 10, 58.0, 72.0) for s in ("natural", "l2", "linf") for b in blocks for n in sizes]
    rows += [("random", "all", n, 40.0, 38.0, 42.0) for n in sizes]
    return pd.DataFrame(rows, columns=["source", "blocks", "size", "mean", "low", "high"])


def drawn(ax, colour: str) -> list[list[float]]:
    """The y values of the lines of a colour."""
    return [line.get_ydata().tolist() for line in ax.lines if matplotlib.colors.to_hex(line.get_color()) == colour]


def test_accuracy_draws_the_means_of_each_panel_and_random_in_all():
    figure = figures.accuracy(summary(), LOOKS, "digits")
    assert [ax.get_title("left") for ax in figure.axes] == ["head only (0 blocks)", "1 block"]
    for ax in figure.axes:
        assert drawn(ax, LOOKS["l2"].colour) == [[65.0, 70.0]]
        assert drawn(ax, LOOKS["random"].colour) == [[40.0, 40.0]]
        assert [tick.get_text() for tick in ax.get_xticklabels()] == ["50", "100"]


def test_whole_network_has_a_panel_when_pretrained_sources_have_it_too():
    figure = figures.accuracy(summary(blocks=("1", "all")), LOOKS, "digits")
    assert [ax.get_title("left") for ax in figure.axes] == ["1 block", "whole network"]


def test_one_number_of_images_gets_bars():
    figure = figures.accuracy(summary(sizes=("100",)), LOOKS, "digits")
    assert len(figure.axes[0].containers) == 4


def test_difference_shows_zero():
    table = summary().assign(mean=-3.0, low=-4.0, high=-2.0)
    for ax in figures.difference(table[table["source"] == "l2"], LOOKS, "digits").axes:
        low, high = ax.get_ylim()
        assert low < -4 < 0 < high


def test_epochs_have_a_panel_per_target():
    table = pd.DataFrame({"source": "l2", "target": ["digits", "digits", "textures"], "epoch": [1, 11, 1], "mean": [1.0, 2.0, 3.0]})
    figure = figures.epochs(table, LOOKS, "by epoch")
    assert [ax.get_title("left") for ax in figure.axes] == ["digits", "textures"]
    assert drawn(figure.axes[0], LOOKS["l2"].colour) == [[1.0, 2.0]]


def test_linf_radii_are_written_as_fractions():
    table = pd.DataFrame(
        {
            "panel": "p",
            "source": "l2",
            "norm": "linf",
            "eps": [0.0, 4 / 255, 8 / 255],
            "mean": [90.0, 50.0, 20.0],
            "low": [85.0, 45.0, 15.0],
            "high": [95.0, 55.0, 25.0],
        }
    )
    [ax] = figures.robustness(table, LOOKS, "under attack").axes
    assert [tick.get_text() for tick in ax.get_xticklabels()] == ["0", "4/255", "8/255"]
