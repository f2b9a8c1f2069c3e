"""The runs of `detect`, brought into the numbers of Figure 4 of Salman et al. (2020): AP of each source, and robust minus natural."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd

from stages.lib.networks.sources import count
from stages.lib.report import statistics
from stages.lib.report.cards import Card, natural_of, robust_of
from stages.lib.report.reading import ExperimentResults
from stages.lib.report.results import at, of_models
from stages.studies.salman2020 import choosing
from stages.studies.salman2020.detection.runs import DETECT

MEASURES = {"box_ap": "box AP", "mask_ap": "mask AP"}  # those that are compared, as the report calls them
BY = ["method", "target", "measure"]  # a task, its set, and what is measured: of one panel


@dataclass(frozen=True)
class Detections:
    """What `detect` left; without rows where it is off.

    A row of `runs` is a run and a measure: BY, source, seed, value, diverged, source_model. A row of `means` and of `gains` belongs to
    a source: BY, source, n, mean, low, high, diverged; gains are over the natural source, paired by seed.
    """

    runs: pd.DataFrame
    means: pd.DataFrame
    gains: pd.DataFrame
    natural: str | None  # the source that the others are compared with; None where the experiment has none
    cards: dict[str, Card] = field(default_factory=dict)
    tasks: dict[str, dict[str, Any]] = field(default_factory=dict)  # their settings, by name
    arrays: dict[str, np.ndarray] = field(default_factory=dict)

    @property
    def is_empty(self) -> bool:
        return self.runs.empty

    @property
    def robust(self) -> list[str]:
        """Sources that were trained adversarially with many steps."""
        return robust_of(self.cards)

    @property
    def panels(self) -> list[tuple[str, str, str]]:
        """Task, set and measure of each comparison."""
        return list(dict.fromkeys(self.means[BY].itertuples(index=False, name=None)))


def load(experiments: dict[str, ExperimentResults], cards: dict[str, Card], natural: str) -> Detections:
    """The numbers of the experiment where it is on.

    Args:
        experiments: what was computed, by name.
        cards: of the sources of all experiments.
        natural: the source that the report compares the others with; where the experiment lacks it, its first natural source stands in.
    """
    columns = [*BY, "source", "seed", "value", "diverged", "source_model"]
    if DETECT not in experiments:
        return Detections(*(pd.DataFrame(columns=columns) for _ in range(3)), natural=None)
    found = experiments[DETECT]
    own = {name: cards[name] for name in dict.fromkeys(found.runs["source"])}
    return of_runs(found.runs, own, natural, {name: count(name) for name in own}, found.settings["tasks"], found.arrays)


def of_runs(
    runs: pd.DataFrame, cards: dict[str, Card], natural: str, models: dict[str, int], tasks: dict[str, Any], arrays: dict[str, np.ndarray]
) -> Detections:
    """The numbers of runs as their stage leaves them; models: how many a source has, of which the seeds take one after the other."""
    rows = of_models(runs, models)
    rows = rows[rows["measure"].isin(MEASURES)]
    means = statistics.summarise(rows, [*BY, "source"], "value")
    natural = natural_of(cards, natural)
    gains = statistics.summarise(over(rows, list(cards), natural), [*BY, "source"], "difference", statistics.DIFFERENCE)
    return Detections(rows, means, gains, natural, cards, tasks, arrays)


def over(rows: pd.DataFrame, sources: list[str], natural: str | None) -> pd.DataFrame:
    """Each of the sources minus the natural one, a row for each seed, with a column `difference`."""
    chosen = rows[rows["source"].isin(sources) & (rows["source"] != natural)]
    return statistics.paired(chosen, at(rows, source=natural), [*BY, "seed"], value="value")


def of_best_robust(detections: Detections, panel: tuple[str, str, str]) -> pd.DataFrame:
    """The best robust source minus the natural one: columns source, difference, source_model; a row for each part.

    Parts are the source models or, where a source is one model, the seeds; half of them choose the source that the others measure
    (`choosing.by_halves`).
    """
    rows = at(detections.runs, **dict(zip(BY, panel, strict=True)))
    part = "source_model" if rows["source_model"].nunique() > 1 else "seed"
    table = rows.pivot_table(index=part, columns="source", values="value", sort=False).reindex(columns=detections.cards).dropna()
    found = choosing.by_halves(table[detections.robust], table[[detections.natural]])
    models = found["part"].astype(int) if part == "source_model" else 0
    return found.rename(columns={"chosen": "source"}).assign(source_model=models)[["source", "difference", "source_model"]]
