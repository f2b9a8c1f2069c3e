"""What the card of a source says in the report: threat model, the family that its colour goes by, what the source is called, and whether
it has learnt its own data."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from stages.lib.norms.table import NORMS
from stages.lib.report.binomial import wilson
from stages.lib.report.wording import eps_text

Card = dict[str, Any]  # as models/sources/<source>.json holds it
ONE_STEP = "pgd1"
OTHER_PERTURBATIONS = {"PGD(1)": ONE_STEP, "Gaussian": "gaussian"}  # than PGD of many steps: the families of their sources


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


def natural_of(cards: Mapping[str, Card], natural: str) -> str | None:
    """The source that others are compared with: the report's; where an experiment lacks it, its first natural one; None without any."""
    return natural if natural in cards else next((name for name, card in cards.items() if family_of(card) == "natural"), None)


def robust_of(cards: Mapping[str, Card]) -> list[str]:
    """Sources that were trained adversarially with many steps; where there is none, those that were with one."""
    of = {name: family_of(card) for name, card in cards.items()}
    return [name for name in of if of[name] in NORMS] or [name for name in of if of[name] == ONE_STEP]


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


@dataclass(frozen=True)
class Unlearnt:
    """A model of a source that has not learnt its own data."""

    source: str
    number: int  # of the model, counted from 0, of so many
    models: int
    says: str  # its accuracy, and that which shows what is missing

    @property
    def which(self) -> str:
        """`model 2 of 4`; empty where the source has one model."""
        return f"model {self.number + 1} of {self.models}" if self.models > 1 else ""

    @property
    def text(self) -> str:
        return " ".join(filter(None, [self.which, "has not learnt its own data:", self.says]))


def unlearnt(models: Sequence[Card]) -> list[Unlearnt]:
    """The models of a source that have not learnt their own data, as their accuracy on its test images says.

    Such a model is no better than one answer to all images, that of the commonest class; or it is not half as far above that as the
    best model of the source, which differs from it by its seed alone. Both beyond chance: 95 % intervals over test images (Wilson's).
    """
    tested = {number: card for number, card in enumerate(models) if "test" in card["accuracy"]}
    best = max((card["accuracy"]["test"] for card in tested.values()), default=0.0)
    found = []
    for number, card in tested.items():
        accuracy, guess = card["accuracy"]["test"], _guess(card)
        says = f"{accuracy:.1f} % of the test images of {card['dataset']}"
        if _bounds(card, accuracy)[0] <= guess:
            says += f", and one answer to all of them has {guess:.1f} %"
        elif accuracy - guess < (best - guess) / 2 and _bounds(card, accuracy)[1] < _bounds(card, best)[0]:
            says += f", and another model of the source has {best:.1f} %"
        else:
            continue
        found.append(Unlearnt(card["name"], number, len(models), says))
    return found


def _guess(card: Card) -> float:
    """Percent of the test images that one answer to all of them has; of cards that do not hold it, of classes of one size."""
    return card.get("commonest", {}).get("test", 100 / card["classes"] if card.get("classes") else 0.0)


def _bounds(card: Card, percent: float) -> tuple[float, float]:
    """The interval of an accuracy on the source's test images; that alone where their number is not known."""
    n = card.get("n_test", {}).get("test")
    return wilson(percent, n) if n else (percent, percent)
