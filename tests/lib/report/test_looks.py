"""How sources, targets and numbers of blocks look: apart from one another, and the same in every figure."""

import made
import matplotlib

from stages.lib.report import looks

SOURCES = [("natural", "natural", "natural", 0.0), ("l2", "L2 0.5", "l2", 0.5), ("linf", "L∞ 8/255", "linf", 8 / 255)]
SOURCES += [("one", "PGD(1), L2 0.5", "pgd1", 0.5), ("noise", "Gaussian, L2 0.5", "gaussian", 0.5), ("random", "random", "random", 0.0)]
LOOKS = looks.looks_of(SOURCES)
LINF = {"norm": "linf", "eps": 8 / 255, "perturbation": "PGD(7)"}


def test_families_differ_in_colour_and_marker_and_sources_keep_their_order():
    assert len({look.colour for look in LOOKS.values()}) == len(SOURCES)
    assert len({look.marker for look in LOOKS.values()}) == len(SOURCES)
    assert list(LOOKS) == [name for name, *_ in SOURCES]


def test_a_larger_radius_of_one_norm_is_another_shade():
    shown = looks.looks_of([("a", "a", "l2", 0.25), ("b", "b", "l2", 0.5), ("c", "c", "l2", 3.0)])
    assert len({look.colour for look in shown.values()}) == 3


def test_targets_differ_in_colour_and_marker_however_many_there_are():
    shown = looks.looks_of_targets([f"t{i}" for i in range(20)])
    assert len({(look.colour, look.marker) for look in shown.values()}) == 20


def test_what_has_an_order_falls_in_brightness():
    colours = [matplotlib.colors.to_rgb(look.colour) for look in looks.looks_in_order(["0", "1", "3", "9"]).values()]
    brightness = [0.2126 * r + 0.7152 * g + 0.0722 * b for r, g, b in colours]
    assert brightness == sorted(brightness, reverse=True)


def test_a_source_has_one_colour_in_all_figures_and_no_other_has_it():
    cards = {"natural": made.short_card(), "linf": made.short_card(LINF)}
    cards |= {"half": made.short_card(LINF) | {"part": {"of": 2, "number": 0, "seed": 0}}}
    results = made.results(lambda *_: 1.0, threats={"l2": {"norm": "l2", "eps": 0.5}, "linf": LINF})
    shown = looks.looks_of_all(results, cards)
    assert list(shown) == ["natural", "l2", "linf", "half"]
    assert len({look.colour for look in shown.values()}) == 4
    assert shown["half"].label == "L∞ 8/255, part 1 of 2"
    assert shown["linf"].label == results.labels["linf"]
