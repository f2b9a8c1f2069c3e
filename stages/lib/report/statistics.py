"""Means with their 95 % intervals, differences paired by subset, and intervals of accuracies on test images.

Knows nothing of sources or files: tables in, tables out. Accuracy is in percent, a difference in percentage points.

The interval of a mean over subsets is Student's, with a transformation that takes the skewness out of the statistic (Hall 1992, "On
the removal of skewness by transformation"). Where the subsets belong to several source models, the means of the models are what varies,
and the interval is Student's over them. docs/statistics.md says how often these intervals hold.
"""

from collections.abc import Sequence
from functools import cache

import numpy as np
import pandas as pd
from scipy import optimize, stats

from stages.lib.report.binomial import Z, wilson

LEVEL = 0.95  # of every interval
MIN_N = 5  # values behind an interval or a verdict
MIN_MODELS = 3  # source models behind an interval over source models
Bounds = tuple[float, float]  # what a mean can be: no interval goes beyond it
ACCURACY, DIFFERENCE, UNBOUNDED = (0.0, 100.0), (-100.0, 100.0), (-np.inf, np.inf)
RUN = ["source", "target", "blocks", "n_images", "seed"]  # what identifies a fine-tuning run
CELL = ["target", "blocks", "n_images"]  # what a mean over seeds belongs to, besides the source


def interval(values: np.ndarray, models: np.ndarray | None = None, bounds: Bounds = UNBOUNDED) -> tuple[float, float, float]:
    """Mean and 95 % interval of the mean.

    Args:
        values: [n], one per subset.
        models: [n], the source model behind each value; None: all values are of one model, and the interval is given that model.
        bounds: what the mean can be.

    Returns:
        mean, low, high; low and high are NaN for fewer than MIN_N values, or fewer than MIN_MODELS models where there are several.
    """
    sample, skewness = _sample(values, models)
    if sample is None:
        return (float(np.mean(values)) if len(values) else np.nan), np.nan, np.nan
    n, mean, deviation = len(sample), float(sample.mean()), float(sample.std(ddof=1))
    low, high = (mean - deviation * _unskewed(sign * _quantile(n) / np.sqrt(n), skewness, n) for sign in (1, -1))
    return mean, max(low, bounds[0]), min(high, bounds[1])


def p_value(values: np.ndarray, models: np.ndarray | None = None) -> float:
    """How likely a mean that is as far from zero is if the true one is zero: below 0.05 where `interval` excludes zero. NaN without one."""
    sample, skewness = _sample(values, models)
    if sample is None:
        return np.nan
    n, mean, deviation = len(sample), float(sample.mean()), float(sample.std(ddof=1))
    if deviation == 0:
        return 1.0 if mean == 0 else 0.0
    t = np.sqrt(n) * _skewed(mean / deviation, skewness, n)
    return float(2 * stats.t.sf(abs(t), n - 1))


def spread(values: np.ndarray, models: np.ndarray | None = None) -> tuple[float, int]:
    """Standard deviation and number of what the interval of a mean is over, as `interval` takes them; NaN and 0 without one."""
    sample, _ = _sample(values, models)
    return (np.nan, 0) if sample is None else (float(sample.std(ddof=1)), len(sample))


def _sample(values: np.ndarray, models: np.ndarray | None) -> tuple[np.ndarray | None, float]:
    """What an interval is over, the values or the means of the models, and its skewness; None where these are too few."""
    values, models = np.asarray(values, dtype=np.float64), np.zeros(len(values)) if models is None else np.asarray(models)
    order = np.lexsort((values, models))  # a sum depends on its order by a last digit
    values, models = values[order], models[order]
    if len(values) and models[0] != models[-1]:
        means = np.array([values[models == model].mean() for model in np.unique(models)])
        return (means if len(means) >= MIN_MODELS else None), 0.0
    if len(values) < MIN_N:
        return None, 0.0
    deviation = values.std(ddof=1)
    return values, float(np.mean((values - values.mean()) ** 3) / deviation**3) if deviation > 0 else 0.0


@cache
def _quantile(n: int) -> float:
    """Student's, of n values."""
    return float(stats.t.ppf((1 + LEVEL) / 2, n - 1))


