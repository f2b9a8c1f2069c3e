"""What a source costs: its size, and the images that its training takes forth and back through the network.

Passes are counted and seconds are not: the same results give the same page on every machine.
"""

import re
from dataclasses import dataclass
from typing import Any

from stages.lib.networks.sources import paths
from stages.lib.report import reading
from stages.lib.report.results import Results, at


@dataclass(frozen=True)
class Cost:
    """Of one model of a source."""

    source: str
    parameters: int
    megabytes: float  # of the file of its weights
    passes: int | None  # of an image, forth and back, while it is trained; None where this pipeline does not train it
    times: float | None  # so many times those of the natural source


def costs_of(results: Results, settings: dict[str, Any]) -> list[Cost]:
    """The cost of each source, in the order of params.yaml.

    Args:
        settings: the sections of params.yaml by name.
    """
    passes = {name: passes_of(card, settings["source"], results.n_test.get("train")) for name, card in results.cards.items()}
    natural = passes.get(results.natural)
    found = []
    for name in results.cards:
        parameters, n_bytes = reading.size_of(paths(name)[0])
        times = passes[name] / natural if passes[name] is not None and natural else None
        found.append(Cost(name, parameters, n_bytes / 1e6, passes[name], times))
    return found


def passes_of_fine_tuning(results: Results) -> int:
    """Epochs x images of a run of the compared size."""
    runs = at(results.last, size=results.size)
    return int((runs["epoch"] * runs["n_images"]).max()) if len(runs) else 0


def passes_of(card: dict[str, Any], training: Any, n_train: int | None) -> int | None:
    """Epochs x images x (1 + steps of the attack on each image), as Shafahi et al. (2020, Figure 3d) count; free training has none.

    Args:
        card: of the source.
        training: the section `source` of params.yaml.
        n_train: training images of the source data.
    """
    if card["kind"] == "random":
        return 0
    if card["kind"] != "trained" or card["dataset"] != training.dataset or card.get("part") or n_train is None:
        return None
    attacked = re.fullmatch(r"PGD\((\d+)\)", (card["threat"] or {}).get("perturbation") or "")
    return training.epochs * n_train * (1 + (int(attacked[1]) if attacked else 0))
