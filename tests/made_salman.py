"""Results of a grid of sources, architectures x radii, whose accuracies are a function: of a small study, and of the paper's models."""

from collections.abc import Callable, Sequence
from itertools import product

import made
import pandas as pd

from stages.lib.report.results import Results
from stages.studies.salman2020.results import MODES, SalmanResults, as_in_paper
from stages.studies.salman2020.study import SalmanSettings

RADII = (0.0, 0.1, 0.5, 1.0)


def name_of(architecture: str, eps: float) -> str:
    return f"{architecture}_{f'l2_eps{eps:g}' if eps else 'natural'}"


def results(
    accuracy: Callable[[str, float, str, str, int], float], architectures: Sequence[str] = ("small_resnet",), radii: Sequence[float] = RADII,
    targets: Sequence[str] = ("fine", "coarse"), modes: Sequence[str] = ("fixed", "full"), n_models: int = 4, seeds: int = 2,
    own: Callable[[str, float, int], float] = lambda *_: 90.0, name: Callable[[str, float], str] = name_of,
    settings: SalmanSettings | None = None, extra: dict | None = None, **more: object,
) -> SalmanResults:  # fmt: skip
    """Results of n_models models of each source, each with `seeds` subsets of its own, of 100 images.

    Args:
        accuracy: of architecture, eps, mode, target and number of the model; seed i of a model has i tenths more, for all sources alike.
        own: accuracy of a source on its own data: of architecture, eps and number of the model.
        extra: cards of further sources, whose runs are those of eps 0 of their architecture.
    """
    places = {name(a, eps): (a, eps) for a, eps in product(architectures, radii)}
    cards = {
        source: [_card(a, eps, own(a, eps, number)) | {"name": source} for number in range(n_models)] for source, (a, eps) in places.items()
    }  # fmt: skip
    for source, card in (extra or {}).items():
        places[source], cards[source] = (card["architecture"], -1.0), [card] * n_models
    rows = [
        (
            source,
            target,
            MODES[mode],
            100,
            10 * model + i,
            10,
            accuracy(a, eps, mode, target, model) + i / 10,
            False,
            model,
            f"{source} {i}",
        )
        for source, (a, eps) in places.items()
        for target, mode, model, i in product(targets, modes, range(n_models), range(seeds))
    ]
    columns = ["source", "target", "blocks", "n_images", "seed", "epoch", "test_accuracy", "diverged", "source_model", "cell"]
    known = {
        "natural": name(architectures[0], 0.0), "targets": list(targets), "textures": [], "n_test": {"test": 1000}, "blocks": "0",
        "size": "100", "labels": {source: source for source in cards}, "models": cards,
    }  # fmt: skip
    whole = Results(runs=pd.DataFrame(rows, columns=columns), robustness=made.NOTHING, checks=made.UNCHECKED, **(known | more))
    return as_in_paper(whole, settings or SalmanSettings(coarser={"fine": "coarse"}))


def _card(architecture: str, eps: float, accuracy: float) -> dict:
    threat = {"norm": "l2", "eps": eps, "perturbation": "PGD(2)"} if eps else None
    return made.short_card(threat, test=accuracy, test_decorrelated=accuracy) | {"architecture": architecture, "dataset": "letters"}