def _skewed(x: float, skewness: float, n: int) -> float:
    """Hall's transformation of a studentised mean x (without the factor sqrt(n)), which is then as good as symmetric."""
    return x + skewness * x**2 / 3 + skewness**2 * x**3 / 27 + skewness / (6 * n)


def _unskewed(y: float, skewness: float, n: int) -> float:
    """The inverse of `_skewed`."""
    if abs(skewness) < 1e-6:
        return y - skewness / (6 * n)
    return 3 / skewness * (float(np.cbrt(1 + skewness * (y - skewness / (6 * n)))) - 1)


def summarise(rows: pd.DataFrame, by: list[str], value: str, bounds: Bounds = ACCURACY, n_test: str | None = None) -> pd.DataFrame:
    """The table of means with their 95 % intervals that every table and figure of the report is made of.

    Args:
        rows: the columns of `by`, and `value`; a column `source_model`, where the rows of a group are of several source models.
        bounds: what a mean of the value can be.
        by: what a mean belongs to; the rows of a group differ by seed.
        n_test: column with the number of test images behind an accuracy in percent: of a group of too few values for an interval
            over them it is then Wilson's, over these images. Missing numbers, and no column: no interval.

    Returns:
        One row per group: the columns of `by`, n, mean, low, high; in the order in which the groups first appear. Of rows with a column
        `diverged` also how many of the n have diverged, which count in the mean like all others.
    """
    means, diverged = [], []
    for key, group in rows.groupby(by, sort=False, observed=True):
        mean, low, high = interval(group[value].to_numpy(), group["source_model"].to_numpy() if "source_model" in group else None, bounds)
        if np.isnan(low) and n_test is not None and pd.notna(images := group[n_test].iloc[0]):
            low, high = wilson(mean, int(images))
        means.append((*key, len(group), mean, low, high))
        diverged += [int(group["diverged"].sum())] if "diverged" in group else []
    table = pd.DataFrame(means, columns=[*by, "n", "mean", "low", "high"])
    table = table.astype({"n": "int64", "mean": "float64", "low": "float64", "high": "float64"})
    return table.assign(diverged=np.array(diverged, dtype=np.int64)) if "diverged" in rows else table


def welch(difference: float, *spreads: tuple[float, int]) -> tuple[float, float]:
    """95 % interval of a difference of two independent means, with a variance each (Welch 1947); NaN where one is not known.

    Args:
        spreads: standard deviation and number of the values behind each mean, as `spread` has them.
    """
    if not np.isfinite([deviation for deviation, _ in spreads]).all():
        return np.nan, np.nan
    parts = [deviation**2 / n for deviation, n in spreads]
    if not sum(parts):
        return difference, difference
    freedom = sum(parts) ** 2 / sum(part**2 / (n - 1) for part, (_, n) in zip(parts, spreads, strict=True))
    half = float(stats.t.ppf((1 + LEVEL) / 2, freedom)) * np.sqrt(sum(parts))
    return difference - half, difference + half


def last_epoch(runs: pd.DataFrame) -> pd.DataFrame:
    """The rows that are `reported`, where rows say so; else those of the last epoch of each run (Utrera et al. 2021, Table 7)."""
    return runs[runs["reported"] if "reported" in runs else runs["epoch"] == runs.groupby(RUN, sort=False)["epoch"].transform("max")]


def best_epoch(runs: pd.DataFrame) -> pd.DataFrame:
    """The row of each run with the highest test accuracy, the first of several; an epoch that is chosen so flatters its run."""
    return runs.loc[runs.groupby(RUN, sort=False)["test_accuracy"].idxmax()]


def paired(left: pd.DataFrame, right: pd.DataFrame, on: list[str], value: str = "test_accuracy") -> pd.DataFrame:
    """`left` minus `right` on the same subsets: the rows of `left` that have a partner, with a column `difference`.

    The column `source_model` then names the source models of both, and `diverged`, where there is one, says whether either has diverged.
    """
    partner = right[[*on, value, "source_model", *(["diverged"] if "diverged" in right else [])]]
    partner = partner.rename(columns={value: "_partner", "source_model": "_model", "diverged": "_diverged"})
    joined = left.merge(partner, on=on, how="inner", validate="many_to_one")
    if "_diverged" in joined:
        joined = joined.assign(diverged=joined["diverged"] | joined["_diverged"]).drop(columns="_diverged")
    difference = (joined[value] - joined["_partner"]).round(9)  # what is equal differs by 0, not by a last binary digit
    models = joined["source_model"].astype(str) + " " + joined["_model"].astype(str)
    return joined.assign(difference=difference, source_model=models).drop(columns=["_partner", "_model"])


