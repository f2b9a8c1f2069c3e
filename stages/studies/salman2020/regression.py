"""How well one accuracy follows another: the squared correlation, the slope within groups, and their intervals.

Tables in, tables out, as in `statistics`, whose interval of a mean is taken here of jackknife pseudo-values.
"""

from collections.abc import Callable

import numpy as np
import pandas as pd
from scipy import stats

from stages.lib.report.statistics import Z

X, Y, GROUP = "x", "y", "group"  # columns of a table of points
MIN_POINTS = 5  # behind an interval


def r_squared(points: pd.DataFrame) -> tuple[float, float, float]:
    """R^2 of a line through the points, which is Pearson's correlation squared, with its 95 % interval.

    The interval is that of the correlation (Fisher 1921: its arctanh is normal with variance 1 / (n - 3)), squared; it begins at 0 where
    the correlation may have either sign. NaN where the points have one x or one y, and no interval of fewer than MIN_POINTS points.
    """
    n = len(points)
    if n < 3 or points[X].nunique() < 2 or points[Y].nunique() < 2:
        return np.nan, np.nan, np.nan
    r = float(np.clip(stats.pearsonr(points[X], points[Y]).statistic, -1, 1))
    if n < MIN_POINTS:
        return r**2, np.nan, np.nan
    with np.errstate(divide="ignore"):
        low, high = np.tanh(np.arctanh(r) + np.array([-1, 1]) * Z / np.sqrt(n - 3))
    squares = sorted((float(low) ** 2, float(high) ** 2))
    return r**2, 0.0 if low <= 0 <= high else squares[0], squares[1]


def slope_within(points: pd.DataFrame) -> float:
    """Slope of y over x with an intercept for each group: what a point of x is worth where the group is fixed."""
    x, y = _centred(points, points[GROUP].to_numpy())
    return float(x @ y / (x @ x)) if x @ x > 0 else np.nan


def adjusted_r_squared(points: pd.DataFrame, within: bool) -> float:
    """R^2 of a common slope, as a fraction of the variance of y: that within the groups, or that of all points.

    Adjusted for the number of points and groups, so that it is 0 on average where x says nothing, however few points a group has.
    """
    groups = points[GROUP].to_numpy() if within else np.zeros(len(points))
    x, y = _centred(points, groups)
    freedom = len(points) - len(set(groups))
    if freedom < 2 or not x @ x > 0 or not y @ y > 0:
        return np.nan
    unexplained = 1 - (x @ y) ** 2 / ((x @ x) * (y @ y))
    return float(1 - unexplained * freedom / (freedom - 1))


def pseudo_values(statistic: Callable[[pd.DataFrame], float], points: pd.DataFrame) -> np.ndarray:
    """The jackknife's pseudo-values of a statistic (Tukey 1958), one for each point.

    Their mean is the statistic without its first bias, and their interval is the statistic's. None where it is not defined without one
    of the points.
    """
    n, whole, rows = len(points), statistic(points), np.arange(len(points))
    values = np.array([n * whole - (n - 1) * statistic(points[rows != row]) for row in rows])
    return values if n and np.isfinite(values).all() else np.empty(0)


def _centred(points: pd.DataFrame, groups: np.ndarray) -> np.ndarray:  # [2, n]
    """x and y of each point, minus the mean of its group."""
    _, group = np.unique(groups, return_inverse=True)
    counts = np.bincount(group)
    return np.array([v - (np.bincount(group, v) / counts)[group] for v in (points[X].to_numpy(), points[Y].to_numpy())])
