"""Means over seeds with their 95 % intervals, differences paired by subset, and intervals of accuracies on test images.

Knows nothing of sources or files: tables in, tables out. Accuracy is in percent, a difference in percentage points.
"""

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
import pandas as pd

LEVEL = (2.5, 97.5)  # percentiles of a 95 % interval
Z = 1.959963984540054  # 97.5th percentile of the standard normal
RUN = ["source", "target", "blocks", "n_images", "seed"]  # what identifies a fine-tuning run
CELL = ["target", "blocks", "n_images"]  # what a mean over seeds belongs to, besides the source


def interval(values: np.ndarray, resamples: int) -> tuple[float, float, float]:
    """Mean and percentile bootstrap interval of the mean.

    The resamples are drawn from a generator that is seeded anew for each n: a result depends on nothing but its values.

    Args:
        values: [n], one per seed.
        resamples: bootstrap resamples.

    Returns:
        mean, low, high; low and high are NaN for n < 2, as one value has no spread.
    """
    values = np.sort(np.asarray(values, dtype=np.float64))
    if len(values) < 2:
        return (float(values.mean()) if len(values) else np.nan), np.nan, np.nan
    low, high = np.percentile(values[_resampled(len(values), resamples)].mean(axis=1), LEVEL)
    return float(values.mean()), float(low), float(high)


@lru_cache(maxsize=16)
def _resampled(n: int, resamples: int) -> np.ndarray:
    """Indices of each resample: [resamples, n]."""
    return np.random.default_rng(0).integers(n, size=(resamples, n))


def summarise(rows: pd.DataFrame, by: list[str], value: str, resamples: int, n_test: str | None = None) -> pd.DataFrame:
    """The table of means with their 95 % intervals that every table and figure of the report is made of.

    Args:
        rows: the columns of `by`, and `value`.
        by: what a mean belongs to; the rows of a group differ by seed.
        resamples: of the bootstrap over a group's values.
        n_test: column with the number of test images behind an accuracy in percent: of a group of one value the interval is then
            Wilson's over these images. Missing numbers, and no column: no interval.

    Returns:
        One row per group: the columns of `by`, n, mean, low, high; in the order in which the groups first appear.
    """
    means = []
    for key, group in rows.groupby(by, sort=False, observed=True):
        mean, low, high = interval(group[value].to_numpy(), resamples)
        if len(group) == 1 and n_test is not None and pd.notna(images := group[n_test].iloc[0]):
            low, high = wilson(mean, int(images))
        means.append((*key, len(group), mean, low, high))
    table = pd.DataFrame(means, columns=[*by, "n", "mean", "low", "high"])
    return table.astype({"n": "int64", "mean": "float64", "low": "float64", "high": "float64"})


def last_epoch(runs: pd.DataFrame) -> pd.DataFrame:
    """The rows of the last epoch of each run, which the paper's tables use (Utrera et al. 2021, Table 7)."""
    last = runs.groupby(RUN, sort=False)["epoch"].transform("max")
    return runs[runs["epoch"] == last]


def paired(left: pd.DataFrame, right: pd.DataFrame, on: list[str], value: str = "test_accuracy") -> pd.DataFrame:
    """`left` minus `right` on the same subsets: the rows of `left` that have a partner, with a column `difference`."""
    partner = right[[*on, value]].rename(columns={value: "_partner"})
    joined = left.merge(partner, on=on, how="inner", validate="many_to_one")
    difference = (joined[value] - joined["_partner"]).round(9)  # what is equal differs by 0, not by a last binary digit
    return joined.assign(difference=difference).drop(columns="_partner")


def minus(rows: pd.DataFrame, sources: Sequence[str], reference: str, extra: Sequence[str] = ()) -> pd.DataFrame:
    """Each of `sources` minus the source `reference`, paired by target, blocks, n_images, seed and the columns `extra`."""
    chosen = rows[rows["source"].isin(list(sources))]
    return paired(chosen, rows[rows["source"] == reference], [*CELL, "seed", *extra])


def wilson(percent: float, n: int) -> tuple[float, float]:
    """Wilson's 95 % interval of an accuracy on n test images (Wilson 1927), in percent."""
    p, z2 = percent / 100, Z**2 / n
    centre = (p + z2 / 2) / (1 + z2)
    half = Z * np.sqrt(p * (1 - p) / n + z2 / (4 * n)) / (1 + z2)
    return 100 * max(0.0, centre - half), 100 * min(1.0, centre + half)


def contrast(percents: Sequence[float], counts: Sequence[int], signs: Sequence[int]) -> tuple[float, float, float]:
    """Signed sum of accuracies on test images, with Newcombe's 95 % interval (1998, method 10), which joins Wilson's.

    It takes the accuracies for independent; models that are tested on the same images differ with less variance.

    Args:
        percents, counts: accuracies in percent, and the test images behind each.
        signs: +1 or -1 for each.

    Returns:
        sum, low, high in percentage points.
    """
    total = float(np.dot(percents, signs))
    below, above = 0.0, 0.0
    for percent, n, sign in zip(percents, counts, signs, strict=True):
        low, high = wilson(percent, n)
        down, up = (percent - low, high - percent) if sign > 0 else (high - percent, percent - low)
        below, above = below + down**2, above + up**2
    return total, total - float(np.sqrt(below)), total + float(np.sqrt(above))
