"""The runs of `influence`, brought into the numbers of Figures 6 and 7 of Utrera et al. (2021)."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd

from stages.lib.networks.sources import count
from stages.lib.report import statistics
from stages.lib.report.cards import Card, natural_of, robust_of
from stages.lib.report.reading import ExperimentResults
from stages.lib.report.results import at, of_models
from stages.studies.utrera2021.influence import published
from stages.studies.utrera2021.influence.runs import INFLUENCE

MEASURES = {
    "first": "the first image has the label", "three_of_five": "at least three of the first five have it",
    "own_class": "the own class helps most, on average",
}  # fmt: skip
CONTROLS = {"features": "control: most similar features, no label", "labels": "control: gradients of the bias, no feature"}
BY = ["target", "way", "measure", "source"]
Pictures = dict[str, np.ndarray]


@dataclass(frozen=True)
class Influences:
    """What `influence` left; without rows where it is off. Values are percent of the test images.

    A row of `runs` is a run and a measure: BY, seed, value, n_test, source_model, diverged; `way` is empty for `test` and `train`, the
    accuracies. A row of `means` belongs to a source, BY, n, mean, low, high, diverged; of `ranks` to a source and a rank.
    """

    runs: pd.DataFrame
    images: pd.DataFrame  # BY, seed, image, correct: of the way that is shown, and of similar features
    means: pd.DataFrame
    ranks: pd.DataFrame
    natural: str | None = None
    robust: str | None = None  # that stands for adversarial training
    settings: dict[str, Any] = field(default_factory=dict)
    cards: dict[str, Card] = field(default_factory=dict)
    pictures: dict[tuple[str, str], Pictures] = field(default_factory=dict)  # of the first subset, by source and target

    @property
    def is_empty(self) -> bool:
        return self.runs.empty

    @property
    def inverses(self) -> list[str]:
        """Ways to score by an inverse of the Hessian, the one that is shown first."""
        return [way for way in dict.fromkeys(self.runs["way"]) if way.startswith(("cut_", "damped_"))]

    @property
    def targets(self) -> list[str]:
        return list(dict.fromkeys(self.runs["target"]))

    def label(self, way: str) -> str:
        """A way to score in words."""
        return CONTROLS.get(way) or label_of(way)

    def difference(self, left: pd.DataFrame, right: pd.DataFrame) -> pd.DataFrame:
        """Rows of one measure minus those of another one, or of another source, on the same subsets."""
        return statistics.paired(left, right, ["target", "seed"], value="value")

    def gap(self, target: str, way: str, measure: str) -> pd.DataFrame:
        """Robust minus natural on each subset: a row for each, with a column `difference`."""
        rows = at(self.runs, target=target, way=way, measure=measure)
        return self.difference(at(rows, source=self.robust), at(rows, source=self.natural))

    def published(self, target: str, source: str, way: str, measure: str) -> float | None:
        """The published value that stands beside ours, which is of a cut."""
        column = published.column_of(self.cards[source], target, self.settings)
        found = published.load()
        return float(found.loc[measure, column]) if column and way.startswith("cut_") and measure in found.index else None


def label_of(way: str) -> str:
    """An inverse of the Hessian in words: `cut at 0.05`, `damped by 0.01`."""
    kind, _, value = way.partition("_")
    return f"{'cut at' if kind == 'cut' else 'damped by'} {value}"


def load(experiments: dict[str, ExperimentResults], cards: dict[str, Card], natural: str, robust: str | None) -> Influences:
    """The numbers of the experiment where it is on.

    Args:
        cards: of the sources of all experiments.
        natural, robust: the sources that the report compares; where the experiment lacks one, its first one of that kind stands in.
    """
    if INFLUENCE not in experiments:
        nothing = pd.DataFrame(columns=[*BY, "seed", "value", "source_model", "diverged"])
        return Influences(nothing, nothing, nothing, nothing)
    found = experiments[INFLUENCE]
    own = {name: cards[name] for name in dict.fromkeys(found.runs["source"])}
    robust_ones = robust_of(own)
    stands_for = robust if robust in robust_ones else next(iter(robust_ones), None)
    return of_runs(found, own, {name: count(name) for name in own}, natural_of(own, natural), stands_for)


def of_runs(
    found: ExperimentResults, cards: dict[str, Card], models: dict[str, int], natural: str | None, robust: str | None
) -> Influences:  # fmt: skip
    """The numbers of runs as their stage leaves them; models: how many a source has, of which the subsets take one after the other."""
    rows = _by_way(of_models(found.runs, models))
    percent = rows[rows["way"] != "kept"].assign(n_test=lambda rows: rows["n_test"].replace(0, np.nan))
    means, ranks = statistics.summarise(percent, BY, "value", n_test="n_test"), _ranks(found.arrays, rows)
    return Influences(rows, _by_way(found.images), means, ranks, natural, robust, found.settings, cards, _pictures(found.arrays))


def _by_way(rows: pd.DataFrame) -> pd.DataFrame:
    """`<way>/<measure>` in two columns; what has no way has an empty one."""
    parts = rows["measure"].str.rpartition("/")
    return rows.assign(way=parts[0], measure=parts[2])


def _ranks(arrays: dict[str, np.ndarray], rows: pd.DataFrame) -> pd.DataFrame:
    """The share of the test images whose image of each rank has their label: target, way, rank, source, n, mean, low, high."""
    models = rows.drop_duplicates(["source", "seed"]).set_index(["source", "seed"])["source_model"]
    tables = []
    for key, shares in arrays.items():
        source, target, seed, kind, way = [*key.split("/"), ""][:5]
        if kind == "ranks":
            tables.append(pd.DataFrame({
                "source": source, "target": target, "way": way, "rank": np.arange(1, len(shares) + 1), "value": shares.astype(np.float64),
                "source_model": models[source, int(seed)],
            }))  # fmt: skip
    columns = ["target", "way", "rank", "source"]
    whole = pd.concat(tables, ignore_index=True) if tables else pd.DataFrame(columns=[*columns, "value", "source_model"])
    return statistics.summarise(whole, columns, "value")


def _pictures(arrays: dict[str, np.ndarray]) -> dict[tuple[str, str], Pictures]:
    found: dict[tuple[str, str], Pictures] = {}
    for key, array in arrays.items():
        source, target, _, name = key.split("/", 3)
        if name.startswith(("picture/", "matrix/")):
            found.setdefault((source, target), {})[name] = array
    return found
