"""The numbers on shape and texture: shape bias, accuracy on stylised and degraded images, under attack, and along the texture dial.

Tables in, tables out. Of a source of several models an interval is over these, of one model Wilson's, over images; differences are paired
by model and seed.
"""

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd

from stages.lib.networks.sources import count
from stages.lib.report import statistics
from stages.lib.report.cards import Card, robust_of, threat_of
from stages.lib.report.reading import ExperimentResults
from stages.lib.report.results import at, of_models
from stages.studies.utrera2021.results import UtreraResults
from stages.studies.utrera2021.shape.measures import ACCURACY, BIAS, SHAPE, TEXTURE
from stages.studies.utrera2021.shape.runs import SHAPE_BIAS, TEXTURE_ATTACK, TEXTURE_DIAL, TRANSFER

AS_IS_VERSION = "as it is"
VERSIONS = {"low_resolution": "low resolution", "low_pass": "low pass"}  # of a target, as the report calls them
STATE = ["method", "setting"]  # of a source: as it is, or how many blocks are fine-tuned
NEEDED = ["source", "target", *STATE, "seed", "measure", "value", "n_test", "source_model", "diverged"]


@dataclass(frozen=True)
class ShapeNumbers:
    """What the experiments and the degraded targets say; tables without rows where an experiment is off.

    Every table has n, mean, low, high besides: `bias`: method, setting, measure, source; `attack`: eps, source; `degraded`: target,
    version, source; `dial`: quantity (shape bias, or a target), correlation, source; `advantage`: the same of robust minus natural
    sources at a place of the dial. The tables `..._runs` have a row for each run, from which differences are made.
    """

    natural: str  # the source that others are compared with
    cards: dict[str, Card]  # of all sources of the experiments
    bias: pd.DataFrame
    attack: pd.DataFrame
    degraded: pd.DataFrame
    dial: pd.DataFrame
    advantage: pd.DataFrame
    bias_runs: pd.DataFrame
    attack_runs: pd.DataFrame
    degraded_runs: pd.DataFrame
    advantage_runs: pd.DataFrame
    settings: dict[str, dict[str, Any]] = field(default_factory=dict)  # of the experiments that are on, by name

    @property
    def is_empty(self) -> bool:
        return all(table.empty for table in (self.bias, self.attack, self.degraded, self.dial))

    def eps(self, source: str) -> float:
        return threat_of(self.cards[source]).get("eps", 0.0)


def load(results: UtreraResults, experiments: dict[str, ExperimentResults], cards: dict[str, Card]) -> ShapeNumbers:
    """The numbers of the experiments that are on, and of the targets that are compared with themselves without detail."""
    bias, attack, dial = (_runs_of(experiments, name) for name in (SHAPE_BIAS, TEXTURE_ATTACK, TEXTURE_DIAL))
    less = _degraded(results)
    along = dial.assign(quantity=dial["target"].where(dial["method"] == TRANSFER, "shape bias"))
    along = along[(along["measure"] == ACCURACY) | (along["measure"] == BIAS)]
    attack = attack.assign(eps=attack["measure"].str.removeprefix("eps_").astype(float))
    advantages = _advantages(along, cards)
    return ShapeNumbers(
        natural=results.natural,
        cards=cards | results.cards,
        bias=_means(bias, [*STATE, "measure", "source"], "n_test"),
        attack=_means(attack, ["eps", "source"], "n_test"),
        degraded=statistics.summarise(less, ["target", "version", "source"], "test_accuracy"),
        dial=_means(along, ["quantity", "setting", "source"], "n_test"),
        advantage=statistics.summarise(advantages, ["quantity", "setting", "source"], "difference", statistics.DIFFERENCE),
        bias_runs=bias, attack_runs=attack, degraded_runs=less, advantage_runs=advantages,
        settings={name: experiments[name].settings for name in (SHAPE_BIAS, TEXTURE_ATTACK, TEXTURE_DIAL) if name in experiments},
    )  # fmt: skip


