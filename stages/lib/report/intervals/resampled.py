"""Intervals of means over random divisions of the same images into training and test images, and which of several can be the best.

Accuracies of two divisions are not independent: they share images. Nadeau and Bengio (2003), "Inference for the generalization error",
correct the variance of a mean over J divisions from S^2 / J to (1 / J + n_test / n_train) S^2, where S^2 is the variance between the
divisions. Behind it stands the correlation rho = n_test / (n_train + n_test) of two divisions, so that the second term is
rho / (1 - rho). Where a division uses some of the images alone, two of them share n_test / n_all of their test images, and the same
term is n_test / (n_all - n_test).
"""

from dataclasses import dataclass

import numpy as np
from scipy import stats

from stages.lib.report.statistics import LEVEL, MIN_N, UNBOUNDED, Bounds


@dataclass(frozen=True)
class Comparison:
    """How far one of several is behind the leader, who is the one of the highest mean."""

    behind: float  # percentage points, 0 for the leader
    low: float  # the difference is at least so large, with the error of the family; -inf where there are too few divisions
    may_be_best: bool


def shared(n_test: int, n_all: int) -> float:
    """The second term of the corrected variance, n_test / (n_all - n_test); 0 where the images have no end (n_all = 0)."""
    return n_test / (n_all - n_test) if n_all else 0.0


def interval(values: np.ndarray, share: float, bounds: Bounds = UNBOUNDED, level: float = LEVEL) -> tuple[float, float, float]:
    """Mean and interval of the mean over divisions, by Student's distribution with the corrected variance.

    Args:
        values: [J], one per division.
        share: as `shared` gives it.
        bounds: what the mean can be.

    Returns:
        mean, low, high; low and high are NaN for fewer than MIN_N values.
    """
    mean = float(np.mean(values)) if len(values) else np.nan
    if len(values) < MIN_N:
        return mean, np.nan, np.nan
    half = float(stats.t.ppf((1 + level) / 2, len(values) - 1)) * standard_error(values, share)
    return mean, max(mean - half, bounds[0]), min(mean + half, bounds[1])


def standard_error(values: np.ndarray, share: float) -> float:
    """The corrected standard error of the mean over divisions."""
    return float(np.sqrt((1 / len(values) + share) * np.var(values, ddof=1)))


def compare(scores: np.ndarray, share: float, error: float = 1 - LEVEL) -> list[Comparison]:
    """Each of k arms against the leader, so that with the probability 1 - error the best one is among those that may be best.

    The leader is chosen by the same values. Were the best one compared with each other, one-sided and at error / (k - 1), then with the
    probability 1 - error it would be behind none of them by more than chance allows, also not behind the leader, whoever that is
    (Hsu 1984, "Constrained simultaneous confidence intervals for multiple comparisons with the best").

    Args:
        scores: [k, J], of each arm on the same J divisions.
        share: as `shared` gives it.
        error: the chance of leaving out the best; divided by the number of looks where divisions are added between them.
    """
    k, n = scores.shape
    leader = int(scores.mean(1).argmax())
    quantile = float(stats.t.isf(error / max(1, k - 1), n - 1)) if n >= MIN_N else np.inf
    found = []
    for arm in range(k):
        differences = scores[leader] - scores[arm]
        behind = float(differences.mean())
        low = behind - quantile * standard_error(differences, share) if n >= MIN_N else -np.inf
        found.append(Comparison(behind, low, arm == leader or not low > 0))
    return found
