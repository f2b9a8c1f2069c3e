"""What all figures share: axes, lines with their intervals, and bytes that repeat."""

import io

import matplotlib
import pandas as pd
import pytest
from PIL import Image

from stages.lib.report import figures, looks
from stages.studies.question import figures as source_figures

LOOKS = looks.looks_of([("natural", "natural", "natural", 0.0), ("l2", "L2 0.5", "l2", 0.5)])


def one_panel() -> matplotlib.figure.Figure:
    rows = pd.DataFrame({"source": "l2", "blocks": "1", "size": ["50", "100"], "mean": [60.0, 70.0], "low": 58.0, "high": 72.0})
    return source_figures.accuracy(rows, LOOKS, "digits")


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


@pytest.mark.parametrize(
    ("count", "word"), [(3, "line"), (7, "line"), (8, "line"), (9, "line"), (15, "line"), (11, "letters_x0_5_l2_eps0")]
)
def test_a_legend_reads_row_by_row_and_ends_within_the_figure(count, word):
    names = [f"{word} {i}" for i in range(count)]
    figure, _ = figures.facets(1, "title")
    figures.legend(figure, looks.looks_in_order(names), names)
    figure.canvas.draw()
    places = {text.get_text(): text.get_window_extent() for text in figure.legends[0].get_texts()}
    assert max(place.x1 for place in places.values()) < figure.bbox.width
    assert sorted(names, key=lambda name: (-round(places[name].y0), places[name].x0)) == names
