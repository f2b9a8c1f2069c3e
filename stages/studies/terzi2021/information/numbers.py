"""The runs of `information`, brought into the numbers of Figures 4 to 6 of Terzi et al. (2021), with intervals over source models.

Fisher informations differ by factors, so that their means are geometric: of logarithms, and their intervals too.
"""

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd

from stages.lib.information.weight_norm import NORM
from stages.lib.networks.sources import folder_of
from stages.lib.report import statistics
from stages.lib.report.cards import Card, family_of, natural_of, threat_of
from stages.lib.report.reading import ExperimentResults, models_of
from stages.lib.report.results import at
from stages.lib.store import packed
from stages.studies.terzi2021.information.runs import INFORMATION

FACTORS = ("fisher_w", "fisher_z", "fisher_z_relative", "fisher_linear", "fisher_y")  # measures that differ by factors, 0 at the least
BY = ["source", "target", "measure"]
SUMMARY = [*BY, "eps", "n", "mean", "low", "high"]


@dataclass(frozen=True)
class Information:
    """What `information` left; without rows where it is off.

    `runs` has a row for each model and measure: BY, value, source_model; `by_layer` the same of layers, with the column layer in the place
    of target; `norms` a row for each model and epoch of a training that kept it: source, source_model, epoch, weight_norm.
    """

    runs: pd.DataFrame
    by_layer: pd.DataFrame
    norms: pd.DataFrame
    natural: str | None  # the source that the others are compared with; None where the experiment has none
    cards: dict[str, Card] = field(default_factory=dict)
    arrays: dict[str, np.ndarray] = field(default_factory=dict)

    @property
    def is_empty(self) -> bool:
        return self.runs.empty

    @property
    def own(self) -> str:
        """The set that the sources have learnt."""
        return self.cards[next(iter(self.cards))]["dataset"] if self.natural is None else self.cards[self.natural]["dataset"]

    @property
    def grid(self) -> dict[str, float]:
        """eps of the sources that differ in it alone, rising: the natural one, and robust ones of its architecture, data and norm.

        Of several norms the one that the first robust source has; a source that was trained in another way than by PGD is not one of them.
        """
        if self.natural is None:
            return {}
        like = [self.cards[self.natural].get(key) for key in ("architecture", "dataset", "part")]
        robust = [
            (name, threat_of(card))
            for name, card in self.cards.items()
            if [card.get(key) for key in ("architecture", "dataset", "part")] == like and family_of(card) == threat_of(card).get("norm")
        ]
        of_norm = {name: threat["eps"] for name, threat in robust if threat["norm"] == robust[0][1]["norm"]}
        return {self.natural: 0.0} | dict(sorted(of_norm.items(), key=lambda item: item[1]))

    @property
    def targets(self) -> list[str]:
        """Sets whose classes the representations are to separate, the sources' own first."""
        found = list(dict.fromkeys(at(self.runs, measure="knn")["target"]))
        return sorted(found, key=lambda name: name != self.own)

    def values(self, source: str, target: str, measure: str) -> pd.Series:
        """A measure by source model; of measures that differ by factors, its natural logarithm."""
        rows = at(self.runs, source=source, target=target, measure=measure).set_index("source_model")["value"].astype(float)
        return logarithm(rows) if measure in FACTORS else rows

    def differences(self, source: str, target: str, measure: str) -> pd.Series:
        """A measure of a source minus that of the natural one, by source model: as a logarithm to base 2, or points."""
        factor = 1 / np.log(2) if measure in (*FACTORS, "log_variance") else 1.0
        return (factor * (self.values(source, target, measure) - self.values(self.natural, target, measure))).dropna()


def logarithm(values: pd.Series) -> pd.Series:
    """The natural logarithm; of a network that answers always the same, whose information is 0, it is missing."""
    return np.log(values.where(values > 0))


