"""Evidence for the claims of Salman et al. (2020).

Each comparison has one value for each source model, or for each subset where a source is one model. Where a radius is chosen, one half of
these chooses it and the other half measures it, in turn (`choosing`).
"""

from collections.abc import Iterator
from itertools import pairwise

import numpy as np
import pandas as pd

from stages.lib.report.evidence import ABSENT, Evidence, over_models, over_seeds
from stages.lib.report.results import at
from stages.lib.report.statistics import MIN_MODELS
from stages.studies.salman2020 import choosing, numbers, regression
from stages.studies.salman2020.results import MODE_NAMES, WIDTHS, SalmanResults

PART = ["source_model", "seed"]


def better(results: SalmanResults, mode: str) -> Iterator[Evidence]:
    """Of the architecture with the most radii, on each target, each at its own best radius, and on average."""
    runs = at(results.runs_of_grid, mode=mode, architecture=results.main)
    if runs.empty:
        yield Evidence(f"{MODE_NAMES[mode]} transfer", note=ABSENT)
    found = {target: choosing.differences(at(runs, target=target)) for target in _targets(results, runs)}
    yield from _each_and_mean("best robust radius minus natural", found)


def follows(results: SalmanResults) -> Iterator[Evidence]:
    """The slope within radii, of each mode and target."""
    yield from _of_points(results, regression.slope_within, "points for a point of source accuracy, radius fixed")


def predicts(results: SalmanResults) -> Iterator[Evidence]:
    """R^2 within radii minus that over all."""

    def gain(points: pd.DataFrame) -> float:
        return 100 * (regression.adjusted_r_squared(points, within=True) - regression.adjusted_r_squared(points, within=False))

    yield from _of_points(results, gain, "R² with the radius fixed minus R² without")


def _of_points(results: SalmanResults, statistic, what: str) -> Iterator[Evidence]:
    """A statistic of the source models of two radii and more, with the interval of its jackknife pseudo-values."""
    found = numbers.points_of(results, results.runs_of_grid)
    if not found:
        yield Evidence(what, note=ABSENT)
    for mode in results.modes:
        of_mode = [points for (of, _), points in found.items() if of == mode]
        if len(of_mode) > 1 and len({len(points) for points in of_mode}) == 1:
            mean = of_mode[0].assign(y=np.mean([points["y"] for points in of_mode], axis=0))
            found |= {(mode, f"mean of {len(of_mode)} targets"): mean}
    for (mode, target), points in sorted(found.items(), key=lambda item: (item[0][0] != "fixed", not item[0][1].startswith("mean of "))):
        several = points[points.groupby("group")["x"].transform("count") >= MIN_MODELS].reset_index(drop=True)
        comparison = f"{target}, {MODE_NAMES[mode]}: {what}"
        values = regression.pseudo_values(statistic, several) if several["group"].nunique() > 1 else np.empty(0)
        yield over_models(comparison, values) if len(values) else Evidence(comparison, note=f"{ABSENT}: {MIN_MODELS} sources of a radius")


def wider(results: SalmanResults) -> Iterator[Evidence]:
    """Neighbouring widths, on each target in each mode: the mean over the robust radii that both have."""
    runs, pairs = results.runs_of_grid, list(_widths(results))
    if not pairs:
        yield Evidence("two widths of one family", note=ABSENT)
    for narrow, wide in pairs:
        common = [eps for eps in results.radii if eps and {(narrow, eps), (wide, eps)} <= set(results.grid)]
        rows = runs[runs["eps"].isin(common)]
        for mode in results.modes:
            found = {}
            for target in _targets(results, at(rows, mode=mode)):
                left, right = (_by_part(at(rows, mode=mode, target=target, architecture=name)) for name in (wide, narrow))
                found[target] = _differences(left - right)
            yield from _each_and_mean(f"{wide} minus {narrow}", found, mode)


def _widths(results: SalmanResults) -> Iterator[tuple[str, str]]:
    """Neighbouring architectures of a family that have a robust radius in common."""
    for family in WIDTHS:
        for narrow, wide in pairwise(name for name in family if name in results.architectures):
            if any(eps and (wide, eps) in results.grid for name, eps in results.grid if name == narrow):
                yield narrow, wide


