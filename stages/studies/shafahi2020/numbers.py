"""The experiments of Shafahi et al. (ICLR 2020), brought into the numbers of their figures and tables.

Every accuracy is a mean over seeds. Its interval is the one over seeds where there are several, else Wilson's over test images.
"""

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd

from stages.lib.datasets.sets import card_of
from stages.lib.report import statistics
from stages.lib.report.cards import Card, label_in_experiments, threat_of
from stages.lib.report.reading import ExperimentResults
from stages.lib.store.tables import DIVERGED, EXPERIMENT_RUNS
from stages.studies.shafahi2020.runs import HARDEN, LEARN_WITHOUT_FORGETTING, RETRAIN, TRAIN_HEADS
from stages.studies.shafahi2020.settings import REFERENCES

EXPERIMENTS = (RETRAIN, TRAIN_HEADS, HARDEN, LEARN_WITHOUT_FORGETTING)
BY = ["source", "target", "method", "setting", "measure"]
BOTH = "mean of both"  # of clean accuracy and accuracy under attack
Arrays = dict[tuple[str, str], dict[str, np.ndarray]]  # by source and target, then by name


@dataclass(frozen=True, eq=False)
class OnImages:
    """The test images behind an accuracy, and how often each is labelled correctly."""

    places: np.ndarray  # int64 [n], in the test split, rising
    correct: np.ndarray  # float64 [n], fraction of the seeds


@dataclass(frozen=True)
class Transfers:
    """What the experiments left that are on; the table of one that is off is empty.

    Tables: source, target, method, setting, measure, n (seeds), mean, low, high; diverged, how many of the n runs have, whose
    accuracies count as they ended; n_test, the number of test images behind an accuracy, and images: `OnImages`, or None where
    they are not known.
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
    how: dict[str, Any]  # settings of the attack by which it is measured
    n_test: str  # test images behind an accuracy under attack
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
    attack = next(iter(attacks), "")
    tables = tables_of(runs, {name: result.images for name, result in present.items()}, attack)
    return Transfers(
        *tables,
        cards={name: cards[name] for name in names},
        labels={name: label_in_experiments(name, cards[name]) for name in names},
        attack=attack,
        margin_attack=next((name for name, how in attacks.items() if how.get("loss") == "margin"), None),
        norm=measured["norm"] if measured else "",
        eps=measured["eps"] if measured else 0.0,
        how=attacks.get(attack, {}),
        n_test=n_test_text(tables, attack),
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


def tables_of(runs: dict[str, pd.DataFrame], images: dict[str, pd.DataFrame], attack: str) -> list[pd.DataFrame]:
    """The table of each experiment, in the order of `EXPERIMENTS`; that of hardening has the mean of both accuracies, seed by seed.

    Args:
        runs: by experiment.
        images: the test images of these runs, by experiment.
        attack: by which robustness is measured.
    """
    tables = []
    for name in EXPERIMENTS:
        rows = runs.get(name, pd.DataFrame(columns=[*EXPERIMENT_RUNS]))
        flagged = rows["measure"] == DIVERGED
        diverged, rows = rows[flagged].groupby(BY[:-1]).size(), rows[~flagged]
        known = _images(images[name]) if name in runs else {}
        if name == HARDEN and len(rows):
            both = _of_both(images[name], attack)
            rows = pd.concat([rows, _accuracies(both)], ignore_index=True)
            known |= _images(both)
        rows = rows.assign(n_test=rows["n_test"].where(rows["n_test"] > 0))
        table = statistics.summarise(rows, BY, "value", statistics.UNBOUNDED, n_test="n_test")
        n_test = rows.groupby(BY, sort=False)["n_test"].first()
        keys = [tuple(key) for key in table[BY].itertuples(index=False)]
        tables.append(table.assign(
            diverged=[int(diverged.get(key[:-1], 0)) for key in keys], n_test=[n_test[key] for key in keys],
            images=pd.Series([known.get(key) for key in keys], dtype=object),
        ))  # fmt: skip
    return tables


def n_test_text(tables: list[pd.DataFrame], attack: str) -> str:
    """How many test images are behind an accuracy under attack: one number, or where the test splits differ the least and the greatest."""
    counts = sorted({int(n) for table in tables for n in table.loc[table["measure"] == attack, "n_test"].dropna()})
    return " to ".join(str(n) for n in dict.fromkeys([*counts[:1], *counts[-1:]]))


def _images(images: pd.DataFrame) -> dict[tuple, OnImages]:
    """The test images of the runs that differ by seed alone, by what `BY` says of the runs."""
    means = {key: rows.groupby("image")["correct"].mean() for key, rows in images.groupby(BY, sort=False)}
    return {key: OnImages(mean.index.to_numpy(), mean.to_numpy()) for key, mean in means.items()}


def _of_both(images: pd.DataFrame, attack: str) -> pd.DataFrame:
    """Of each attacked image of each run the mean of both, without an attack and under it, as one more measure of it."""
    keys = [*BY[:-1], "seed", "image"]
    clean, robust = (images[images["measure"] == name].set_index(keys)["correct"].astype(float) for name in ("clean", attack))
    mean = ((clean.reindex(robust.index) + robust) / 2).reset_index()
    return mean.assign(measure=BOTH)


def _accuracies(images: pd.DataFrame) -> pd.DataFrame:
    """The accuracy of each run on these images, in percent, as its table has them."""
    means = images.groupby([*BY, "seed"], sort=False)["correct"].agg(["mean", "size"]).reset_index()
    return means.assign(value=100 * means["mean"], n_test=means["size"]).drop(columns=["mean", "size"])