def minus(rows: pd.DataFrame, sources: Sequence[str], reference: str, extra: Sequence[str] = ()) -> pd.DataFrame:
    """Each of `sources` minus the source `reference`, paired by target, blocks, n_images, seed and the columns `extra`."""
    chosen = rows[rows["source"].isin(list(sources))]
    return paired(chosen, rows[rows["source"] == reference], [*CELL, "seed", *extra])


def contrast(
    percents: Sequence[float], counts: Sequence[int], signs: Sequence[int], z: float = Z, correlation: float = 0.0
) -> tuple[float, float, float]:
    """Signed sum of accuracies on test images, with Newcombe's 95 % interval, which joins Wilson's.

    Newcombe (1998), "Interval estimation for the difference between independent proportions", method 10; and of two models that
    were tested on the same images, whose difference varies less, "Improved confidence intervals for the difference between binomial
    proportions based on paired data", method 10.

    Args:
        percents, counts: accuracies in percent, and the test images behind each.
        signs: +1 or -1 for each.
        z: quantile of the normal distribution that the interval has.
        correlation: of two accuracies on the same images, one with each sign, as `correlation` gives it.

    Returns:
        sum, low, high in percentage points.
    """
    total = float(np.dot(percents, signs))
    ways = []
    for percent, n, sign in zip(percents, counts, signs, strict=True):
        low, high = wilson(percent, n, z)
        ways.append((percent - low, high - percent) if sign > 0 else (high - percent, percent - low))
    shared = 2 * correlation * np.prod(ways, axis=0)
    below, above = np.sqrt(np.maximum(np.sum(np.square(ways), axis=0) - shared, 0.0))
    return total, total - float(below), total + float(above)


def correlation(left: np.ndarray, right: np.ndarray) -> float:
    """Correlation of two models' results on the same images, with the correction for continuity of Newcombe (1998, method 10).

    Args:
        left, right: [n], of each image 1 where it is labelled correctly and 0 where not, or the fraction of the seeds that do.
    """
    deviations = left.std() * right.std()
    covariance = float(np.mean((left - left.mean()) * (right - right.mean())))
    if covariance > 0:
        covariance = max(0.0, covariance - 1 / (2 * len(left)))
    return covariance / deviations if deviations > 0 else 0.0


def contrast_p_value(
    percents: Sequence[float], counts: Sequence[int], signs: Sequence[int], constant: float = 0.0, correlation: float = 0.0
) -> float:
    """How likely a signed sum is that is as far from zero if the true one is zero: that of the widest interval that excludes zero.

    Args:
        percents, counts, signs, correlation: as `contrast` takes them.
        constant: percentage points that are added to the sum.
    """
    total = float(np.dot(percents, signs)) + constant

    def nearest(z: float) -> float:
        """The bound of the interval on the side of zero, its sign turned so that it is positive where zero is outside."""
        _, low, high = contrast(percents, counts, signs, z, correlation)
        return low + constant if total > 0 else -high - constant

    if total == 0:
        return 1.0
    most = 1e3  # where the interval covers all that is possible
    if nearest(most) > 0:
        return 0.0
    return float(2 * stats.norm.sf(optimize.brentq(nearest, 1e-9, most)))


def holm(p_values: Sequence[float]) -> list[float]:
    """The p-values of a family, adjusted so that the chance of any false verdict is at most the level (Holm 1979); NaN stay NaN."""
    known = sorted((p, i) for i, p in enumerate(p_values) if np.isfinite(p))
    adjusted, above = [np.nan] * len(p_values), 0.0
    for place, (p, i) in enumerate(known):
        above = max(above, min(1.0, p * (len(known) - place)))
        adjusted[i] = above
    return adjusted