def coarser(results: SalmanResults) -> Iterator[Evidence]:
    """What a larger radius gains on the coarser target, minus what it gains on the finer one."""
    yield from _contrasts(results, results.coarser, "two targets of different granularity")


def low_resolution(results: SalmanResults) -> Iterator[Evidence]:
    """What a larger radius gains on images at a low resolution, minus what it gains on them as they are."""
    yield from _contrasts(results, results.low_resolution, "a target at two resolutions")


def _contrasts(results: SalmanResults, pairs: dict[str, str], absent: str) -> Iterator[Evidence]:
    """The gain from the smallest to the largest robust radius: of the second target of each pair minus that of the first.

    Both radii are those at the ends of the grid, so that nothing is chosen; the subsets of two targets are independent.
    """
    radii = sorted(eps for name, eps in results.grid if name == results.main and eps)
    if not pairs or len(radii) < 2:
        yield Evidence(absent, note=ABSENT)
        return
    runs = at(results.runs_of_grid, architecture=results.main)
    small, large = radii[0], radii[-1]
    for mode in results.modes:
        for fine, coarse in pairs.items():
            gains = []
            for target in (coarse, fine):
                of_target = at(runs, mode=mode, target=target)
                gains.append(_by_part(at(of_target, eps=large)) - _by_part(at(of_target, eps=small)))
            comparison = f"{coarse} minus {fine}, {MODE_NAMES[mode]}: eps {large:g} minus {small:g}"
            yield _over(comparison, _differences(gains[0] - gains[1]))


def textures(results: SalmanResults) -> Iterator[Evidence]:
    """The best robust radius, chosen on the other half, minus each source of stylised images, on each target in each mode."""
    if not results.texture_robust:
        yield Evidence("a source of stylised images", note=ABSENT)
    for name in results.texture_robust:
        theirs = at(results.runs_of_textures, source=name)
        rows = at(results.runs_of_grid, architecture=results.cards[name]["architecture"])
        both = pd.concat([rows[rows["eps"] > 0], theirs])
        for mode in results.modes:
            of_mode = at(both, mode=mode)
            found = {target: choosing.differences(at(of_mode, target=target)) for target in _targets(results, of_mode)}
            yield from _each_and_mean(f"best robust radius minus {results.labels[name]}", found, mode)


def _targets(results: SalmanResults, rows: pd.DataFrame) -> list[str]:
    return [target for target in results.targets if target in set(rows["target"])]


def _by_part(rows: pd.DataFrame) -> pd.Series:
    """Mean accuracy of each source model and subset, over what else differs among the rows."""
    return rows.groupby(PART)["test_accuracy"].mean()


def _differences(values: pd.Series) -> pd.DataFrame:
    """One value for each source model and subset as rows, with the columns source_model, seed and difference."""
    return values.dropna().rename("difference").reset_index()


def _each_and_mean(comparison: str, found: dict[str, pd.DataFrame], mode: str = "") -> Iterator[Evidence]:
    """Evidence on each target, after that of the mean over all, which varies less.

    Args:
        found: by target, differences with their source_model, and their part or seed.
    """
    where = f", {MODE_NAMES[mode]}" if mode else ""
    if len(found) > 1:
        by = ["source_model", "part" if all("part" in rows for rows in found.values()) else "seed"]
        wide = pd.concat([rows.set_index(by)["difference"].astype(float) for rows in found.values()], axis=1).dropna()
        yield _over(f"mean of {len(found)} targets{where}: {comparison}", _differences(wide.mean(axis=1)))
    for target, rows in found.items():
        yield _over(f"{target}{where}: {comparison}", rows)


def _over(comparison: str, differences: pd.DataFrame) -> Evidence:
    """Evidence from differences, with their source_model: over models where there are several, else over subsets."""
    if differences["source_model"].nunique() > 1:
        by_model = differences.groupby("source_model")["difference"].mean()
        return over_models(comparison, by_model.to_numpy(dtype=float))
    return over_seeds(comparison, differences.assign(difference=differences["difference"].astype(float)))
