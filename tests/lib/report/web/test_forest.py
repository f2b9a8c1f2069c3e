"""Forest plots: zero in the middle, and round numbers on both sides that fit."""

import pytest

from stages.lib.report.web import forest


@pytest.mark.parametrize(
    ("scale", "texts"),
    [
        (0.1, ["−0.10", "−0.05", "0.00", "+0.05", "+0.10"]), (1.0, ["−1.0", "−0.5", "0.0", "+0.5", "+1.0"]),
        (2.2, ["−2", "−1", "0", "+1", "+2"]), (7.9, ["−4", "−2", "0", "+2", "+4"]), (9.9, ["−8", "−4", "0", "+4", "+8"]),
        (26, ["−20", "−10", "0", "+10", "+20"]), (100, ["−100", "−50", "0", "+50", "+100"]),
    ],
)  # fmt: skip
def test_ticks_are_round_and_within_the_plot(scale, texts):
    found = forest.ticks(scale)
    assert [text for _, text in found] == texts
    places = [float(place) for place, _ in found]
    assert places == sorted(places)
    assert places[2] == 50
    assert 2 < places[0] < 30
    assert places[0] + places[4] == pytest.approx(100)
    assert forest.place(scale, scale) == "97.00"
