"""Figures: what is drawn is what the table says, each source looks the same everywhere, and the bytes repeat."""

import io

import matplotlib
import numpy as np
import pandas as pd
import pytest
from PIL import Image

from stages.lib import figures, pictures

SOURCES = [("natural", "natural", "natural", 0.0), ("l2", "L2 0.5", "l2", 0.5), ("linf", "L∞ 8/255", "linf", 8 / 255)]
SOURCES += [("random", "random", "random", 0.0)]
LOOKS = figures.looks_of(SOURCES)


def summary(blocks: tuple[str, ...] = ("0", "1"), sizes: tuple[int, ...] = (50, 100)) -> pd.DataFrame:
    rows = [(s, b, n, 60.0 + n / 10, 58.0, 72.0) for s in ("natural", "l2", "linf") for b in blocks for n in sizes]
    rows += [("random", "all", n, 40.0, 38.0, 42.0) for n in sizes]
    return pd.DataFrame(rows, columns=["source", "blocks", "n_images", "mean", "low", "high"])


def drawn(ax, colour: str) -> list[list[float]]:
    """The y values of the lines of a colour."""
    return [line.get_ydata().tolist() for line in ax.lines if matplotlib.colors.to_hex(line.get_color()) == colour]


def test_sources_differ_in_colour_and_marker_and_keep_both():
    assert len({look.colour for look in LOOKS.values()}) == 4
    assert len({look.marker for look in LOOKS.values()}) == 4
    assert list(LOOKS) == [name for name, *_ in SOURCES]


def test_a_larger_radius_of_one_norm_is_another_shade():
    looks = figures.looks_of([("a", "a", "l2", 0.25), ("b", "b", "l2", 0.5), ("c", "c", "l2", 3.0)])
    assert len({look.colour for look in looks.values()}) == 3


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
    figure = figures.accuracy(summary(sizes=(100,)), LOOKS, "digits")
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
    table = pd.DataFrame({"panel": "p", "source": "l2", "norm": "linf", "eps": [0.0, 4 / 255, 8 / 255], "accuracy": [90.0, 50.0, 20.0]})
    [ax] = figures.robustness(table, LOOKS, "under attack").axes
    assert [tick.get_text() for tick in ax.get_xticklabels()] == ["0", "4/255", "8/255"]


def test_published_differences_end_with_the_whole_training_set():
    table = pd.DataFrame({"target": "mnist", "n_images": [100, 25600, 60000], "natural": [68.7, 99.1, 99.2], "l2_eps3": [83.8, 99.3, 99.4]})
    [ax] = figures.published(table, "published").axes
    assert [tick.get_text() for tick in ax.get_xticklabels()] == ["100", "25.6k", "all"]


@pytest.mark.parametrize("kind", ["svg", "png"])
def test_the_same_table_gives_the_same_bytes(kind):
    first, second = (figures.encode(figures.accuracy(summary(), LOOKS, "digits"), kind) for _ in range(2))
    assert first == second
    assert b"<dc:date>" not in first


def test_png_is_a_picture_of_the_stated_width():
    with Image.open(io.BytesIO(figures.encode(figures.accuracy(summary(), LOOKS, "digits"), "png"))) as picture:
        assert picture.width == round(figures.WIDTH * 160)


def test_drawing_leaves_matplotlib_as_it_was():
    before = dict(matplotlib.rcParams)
    figures.encode(figures.accuracy(summary(), LOOKS, "digits"), "svg")
    assert dict(matplotlib.rcParams) == before
    assert matplotlib._pylab_helpers.Gcf.get_all_fig_managers() == []


def test_samples_show_every_image_with_its_label():
    x, y = np.zeros((3, 8, 8, 1), dtype=np.uint8), np.array([4, 5, 6])
    [ax] = pictures.samples({"train": (x, y), "test": (x[:2], y[:2])}, "digits").axes
    assert len(ax.images) == 5
    assert [t.get_text() for t in ax.texts] == ["digits", "train", "4", "5", "6", "test", "4", "5"]


def groups(changed: float) -> pd.DataFrame:
    clean = np.full((3, 8, 8, 3), 0.5, dtype=np.float32)
    arrays = {"clean": clean, "adversarial": clean + np.float32(changed), "label": np.array([0, 1, 2])}
    arrays |= {"predicted_clean": np.array([0, 1, 2]), "predicted_adversarial": np.array([0, 9, 9])}
    return pd.DataFrame([{"source": s, "norm": "l2", "radius": "L2 1", **arrays} for s in ("natural", "l2")])


def test_examples_show_what_the_first_source_loses_and_mark_it():
    [ax] = pictures.examples(groups(0.05), LOOKS, "examples").axes
    assert len(ax.images) == 2 * 2 * 3
    seen = [(t.get_text(), t.get_color()) for t in ax.texts if t.get_text().startswith("seen")]
    assert (
        seen
        == [("seen as 1", figures.INK), ("seen as 9", figures.WRONG)] * 2 + [("seen as 2", figures.INK), ("seen as 9", figures.WRONG)] * 2
    )


def test_the_change_is_magnified_to_fill_the_range_around_grey():
    [ax] = pictures.examples(groups(0.05), LOOKS, "examples").axes
    assert "change ×10" in [t.get_text() for t in ax.texts]
    assert ax.images[1].get_array().max() == 255


def test_no_change_is_shown_as_grey():
    [ax] = pictures.examples(groups(0.0), LOOKS, "examples").axes
    assert np.unique(ax.images[1].get_array()).tolist() == [128]