def load(experiments: dict[str, ExperimentResults], cards: dict[str, Card], natural: str) -> Information:
    """The numbers of the experiment where it is on.

    Args:
        experiments: what was computed, by name.
        cards: of the sources of all experiments.
        natural: the source that the report compares the others with; where the experiment lacks it, its first natural source stands in.
    """
    if INFORMATION not in experiments:
        nothing = pd.DataFrame(columns=[*BY, "value", "source_model"])
        return Information(nothing, nothing, nothing, natural=None)
    found = experiments[INFORMATION]
    own = {name: cards[name] for name in dict.fromkeys(found.runs["source"])}
    return of_runs(found.runs, own, natural, found.arrays, norms_of(list(own)))


def of_runs(
    runs: pd.DataFrame, cards: dict[str, Card], natural: str, arrays: dict[str, np.ndarray], norms: pd.DataFrame
) -> Information:  # fmt: skip
    """The numbers of runs as their stage leaves them."""
    rows = runs.assign(source_model=runs["seed"].astype(int))
    measures = rows["measure"].str.split("/", n=1, expand=True).reindex(columns=[0, 1])
    rows = rows.assign(measure=measures[0], layer=measures[1])
    of_layer = rows["layer"].notna()
    return Information(
        rows[~of_layer][[*BY, "value", "n_test", "source_model"]].reset_index(drop=True),
        rows[of_layer][["source", "layer", "measure", "value", "source_model"]].reset_index(drop=True),
        norms, natural_of(cards, natural), cards, arrays,
    )  # fmt: skip


def norms_of(sources: list[str]) -> pd.DataFrame:
    """The norm of the weights after each epoch, of models whose training kept it; a model has the weights that its training ended with."""
    rows = []
    for source in sources:
        rows += norms_in(source, folder_of(source), {card["sha256"]: card["number"] for card in models_of(source)})
    return pd.DataFrame(rows, columns=["source", "source_model", "epoch", NORM])


def norms_in(source: str, folder: Path, models: dict[str, int]) -> list[tuple[str, int, int, float]]:
    """Source, number of the model, epoch and norm; models: their numbers by the hash of their weights."""
    return [
        (source, models[result["weights_sha256"]], epoch, values[NORM])
        for result in packed.results(folder)
        if result.get("weights_sha256") in models
        for epoch, values in enumerate(result["history"], 1)
        if NORM in values
    ]


def summary(information: Information) -> pd.DataFrame:
    """SUMMARY: means over the models of a source, geometric ones of `FACTORS`, with their intervals; eps is missing off the grid."""
    rows = information.runs.assign(n_test=information.runs["n_test"].where(information.runs["n_test"] > 0))
    factors = rows["measure"].isin(FACTORS)
    rows = rows.assign(value=rows["value"].where(~factors, logarithm(rows["value"]))).dropna(subset="value")
    table = statistics.summarise(rows, BY, "value", statistics.UNBOUNDED, n_test="n_test")
    of_factors = table["measure"].isin(FACTORS)
    for column in ("mean", "low", "high"):
        table[column] = np.exp(table[column].where(of_factors, 0.0)).where(of_factors, table[column])
    return table.assign(eps=table["source"].map(information.grid))[SUMMARY]


def layers(information: Information) -> pd.DataFrame:
    """source, eps, place, layer, n, mean, low, high: the mean logarithm of the variances of each layer, in the order of the network."""
    rows = at(information.by_layer, measure="log_variance")
    places = {layer: place for place, layer in enumerate(dict.fromkeys(rows["layer"]))}
    table = statistics.summarise(rows, ["source", "layer"], "value", statistics.UNBOUNDED)
    return table.assign(eps=table["source"].map(information.grid), place=table["layer"].map(places))


def norms(information: Information) -> pd.DataFrame:
    """source, epoch, n, mean, low, high: the norm of the weights while training; without rows where no training kept it."""
    return statistics.summarise(information.norms, ["source", "epoch"], NORM, statistics.UNBOUNDED)


def map_of(information: Information, source: str, target: str) -> tuple[np.ndarray, np.ndarray] | None:
    """Places and labels of the images of a map; None where there is none."""
    start = f"{source}/{target}/"
    if start + "map" not in information.arrays:
        return None
    return information.arrays[start + "map"], information.arrays[start + "label"]
