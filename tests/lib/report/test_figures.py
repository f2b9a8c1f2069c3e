"""What all figures share: looks, axes, lines with their intervals, and bytes that repeat."""

import io

import matplotlib
import pandas as pd
import pytest
from PIL import Image

from stages.lib.report import figures
from stages.studies.question import figures as source_figures

SOURCES = [("natural", "natural", "natural", 0.0), ("l2", "L2 0.5", "l2", 0.5), ("linf", "L∞ 8/255", "linf", 8 / 255)]
SOURCES += [("one", "PGD(1), L2 0.5", "pgd1", 0.5), ("noise", "Gaussian, L2 0.5", "gaussian", 0.5), ("random", "random", "random", 0.0)]
LOOKS = figures.looks_of(SOURCES)


def one_panel() -> matplotlib.figure.Figure:
    rows = pd.DataFrame({"source": "l2", "blocks": "1", "size": ["50", "100"], "mean": [60.0, 70.0], "low": 58.0, "high": 72.0})
    return source_figures.accuracy(rows, LOOKS, "digits")


def test_families_differ_in_colour_and_marker_and_sources_keep_their_order():
    assert len({look.colour for look in LOOKS.values()}) == len(SOURCES)
    assert len({look.marker for look in LOOKS.values()}) == len(SOURCES)
    assert list(LOOKS) == [name for name, *_ in SOURCES]


def test_a_larger_radius_of_one_norm_is_another_shade():
    looks = figures.looks_of([("a", "a", "l2", 0.25), ("b", "b", "l2", 0.5), ("c", "c", "l2", 3.0)])
    assert len({look.colour for look in looks.values()}) == 3


def test_targets_differ_in_colour_and_marker_however_many_there_are():
    looks = figures.looks_of_targets([f"t{i}" for i in range(20)])
    assert len({(look.colour, look.marker) for look in looks.values()}) == 20


def test_what_has_an_order_falls_in_brightness():
    colours = [matplotlib.colors.to_rgb(look.colour) for look in figures.looks_in_order(["0", "1", "3", "9"]).values()]
    brightness = [0.2126 * r + 0.7152 * g + 0.0722 * b for r, g, b in colours]
    assert brightness == sorted(brightness, reverse=True)


@pytest.mark.parametrize(
    ("sizes", "places"),
    [(["100", "50"], {"50": 50, "100": 100}), (["all", "100", "400"], {"100": 100, "400": 400, "all": 1600}), (["all"], {"all": 2}),
     (["100", "all"], {"100": 100, "all": 200})],
)  # fmt: skip
def test_all_is_a_step_after_the_largest_number(sizes, places):
    assert figures.size_places(sizes) == places


def test_ticks_say_sizes_shortly_where_there_are_many():
    assert [figures.size_label(n, 3) for n in ("50", "1600", "25600", "all")] == ["50", "1,600", "25.6k", "all"]
    assert [figures.size_label(n, 10) for n in ("800", "1600", "25600", "all")] == ["800", "1.6k", "25.6k", "all"]


def test_panels_fill_their_rows_evenly():
    for count, rows in ((1, 1), (4, 1), (6, 2), (7, 2)):
        axes = figures.facets(count, "title")[1]
        assert len(axes) == count
        assert len({round(ax.get_position().y0, 3) for ax in axes}) == rows


@pytest.mark.parametrize("values", [[1.5, 1.5], [-1.5, -1.5], [0.0, 0.0], [3.0, 9.0], [-9.0, 2.0]])
def test_zero_and_all_values_lie_within_the_axis(values):
    _, [ax] = figures.facets(1, "title")
    ax.plot([1, 2], values)
    figures.zero_line(ax)
    low, high = ax.get_ylim()
    assert low < min(0, *values)
    assert high > max(0, *values)


@pytest.mark.parametrize("kind", ["svg", "png"])
def test_the_same_table_gives_the_same_bytes(kind):
    first, second = (figures.encode(one_panel(), kind) for _ in range(2))
    assert first == second
    assert b"<dc:date>" not in first


def test_png_is_a_picture_of_the_stated_width():
    with Image.open(io.BytesIO(figures.encode(one_panel(), "png"))) as picture:
        assert picture.width == round(figures.WIDTH * 160)


def test_drawing_leaves_matplotlib_as_it_was():
    before = dict(matplotlib.rcParams)
    figures.encode(one_panel(), "svg")
    assert dict(matplotlib.rcParams) == before
    assert matplotlib._pylab_helpers.Gcf.get_all_fig_managers() == []


@pytest.mark.parametrize("count", [3, 7, 8, 9, 15])
def test_a_legend_reads_row_by_row(count):
    names = [f"line {i}" for i in range(count)]
    figure, _ = figures.facets(1, "title")
    figures.legend(figure, figures.looks_in_order(names), names)
    figure.canvas.draw()
    places = {text.get_text(): text.get_window_extent() for text in figure.legends[0].get_texts()}
    assert sorted(names, key=lambda name: (-round(places[name].y0), places[name].x0)) == names
