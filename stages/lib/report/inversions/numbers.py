"""What an experiment that optimises images left, as tables: a row for each image, means by source and way, curves by steps, pictures.

Of any study: what it takes are the results of an experiment whose arrays are called `<source>/<target>/<method>/<setting>/<seed>/<name>`.
Distances are percent: of pixels, of the mean distance of two images of a class; of features, of the length of the representation; of
outlines, 100 (1 - r) with the correlation r of the strength of edges.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from stages.lib.report import statistics
from stages.lib.report.results import at
from stages.lib.report.statistics import ACCURACY, UNBOUNDED
from stages.lib.store.tables import CORRECT

WAY = ["target", "method", "setting"]  # a set, a way of optimising images, and its level of noise
MEASURES = {
    "pixel": "pixels", "start": "the start", "blank": "an image of grey", "feature": "features", "other": "another image of the class",
    "outline": "outlines", "start_outline": "the start", "other_outline": "another image of the class",
}  # fmt: skip
"""Distances from the original, by the name of their array, as figures call them: of the inversion, or of what it is compared with."""
LEVELS = {"pixel": ("start", "blank"), "feature": ("other",), "outline": ("start_outline", "other_outline")}  # of an inversion's distance
RECOGNISED, BEFORE = "recognised_", ("original_", "start_")  # before the name of a judge: of what was optimised, and of what was not


@dataclass(frozen=True)
class Optimised:
    """The results, image by image.

    A row of `images` is an image of a run: source, target, method, setting, seed, source_model, image, and the measures that the runs
    have: distances in percent, and 100 or 0 where a judge takes the image for its class or not.
    """

    images: pd.DataFrame
    arrays: Mapping[str, np.ndarray]

    @property
    def judges(self) -> list[str]:
        """Sources that have said what the images show."""
        return [name.removeprefix(RECOGNISED) for name in self.images if name.startswith(RECOGNISED)]

    def means(self, measure: str, bounds: statistics.Bounds = UNBOUNDED) -> pd.DataFrame:
        """Source, WAY, n, mean, low and high of a measure; of three and more models intervals are over them, of one over images."""
        rows = self.images.dropna(subset=[measure]) if measure in self.images else self.images.iloc[:0].assign(**{measure: []})
        return statistics.summarise(rows, ["source", *WAY], measure, bounds)

    def summary(self) -> pd.DataFrame:
        """The means of all measures, one below the other, for a CSV file."""
        measures = [name for name in self.images if name in MEASURES or name.startswith((RECOGNISED, *BEFORE))]
        bounds = [UNBOUNDED if name in MEASURES else ACCURACY for name in measures]
        parts = [self.means(name, of).assign(measure=name) for name, of in zip(measures, bounds, strict=True)]
        return pd.concat(parts, ignore_index=True) if parts else self.means("pixel").assign(measure="")

    def curves(self) -> pd.DataFrame:
        """Source, WAY, step, measure (`pixel` or `feature`), n, mean, low, high, over models (Terzi et al. 2021, Figure 2)."""
        rows = [
            {
                "source": source,
                "target": target,
                "method": method,
                "setting": setting,
                "seed": seed,
                "step": step,
                "measure": name,
                "value": value,
            }
            for (source, target, method, setting, seed), named in _by_run(self.arrays)
            if "curve_step" in named
            for name in ("pixel", "feature")
            for step, value in zip(named["curve_step"].tolist(), named[f"curve_{name}"].tolist(), strict=True)
        ]
        table = pd.DataFrame(rows, columns=["source", *WAY, "seed", "step", "measure", "value"])
        table = table.assign(source_model=table["seed"])
        return statistics.summarise(table, ["source", *WAY, "step", "measure"], "value", statistics.UNBOUNDED)

    @property
    def ways(self) -> list[tuple[str, float]]:
        """Ways of optimising images with their level of noise, as (method, setting)."""
        return list(dict.fromkeys(self.images[["method", "setting"]].itertuples(index=False, name=None)))

    def first(self, source: str, *way: object) -> dict[str, np.ndarray]:
        """The arrays of the run of a source's first model, by name: in a way, (target, method, setting), or in the first that there is."""
        for (of, *this, seed), named in _by_run(self.arrays):
            if of == source and seed == 0 and (not way or tuple(this) == way):
                return named
        return {}


def load(arrays: Mapping[str, np.ndarray], models: Mapping[str, int], measures: Sequence[str] = tuple(MEASURES)) -> Optimised:
    """The results of an experiment.

    Args:
        arrays: of the experiment, as `reading.ExperimentResults` has them.
        models: how many models a source has, of which the seeds take one after the other.
        measures: arrays of one value an image that are read, besides what judges say.
    """
    parts = []
    for (source, target, method, setting, seed), named in _by_run(arrays):
        values = {name: named[name].astype(float) for name in measures if name in named}
        values |= {name.removeprefix(CORRECT): 100.0 * array for name, array in named.items() if name.startswith(CORRECT)}
        if values:
            of_run = {"source": source, "target": target, "method": method, "setting": setting, "seed": seed}
            of_run["source_model"] = seed % models[source]
            parts.append(pd.DataFrame(values).rename_axis("image").reset_index().assign(**of_run))
    columns = ["source", *WAY, "seed", "source_model", "image"]
    table = pd.concat(parts, ignore_index=True) if parts else pd.DataFrame(columns=columns)
    return Optimised(table[[*columns, *(name for name in table if name not in columns)]], arrays)


def minus(rows: pd.DataFrame, measure: str, left: Mapping[str, object], right: Mapping[str, object]) -> pd.DataFrame:
    """A measure of the rows with the values `left` minus that of those with the values `right`, on the same images.

    Args:
        rows: `Optimised.images`.

    Returns:
        a row for each pair, with `difference` and `source_model`; none where one of the two sides is missing.
    """
    if measure not in rows:
        return pd.DataFrame(columns=["difference", "source_model"])
    chosen = [at(rows, **side).dropna(subset=[measure]) for side in (left, right)]
    return statistics.paired(*chosen, ["target", "seed", "image"], value=measure)


def _by_run(arrays: Mapping[str, np.ndarray]) -> Iterator[tuple[tuple[str, str, str, float, int], dict[str, np.ndarray]]]:
    """The arrays of each run, by their names; a run is source, target, method, setting and seed."""
    runs: dict[tuple[str, str, str, float, int], dict[str, np.ndarray]] = {}
    for key, array in arrays.items():
        source, target, method, setting, seed, name = key.split("/", 5)
        runs.setdefault((source, target, method, float(setting), int(seed)), {})[name] = array
    return iter(runs.items())
