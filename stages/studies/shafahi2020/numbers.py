"""The experiments of Shafahi et al. (ICLR 2020), brought into the numbers of their figures and tables.

Every accuracy is a mean over seeds. Its interval is the one over seeds where there are several, else Wilson's over test images.
"""

from dataclasses import dataclass, field

import numpy as np
import pandas as pd

from stages.lib.datasets.sets import card_of
from stages.lib.report import statistics
from stages.lib.report.cards import Card, label_in_experiments, threat_of
from stages.lib.report.reading import ExperimentResults
from stages.lib.store.tables import EXPERIMENT_RUNS
from stages.studies.shafahi2020.runs import HARDEN, LEARN_WITHOUT_FORGETTING, RETRAIN, TRAIN_HEADS
from stages.studies.shafahi2020.settings import REFERENCES

EXPERIMENTS = (RETRAIN, TRAIN_HEADS, HARDEN, LEARN_WITHOUT_FORGETTING)
BY = ["source", "target", "method", "setting", "measure"]
NOT_ACCURACY = ("images", "passes", "train distance", "test distance")
BOTH = "mean of both"  # of clean accuracy and accuracy under attack
Arrays = dict[tuple[str, str], dict[str, np.ndarray]]  # by source and target, then by name


@dataclass(frozen=True)
class Transfers:
    """What the experiments left that are on; the table of one that is off is empty.

    Tables: source, target, method, setting, measure, n (seeds), mean, low, high.
    """

    retrain: pd.DataFrame
    train_heads: pd.DataFrame
    harden: pd.DataFrame
    learn_without_forgetting: pd.DataFrame
    cards: dict[str, Card]  # of the sources
    labels: dict[str, str]
    attack: str  # by which robustness is measured where one is shown
    margin_attack: str | None  # that follows the margin, which does not saturate
    norm: str  # of the ball within which it is measured
    eps: float
    n_test: int
    classes: dict[str, int]  # of each target
    gradients: Arrays = field(default_factory=dict)
    distances: Arrays = field(default_factory=dict)

    @property
    def is_empty(self) -> bool:
        return all(getattr(self, name).empty for name in EXPERIMENTS)

    @property
    def ways(self) -> list[str]:
        """The ways of learning without forgetting, as the table of that experiment has them as methods."""
        return [method for method in dict.fromkeys(self.learn_without_forgetting["method"]) if method not in REFERENCES]

    def data_of(self, source: str) -> str:
        """The data that a source was trained on, and which part of their classes."""
        card = self.cards[source]
        return card["dataset"] + (f", part {card['part']['number'] + 1}" if card.get("part") else "")

    def robust(self, source: str) -> bool:
        """Whether the source was trained on perturbed images."""
        return bool(threat_of(self.cards[source]))


def load(experiments: dict[str, ExperimentResults], cards: dict[str, Card]) -> Transfers:
    """The numbers of the experiments of this paper that are on.

    Args:
        experiments: what was computed, by name.
        cards: of the sources of all experiments.
    """
    present = {name: experiments[name] for name in EXPERIMENTS if name in experiments}
    measured = next((result.settings["measured"] for result in present.values()), None)
    runs = {name: result.runs for name, result in present.items()}
    names = dict.fromkeys(source for table in runs.values() for source in table["source"])
    targets = dict.fromkeys(target for name, table in runs.items() if name != RETRAIN for target in table["target"])
    attacks = measured["attacks"] if measured else {}
    attack, n_test = next(iter(attacks), ""), measured["max_images"] if measured else 0
    return Transfers(
        *tables_of(runs, attack, n_test),
        cards={name: cards[name] for name in names},
        labels={name: label_in_experiments(name, cards[name]) for name in names},
        attack=attack,
        margin_attack=next((name for name, how in attacks.items() if how.get("loss") == "margin"), None),
        norm=measured["norm"] if measured else "",
        eps=measured["eps"] if measured else 0.0,
        n_test=n_test,
        classes={name: card_of(name).classes for name in targets},
        gradients=_by_pair(present[TRAIN_HEADS].arrays) if TRAIN_HEADS in present else {},
        distances=_by_pair(present[LEARN_WITHOUT_FORGETTING].arrays) if LEARN_WITHOUT_FORGETTING in present else {},
    )


def _by_pair(arrays: dict[str, np.ndarray]) -> Arrays:
    """Arrays under `<source>/<target>/<name>`, sorted by source and target."""
    pairs: Arrays = {}
    for key, array in arrays.items():
        source, target, name = key.split("/", 2)
        pairs.setdefault((source, target), {})[name] = array
    return pairs


def tables_of(runs: dict[str, pd.DataFrame], attack: str, n_test: int) -> list[pd.DataFrame]:
    """The table of each experiment, in the order of `EXPERIMENTS`; that of hardening has the mean of both accuracies, seed by seed.

    Args:
        runs: by experiment.
        attack: by which robustness is measured.
        n_test: test images behind each accuracy.
    """
    tables = []
    for name in EXPERIMENTS:
        rows = runs.get(name, pd.DataFrame(columns=[*EXPERIMENT_RUNS]))
        if name == HARDEN and len(rows):
            rows = pd.concat([rows, _both(rows, attack)], ignore_index=True)
        rows = rows.assign(n_test=[images_behind(measure, n_test) for measure in rows["measure"]])
        tables.append(statistics.summarise(rows, BY, "value", statistics.UNBOUNDED, n_test="n_test"))
    return tables


def images_behind(measure: str, n_test: int) -> float:
    """How many of the tested images an accuracy is of; NaN of what is no accuracy.

    Args:
        measure: such as `clean`, or `clean, test` of one of the two parts into which the tested images are split.
        n_test: images that are tested.
    """
    if measure in NOT_ACCURACY:
        return np.nan
    return {"validation": n_test - n_test // 2, "test": n_test // 2}.get(measure.rpartition(", ")[2], n_test)


def _both(rows: pd.DataFrame, attack: str) -> pd.DataFrame:
    """The mean of clean accuracy and accuracy under attack of each run, as one more measure of it."""
    accuracies = rows[rows["measure"].isin(["clean", attack])]
    means = accuracies.groupby([*BY[:-1], "seed"], sort=False, as_index=False)["value"].mean()
    return means.assign(measure=BOTH)
