"""The numbers behind the figures and tables of Salman et al. (2020): tables in, tables out, kept in reports/tables/.

All are of the compared number of images. `place` is the position of a radius on the axis of a figure: the paper's grid is dense near 0.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pandas as pd

from stages.lib.report import statistics
from stages.lib.report.results import at
from stages.studies.salman2020 import choosing, regression
from stages.studies.salman2020.published import THEIRS, Published
from stages.studies.salman2020.results import SalmanResults, means

INTERVAL = ["mean", "low", "high"]
PLACE = ["mode", "architecture", "eps", "target"]


@dataclass(frozen=True)
class Numbers:
    """A table for each figure or table of the paper; empty where the configuration lacks what it takes, such as texture-robust sources."""

    best: pd.DataFrame  # Figures 2 and 3: a row for each mode, architecture and target, as `choosing.summary`, with the published run
    table1: pd.DataFrame  # the same over all architectures, with the published accuracies
    accuracy: pd.DataFrame  # Figures 5 and 6: PLACE, place, source_accuracy, n, mean, low, high
    gains: pd.DataFrame  # the same of robust minus natural, paired by subset, without source_accuracy
    table2: pd.DataFrame  # R^2 by mode, target and eps (NaN: all radii): n source models, mean, low, high
    textures: pd.DataFrame  # Figure 8a: source, split of the source data, n models, mean, low, high
    by_texture: pd.DataFrame  # Figure 8b: mode, target, series (source), n, mean, low, high


def load(results: SalmanResults, paper: Published) -> Numbers:
    """The numbers of all figures and tables, of sources that are a grid."""
    runs = results.runs_of_grid
    return Numbers(
        best=best(results, runs, paper), table1=table1(results, runs, paper), accuracy=accuracy(results, runs),
        gains=gains(results, runs), table2=table2(results, runs), textures=textures(results), by_texture=by_texture(results, runs),
    )  # fmt: skip


def each(runs: pd.DataFrame, by: list[str]) -> Iterator[tuple[tuple, pd.DataFrame]]:
    """The runs of each value of the columns, in the order in which they are first seen."""
    yield from runs.groupby(by, sort=False)


def best(results: SalmanResults, runs: pd.DataFrame, paper: Published) -> pd.DataFrame:
    """Figures 2 and 3: the best robust radius of each architecture against its natural source, and the best run as published."""
    rows = []
    for (mode, architecture, target), group in each(runs, ["mode", "architecture", "target"]):
        row = choosing.summary(group)
        if row["best"] is None or not row["n"]:
            continue
        theirs = paper.best_run(mode, target, architecture) if _is_theirs(results, architecture) else None
        eps, accuracy = theirs or (np.nan, np.nan)
        chosen = _radii(row.pop("chosen"))
        rows.append({"mode": mode, "architecture": architecture, "target": target, "best_eps": row.pop("best")[1], "chosen": chosen}
                    | row | {"published_eps": eps, "published": accuracy})  # fmt: skip
    return pd.DataFrame(rows)


def table1(results: SalmanResults, runs: pd.DataFrame, paper: Published) -> pd.DataFrame:
    """Table 1: the best of all architectures and radii against the best natural source."""
    rows = []
    for (mode, target), group in each(runs, ["mode", "target"]):
        row = choosing.summary(group)
        if row["best"] is None or not row["n"]:
            continue
        architecture, eps = row.pop("best")
        theirs = paper.of_table1(mode, target) if any(_is_theirs(results, name) for name in results.architectures) else None
        theirs = theirs or {"robust": np.nan, "standard": np.nan}
        chosen = _radii(row.pop("chosen"))
        rows.append({"mode": mode, "target": target, "architecture": architecture, "best_eps": eps, "chosen": chosen} | row
                    | {"published_robust": theirs["robust"], "published_natural": theirs["standard"]})  # fmt: skip
    return pd.DataFrame(rows)


def accuracy(results: SalmanResults, runs: pd.DataFrame) -> pd.DataFrame:
    """Figures 5 and 6: accuracy on each target of each source of the grid, and the accuracy of the source on its own data."""
    table = means(runs, PLACE)
    own = {place: _own_accuracy(results, name) for place, name in results.grid.items()}
    table["source_accuracy"] = [own[row.architecture, row.eps] for row in table.itertuples()]
    return _with_place(results, table)


def gains(results: SalmanResults, runs: pd.DataFrame) -> pd.DataFrame:
    """Robust minus the natural source of the same architecture, paired by subset."""
    paired = gaps(runs)
    return _with_place(results, statistics.summarise(paired, PLACE, "difference", statistics.DIFFERENCE))


def gaps(runs: pd.DataFrame) -> pd.DataFrame:
    """Each robust run minus the natural one on the same subset: the rows of the robust runs, with a column `difference`."""
    on = ["mode", "architecture", "target", "seed"]
    return statistics.paired(runs[runs["eps"] > 0], runs[runs["eps"] == 0], on)


def table2(results: SalmanResults, runs: pd.DataFrame) -> pd.DataFrame:
    """Table 2: R^2 of target accuracy on source accuracy over source models of one radius, and over those of all radii (eps NaN)."""
    rows = []
    for (mode, target), points in points_of(results, runs).items():
        groups = [(eps, at(points, group=eps)) for eps in results.radii] + [(np.nan, points)]
        for eps, group in groups:
            r2 = regression.r_squared(group)
            if np.isfinite(r2[0]):
                rows.append((mode, target, eps, len(group), *r2))
    return pd.DataFrame(rows, columns=["mode", "target", "eps", "n", *INTERVAL])


def points_of(results: SalmanResults, runs: pd.DataFrame) -> dict[tuple[str, str], pd.DataFrame]:
    """By mode and target, a point for each source model: x its accuracy on its own data, y its mean on the target, group its radius."""
    found = {}
    for (mode, target), group in each(runs, ["mode", "target"]):
        y = group.groupby(["source", "eps", "source_model"], sort=False)["test_accuracy"].mean().reset_index()
        x = [results.accuracy_of(name, number) for name, number in zip(y["source"], y["source_model"], strict=True)]
        points = pd.DataFrame({"x": np.array(x, dtype=float), "y": y["test_accuracy"], "group": y["eps"]})
        found[mode, target] = points.dropna().reset_index(drop=True)
    return found


def textures(results: SalmanResults) -> pd.DataFrame:
    """Figure 8a: accuracy of sources on the test images of their own data, and on those whose texture says nothing of the class."""
    rows, splits = [], ["test", "test_decorrelated"]
    for name in _of_figure8(results):
        for split, values in zip(splits, zip(*results.accuracies(name, splits), strict=True), strict=False):
            interval = statistics.interval(np.array(values), np.arange(len(values)), statistics.ACCURACY)
            rows.append((name, split, len(values), *interval))
    return pd.DataFrame(rows, columns=["source", "split", "n", *INTERVAL])


def by_texture(results: SalmanResults, runs: pd.DataFrame) -> pd.DataFrame:
    """Figure 8b: accuracy on each target of the natural, the texture-robust and the adversarially trained sources of one architecture."""
    both = pd.concat([runs, results.runs_of_textures])
    both = both[both["source"].isin(_of_figure8(results))]
    return means(both, ["mode", "target", "source"]) if results.texture_robust else pd.DataFrame()


def _of_figure8(results: SalmanResults) -> list[str]:
    """The sources of the architecture of the texture-robust ones; none without any."""
    of = {results.cards[name]["architecture"] for name in results.texture_robust}
    return [name for (architecture, _), name in results.grid.items() if architecture in of] + results.texture_robust if of else []


def _own_accuracy(results: SalmanResults, name: str) -> float:
    """Mean accuracy of the models of a source on its own data; NaN where it is not known."""
    known = [results.accuracy_of(name, number) for number in range(len(results.models[name]))]
    return float(np.mean(known)) if None not in known else np.nan


def _with_place(results: SalmanResults, table: pd.DataFrame) -> pd.DataFrame:
    return table.assign(place=[results.radii.index(eps) for eps in table["eps"]])


def _is_theirs(results: SalmanResults, architecture: str) -> bool:
    """Whether the sources of an architecture are the models of the paper."""
    return all(name.startswith(THEIRS) for (of, _), name in results.grid.items() if of == architecture)


def _radii(eps: list[float]) -> str:
    return ", ".join(f"{value:g}" for value in eps)
