"""How well one order follows another: Spearman's correlation with its interval over the pairs, as `statistics` has those of means."""

from collections.abc import Sequence
from math import factorial

import numpy as np
from scipy import stats

from stages.lib.report.statistics import MIN_N, Z


def rank_correlation(x: Sequence[float], y: Sequence[float]) -> tuple[float, float, float, float]:
    """Spearman's rank correlation of pairs, with its 95 % interval, and how likely one so far from zero is if the true one is zero.

    The interval is that of Bonett & Wright (2000, "Sample size requirements for estimating Pearson, Kendall and Spearman correlations"):
    the arctanh is taken as normal with variance (1 + rho^2 / 2) / (n - 3).

    Returns:
        rho, low, high, p; NaN where x or y has one value, or fewer than three pairs are given; no interval and no p below MIN_N pairs.
        p is at least 2 / n!, as n pairs have n! orders; where one order is the other, that is p, and there is no interval.
    """
    n = len(x)
    if n < 3 or len(set(x)) < 2 or len(set(y)) < 2:
        return np.nan, np.nan, np.nan, np.nan
    rho, least = round(float(stats.spearmanr(x, y).statistic), 12), 2 / factorial(n)
    if n < MIN_N:
        return rho, np.nan, np.nan, np.nan
    if abs(rho) == 1:
        return rho, np.nan, np.nan, least
    centre, deviation = np.arctanh(rho), np.sqrt((1 + rho**2 / 2) / (n - 3))
    low, high = (float(np.tanh(centre + sign * Z * deviation)) for sign in (-1, 1))
    return rho, low, high, max(least, float(2 * stats.norm.sf(abs(centre) * np.sqrt(n - 3))))