def _runs_of(experiments: dict[str, ExperimentResults], name: str) -> pd.DataFrame:
    """The runs of an experiment, with the source model of each and whether it has diverged; see `answered` for their numbers of images."""
    if name not in experiments:
        return pd.DataFrame(columns=NEEDED).astype({"value": "float64", "setting": "float64", "measure": "object"})
    runs = experiments[name].runs
    runs = of_models(runs, {source: count(source) for source in runs["source"].unique()})
    return answered(runs, ["source", "target", *STATE, "seed"])[NEEDED]


def answered(runs: pd.DataFrame, keys: list[str]) -> pd.DataFrame:
    """The runs, with the number of images that are named by shape or texture as `n_test` of each shape bias; NaN for 0 and for accuracies
    on images that are not counted."""
    named = runs[runs["measure"].isin((SHAPE, TEXTURE))]
    counts = (named["value"] * named["n_test"] / 100).round().groupby([named[key] for key in keys]).sum()
    of_bias = runs["measure"] == BIAS
    images = [counts.get(key, 0) for key in runs.loc[of_bias, keys].itertuples(index=False, name=None)]
    n_test = runs["n_test"].astype("float64")
    n_test.loc[of_bias] = images
    return runs.assign(n_test=n_test.where(n_test > 0))


def _means(rows: pd.DataFrame, by: list[str], n_test: str) -> pd.DataFrame:
    return statistics.summarise(rows, by, "value", n_test=n_test)


def _degraded(results: UtreraResults) -> pd.DataFrame:
    """The runs of targets and of the same images with less detail, at the compared blocks and images: target, version and those of runs."""
    rows, found = at(results.last, blocks=results.blocks, size=results.size), []
    for target, less in results.degraded.items():
        named = {VERSIONS[key]: name for key, name in less.items()}
        for version, name in ({AS_IS_VERSION: target} | named).items() if named else ():
            found.append(at(rows, target=name).assign(target=target, version=version))
    columns = ["target", "version", "source", "seed", "source_model", "test_accuracy"]
    return pd.concat(found, ignore_index=True) if found else pd.DataFrame(columns=columns)


def _advantages(along: pd.DataFrame, cards: dict[str, Card]) -> pd.DataFrame:
    """Robust minus natural of the same place of the dial, paired by seed: a row for each robust source, quantity, place and seed."""
    robust = robust_of({name: cards[name] for name in along["source"].unique()})
    natural = along[~along["source"].isin(robust)]
    return statistics.paired(along[along["source"].isin(robust)], natural, ["quantity", "setting", "seed"], value="value")


def pairs(rows: pd.DataFrame, left: str, right: str, on: list[str], value: str) -> pd.DataFrame:
    """One source minus another on the same subsets, with columns `difference` and `source_model`."""
    return statistics.paired(at(rows, source=left), at(rows, source=right), on, value=value)


def turn_of_the_dial(advantages: pd.DataFrame, cards: dict[str, Card]) -> dict[tuple[str, float], np.ndarray]:
    """By quantity and radius: the advantage at the last place of the dial minus that at the first, for each source model.

    Sources at different places are matched by their radius, and their models by number, as these have learnt the same letters in the same
    order. Of each model the mean over its seeds counts.
    """
    rows = advantages.assign(
        eps=[threat_of(cards[source]).get("eps", 0.0) for source in advantages["source"]],
        number=advantages["source_model"].astype(str).str.split(" ").str[0].astype(int),
    )
    turns = {}
    for (quantity, eps), group in rows.groupby(["quantity", "eps"], sort=False):
        means = group.groupby(["setting", "number"])["difference"].mean().unstack("setting")
        if means.shape[1] > 1:
            turns[quantity, eps] = (means[means.columns.max()] - means[means.columns.min()]).dropna().to_numpy()
    return turns
