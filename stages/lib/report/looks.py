"""How sources, targets and numbers of blocks look in all figures: a colour, marker and dash each, and what they are called.

A colour has one meaning in the whole report. Those of families of sources are apart for people who see no red, no green or no blue, too;
so are those of the first four targets. tests/lib/report/test_looks.py measures that.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import seaborn as sns

from stages.lib.norms.table import NORMS, all_norms
from stages.lib.report.cards import Card, family_of, label_in_experiments, threat_of
from stages.lib.report.results import Results

MARKERS = "osD^vPX*"
INK = "#1d2733"  # of text; on a dark page it is light
TARGETS = ["#3da644", "#c2259a", "#2b50e0", "#f08cab", "#145c3a", "#6b7d2a"]
ORDERED = ["#e6cf6b", "#c9a03a", "#9c7428", "#74521f"]  # falls in brightness: for what has an order
OTHERS = ["#6f5b8f", "#3f9fe0", "#a98f80"]  # of what is neither a source, a target nor a number of blocks


@dataclass(frozen=True)
class Look:
    """How a source, a target or a number of blocks is drawn and called."""

    label: str
    colour: str
    marker: str
    dash: tuple[float, ...] = ()
    hollow: bool = False
    thin: bool = False


FAMILIES = {  # of sources: colours at the smallest and the largest eps, marker, dash
    "natural": (INK, "#8b96a3", "o", ()),
    **{norm.name: (*norm.colours, norm.marker, ()) for norm in all_norms()},
    "pgd1": ("#a03a3a", "#d08a8a", "^", (5, 1.5)),
    "gaussian": ("#9aa5ff", "#c3c9ff", "v", (1.5, 1.2)),
    "random": ("#8f3fd1", "#b98be3", "X", (3, 1.6)),
}


def looks_of(sources: Sequence[tuple[str, str, str, float]]) -> dict[str, Look]:
    """A look for each source by its family, darker with eps in those of robust sources.

    Args:
        sources: name, label, family (a key of FAMILIES) and eps of each.
    """
    looks = {}
    for family, (start, end, marker, dash) in FAMILIES.items():
        members = sorted((s for s in sources if s[2] == family), key=lambda s: s[3])
        shades = sns.blend_palette([start, end], max(2, len(members))).as_hex()
        shades = shades[-len(members) :] if family in NORMS else shades
        for (name, label, _, _), colour in zip(members, shades, strict=False):
            looks[name] = Look(label, colour, marker, dash)
    return {name: looks[name] for name, *_ in sources}


def looks_of_targets(targets: Sequence[str]) -> dict[str, Look]:
    count = len(TARGETS)
    return {t: Look(t, TARGETS[i % count], MARKERS[(i + i // count) % len(MARKERS)]) for i, t in enumerate(targets)}


def looks_in_order(labels: Sequence[str]) -> dict[str, Look]:
    """Looks of things that have an order, such as numbers of blocks: the darker, the later."""
    shades = sns.blend_palette(ORDERED, max(2, len(labels))).as_hex()
    return {label: Look(label, shade, MARKERS[i % len(MARKERS)]) for i, (label, shade) in enumerate(zip(labels, shades, strict=False))}


def looks_of_all(results: Results, cards: dict[str, Card]) -> dict[str, Look]:
    """Looks of the sources that are compared, and of those that experiments have besides.

    Args:
        cards: of the sources of the experiments.
    """
    differ = len({str(card.get("part")) for card in (results.cards | cards).values()}) > 1  # in what classes they have learnt
    compared = [(name, results.labels[name], results.family(name), results.eps(name)) for name in results.cards]
    others = [
        (name, label_in_experiments(name, card if differ else card | {"part": None}), family_of(card), threat_of(card).get("eps", 0.0))
        for name, card in cards.items()
        if name not in results.cards
    ]
    return looks_of(compared + others)
