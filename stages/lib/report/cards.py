"""What the card of a source says in the report: threat model, the family that its colour goes by, and what the source is called."""

from typing import Any

from stages.lib.report.wording import eps_text

Card = dict[str, Any]  # as models/sources/<source>.json holds it
OTHER_PERTURBATIONS = {"PGD(1)": "pgd1", "Gaussian": "gaussian"}  # than PGD of many steps: the families of their sources


def threat_of(card: Card) -> dict[str, Any]:
    """Norm, eps and perturbation that a source was trained under; empty for a source that learnt from images as they are."""
    threat = card["threat"]
    return threat if threat and threat["eps"] else {}


def family_of(card: Card) -> str:
    """What the colour of a source goes by: `natural`, `random`; the norm of a robust source; `pgd1` or `gaussian`."""
    threat = threat_of(card)
    if not threat:
        return "random" if card["kind"] == "random" else "natural"
    return OTHER_PERTURBATIONS.get(threat.get("perturbation"), threat["norm"])


def threat_text(card: Card) -> str:
    """The ball, and how images were perturbed within it where that is known: `L2 0.5, PGD(3)`; else `none`."""
    threat = threat_of(card)
    if not threat:
        return "none"
    return ", ".join(filter(None, [eps_text(threat["norm"], threat["eps"]), threat.get("perturbation")]))


def labels_of(cards: dict[str, Card], natural: str) -> dict[str, str]:
    """What the compared sources are called in text and figures; a source has its own name where two would be called the same."""
    labels = {name: "natural" if name == natural else label_of(name, card) for name, card in cards.items()}
    return {name: label if list(labels.values()).count(label) == 1 else name for name, label in labels.items()}


def label_of(name: str, card: Card) -> str:
    """`random` without pre-training; else the ball, with the perturbation where it is not PGD of many steps; the name without a ball."""
    threat = threat_of(card)
    if not threat:
        return "random" if card["kind"] == "random" else name
    ball, perturbation = eps_text(threat["norm"], threat["eps"]), threat.get("perturbation")
    return f"{perturbation}, {ball}" if perturbation in OTHER_PERTURBATIONS else ball


def label_in_experiments(name: str, card: Card) -> str:
    """`natural`, or the ball; with the part of the classes that the source learnt, and with free training where it is trained so."""
    threat, part = threat_of(card), card.get("part")
    label = label_of(name, card) if threat else "natural"
    label += f", {threat['perturbation']}" if str(threat.get("perturbation")).startswith("free") else ""
    return label + (f", part {part['number'] + 1} of {part['of']}" if part else "")
