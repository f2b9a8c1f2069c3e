"""Sources that differ in the radius of their adversarial training alone."""

from collections.abc import Mapping

from stages.lib.report.cards import Card, family_of, threat_of

SAME = ("architecture", "dataset", "part")  # of the cards of such sources


def radii(cards: Mapping[str, Card], natural: str | None) -> dict[str, float]:
    """eps by source, rising: the natural one, and robust ones of its architecture, data and norm; empty without a natural one.

    Of several norms the one that the first robust source has. A source that was trained in another way than by PGD is not one of them.
    """
    if natural is None:
        return {}
    like = [cards[natural].get(key) for key in SAME]
    robust = [
        (name, threat_of(card))
        for name, card in cards.items()
        if [card.get(key) for key in SAME] == like and family_of(card) == threat_of(card).get("norm")
    ]
    of_norm = {name: threat["eps"] for name, threat in robust if threat["norm"] == robust[0][1]["norm"]}
    return {natural: 0.0} | dict(sorted(of_norm.items(), key=lambda item: item[1]))
