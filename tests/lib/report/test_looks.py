"""How sources, targets and numbers of blocks look: apart from one another, and the same in every figure."""

from itertools import combinations

import made
import matplotlib
import numpy as np
import pytest

from stages.lib.report import looks

SOURCES = [("natural", "natural", "natural", 0.0), ("l2", "L2 0.5", "l2", 0.5), ("linf", "L∞ 8/255", "linf", 8 / 255)]
SOURCES += [("one", "PGD(1), L2 0.5", "pgd1", 0.5), ("noise", "Gaussian, L2 0.5", "gaussian", 0.5), ("random", "random", "random", 0.0)]
LOOKS = looks.looks_of(SOURCES)
LINF = {"norm": "linf", "eps": 8 / 255, "perturbation": "PGD(7)"}
SEEN = {  # what a colour becomes, as linear RGB: Machado et al. (2009), "A physiologically-based model for simulation of CVD", severity 1
    "all colours": np.eye(3),
    "no red": [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]],
    "no green": [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]],
    "no blue": [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.303900]],
}  # fmt: skip
TO_XYZ = np.array([[0.4124564, 0.3575761, 0.1804375], [0.2126729, 0.7151522, 0.0721750], [0.0193339, 0.1191920, 0.9503041]])  # of sRGB
FAMILIES = {name: colour for name, (*_, colour, _, _) in looks.FAMILIES.items() if name in looks.NORMS}
FAMILIES |= {name: colour for name, (colour, *_) in looks.FAMILIES.items() if name not in looks.NORMS}


def lab(colour: str, seen: str) -> np.ndarray:
    """CIE L*a*b* (D65) of a colour as it is seen."""
    rgb = np.array(matplotlib.colors.to_rgb(colour))
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    xyz = TO_XYZ @ np.clip(np.array(SEEN[seen]) @ linear, 0, 1) / TO_XYZ.sum(1)
    x, y, z = np.where(xyz > (6 / 29) ** 3, np.cbrt(xyz), xyz / (3 * (6 / 29) ** 2) + 4 / 29)
    return np.array([116 * y - 16, 500 * (x - y), 200 * (y - z)])


def nearest(colours: list[str], others: list[str] | None = None, seen: str = "all colours") -> tuple[float, tuple]:
    """The smallest difference (CIE 1976) of two of the colours, or of one of them from one of the others, and which two."""
    pairs = combinations(colours, 2) if others is None else [(a, b) for a in colours for b in others]
    return min((float(np.linalg.norm(lab(a, seen) - lab(b, seen))), (a, b)) for a, b in pairs)


@pytest.mark.parametrize("seen", SEEN)
def test_families_and_the_first_targets_are_apart_whatever_colours_one_sees(seen):
    assert nearest(list(FAMILIES.values()), seen=seen) > (20,)
    assert nearest(looks.TARGETS[:4], seen=seen) > (20,)
    assert nearest(looks.OTHERS, seen=seen) > (15,)


def test_a_colour_has_one_meaning():
    kinds = [list(FAMILIES.values()), looks.TARGETS, looks.ORDERED, looks.OTHERS]
    for ours, others in combinations(kinds, 2):
        assert nearest(ours, others) > (20,)
    assert nearest(looks.TARGETS) > (20,)


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


def test_a_part_that_all_sources_have_learnt_is_in_no_label():
    half = {"part": {"of": 2, "number": 0, "seed": 0}}
    results = made.results(lambda *_: 1.0, threats={"linf": LINF})
    results.cards.update({name: card | half for name, card in results.cards.items()})
    cards = {"l2": made.short_card({"norm": "l2", "eps": 0.5}) | half}
    assert looks.looks_of_all(results, cards)["l2"].label == "L2 0.5"
