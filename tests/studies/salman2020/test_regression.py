"""R^2 and slopes against closed forms and simulation: intervals hold what they say, and nothing is explained where there is nothing."""

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from stages.lib.report import statistics
from stages.studies.salman2020 import regression


def points(x, y, group=0) -> pd.DataFrame:
    return pd.DataFrame({"x": np.asarray(x, dtype=float), "y": np.asarray(y, dtype=float), "group": group})


def of_salman(name: str) -> pd.DataFrame:
    """Table 2 of Salman et al. (2020)."""
    source = {"natural": [77.37, 77.32, 73.66, 65.26, 64.25, 60.97], "l2_eps3": [66.12, 65.92, 56.78, 50.05, 42.87, 41.03]}[name]
    target = {"natural": [97.84, 97.47, 96.08, 95.86, 95.82, 95.55], "l2_eps3": [98.67, 98.22, 97.27, 96.91, 96.23, 95.99]}[name]
    return points(source, target)


@pytest.mark.parametrize(("name", "r2"), [("natural", 0.793), ("l2_eps3", 0.972)])
def test_r_squared_is_that_of_the_published_table(name, r2):
    found, low, high = regression.r_squared(of_salman(name))
    assert found == pytest.approx(r2, abs=5e-4)
    assert 0 < low < found < high < 1


def test_the_interval_of_r_squared_is_that_of_scipys_correlation_squared():
    of = of_salman("natural")
    theirs = stats.pearsonr(of["x"], of["y"]).confidence_interval(0.95)
    assert regression.r_squared(of)[1:] == pytest.approx((theirs.low**2, theirs.high**2))


def test_the_interval_begins_at_zero_where_the_sign_is_open():
    found, low, high = regression.r_squared(points([0, 1, 2, 3, 4, 5], [0, 3, 1, 2, 3, 0]))
    assert (low, high > found) == (0.0, True)


def test_few_or_equal_points_have_no_interval_or_no_value():
    assert np.isnan(regression.r_squared(points([1, 2, 3, 4], [1, 3, 2, 4]))[1:]).all()
    assert np.isnan(regression.r_squared(points([1, 1, 1, 1, 1], [1, 2, 3, 4, 5]))[0])
    assert regression.r_squared(points(range(6), range(6))) == pytest.approx((1.0, 1.0, 1.0))


def test_a_slope_within_groups_is_that_of_a_dense_regression_with_an_intercept_for_each():
    rng = np.random.default_rng(0)
    group = np.repeat([0, 1, 2], 5)
    of = points(rng.normal(size=15) - 3 * group, rng.normal(size=15) + 10 * group, group)
    design = np.column_stack([of["x"], *(group == g for g in range(3))])
    exact, residuals, _, _ = np.linalg.lstsq(design, of["y"].to_numpy(), rcond=None)
    assert regression.slope_within(of) == pytest.approx(exact[0])
    of_groups = sum(((part["y"] - part["y"].mean()) ** 2).sum() for _, part in of.groupby("group"))
    adjusted = 1 - (residuals[0] / (15 - 4)) / (of_groups / (15 - 3))
    assert regression.adjusted_r_squared(of, within=True) == pytest.approx(adjusted)


def test_adjusted_r_squared_is_zero_on_average_where_x_says_nothing_however_few_points_a_group_has():
    rng = np.random.default_rng(1)
    drawn = [points(*rng.normal(size=(2, 24)), np.repeat(range(6), 4)) for _ in range(400)]
    for within in (True, False):
        values = [regression.adjusted_r_squared(of, within) for of in drawn]
        assert abs(np.mean(values)) < 4 * np.std(values) / np.sqrt(len(values))


def test_intervals_of_the_jackknife_hold_the_true_slope_as_often_as_they_say():
    rng, held, n = np.random.default_rng(2), 0, 150
    for _ in range(n):
        group = np.repeat(range(4), 6)
        x = rng.normal(size=24) + group
        of = points(x, 0.5 * x + 3 * group + rng.normal(size=24), group)
        _, low, high = statistics.interval(regression.pseudo_values(regression.slope_within, of), np.arange(24))
        held += low <= 0.5 <= high
    assert stats.binomtest(held, n, 0.95).pvalue > 1e-4


def test_a_statistic_that_a_point_alone_defines_has_no_pseudo_values():
    assert len(regression.pseudo_values(regression.slope_within, points([1, 1, 2], [1, 2, 3]))) == 0
