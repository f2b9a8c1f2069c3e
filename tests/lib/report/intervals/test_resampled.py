"""Intervals over divisions that share images hold as often as they say, and those without the correction do not."""

import numpy as np
import pytest

from benchmarks import resampling
from stages.lib.report.intervals import resampled


def test_it_is_the_formula_of_nadeau_and_bengio():
    values = np.array([1.0, 2.0, 4.0, 3.0, 5.0])
    n_train, n_test, t = 100, 50, 2.7764451  # Student's 97.5 % quantile with 4 degrees of freedom
    half = t * np.sqrt((1 / 5 + n_test / n_train) * values.var(ddof=1))
    assert resampled.interval(values, resampled.shared(n_test, n_train + n_test)) == pytest.approx((3.0, 3 - half, 3 + half))


def test_few_values_have_no_interval_and_drop_nobody():
    assert np.isnan(resampled.interval(np.arange(4.0), 0.5)[1:]).all()
    assert all(one.may_be_best for one in resampled.compare(np.array([[9.0] * 4, [1.0] * 4]), 0.5))


def test_what_is_far_behind_cannot_be_the_best_and_what_is_near_can():
    noise = np.random.default_rng(0).normal(size=(3, 10))
    found = resampled.compare(noise + np.array([[80.0], [79.9], [60.0]]), 0.3)
    assert [one.may_be_best for one in found] == [True, True, False]


def test_simulated_coverage():
    held = resampling.held(60, 210, 100, 52, 10)
    assert held["mean"] >= 88
    assert held["difference"] >= 88
    assert held["the best one is kept"] >= 88
    assert held["difference, not corrected"] <= 85
