"""Figures as SVG: bytes that repeat though the layout's last digits do not, points that say what they are, ids that are each of one."""

import re

import pandas as pd
import pytest
from matplotlib.figure import Figure

from stages.lib.report import figures, looks
from stages.lib.report.web import svg

LOOKS = looks.looks_of([("natural", "natural", "natural", 0.0), ("l2", "L2 0.5", "l2", 0.5)])
ROWS = pd.DataFrame({"source": ["l2", "l2", "natural"], "size": ["50", "100", "100"], "x": [50.0, 100.0, 100.0],
                     "mean": [60.0, -0.04, 7.0], "low": [58.0, -1.0, None], "high": [62.0, 2.0, None], "n": 6})  # fmt: skip


@figures.drawing
def figure(shift: float = 0.0) -> Figure:
    """Two panels, at places that differ by `shift` of the figure's width."""
    drawn, axes = figures.facets(2, "A title")
    for i, ax in enumerate(axes):
        figures.lines(ax, ROWS, "x", LOOKS, "source")
        ax.set_in_layout(False)
        ax.set_position((0.1 + 0.5 * i + shift, 0.1, 0.35, 0.8))
    return drawn


def text(shift: float = 0.0) -> str:
    return figures.encode(figure(shift), "svg").decode()


def test_a_last_digit_of_the_layout_changes_no_byte():
    assert text(1e-13) == text()
    assert text(1e-3) != text()


def test_each_point_says_its_mean_its_interval_and_n():
    assert re.findall("<title>(.*?)</title>", text())[:3] == [
        "natural, 100 images: 7.0, n = 6", "L2 0.5, 50 images: 60.0 (58.0 to 62.0), n = 6", "L2 0.5, 100 images: 0.0 (−1.0 to 2.0), n = 6",
    ]  # fmt: skip


def test_another_number_of_points_than_of_texts_is_an_error():
    drawn = figure()
    drawn.axes[0].lines[0].set_gid(svg.points(["one", "too many"]))
    with pytest.raises(ValueError, match="zip"):
        figures.encode(drawn, "svg")


def test_in_a_page_every_id_is_of_one_element_and_every_reference_leads_to_it():
    shown, letters = svg.inlined({"one": text(), "two": text()}, {figures.INK: "var(--ink)"})
    page = letters + shown["one"] + shown["two"]
    ids = re.findall(r'\bid="([^"]+)"', page)
    assert len(ids) == len(set(ids)) > 10
    assert set(re.findall(r'(?:href="|url\()#([^")]+)', page)) == set(ids)
    assert figures.INK not in page
