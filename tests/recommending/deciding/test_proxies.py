"""Scores of features against slower ways to the same, and against scikit-learn."""

import numpy as np
import pytest
from scipy import optimize, stats
from sklearn.covariance import ledoit_wolf
from sklearn.neighbors import KNeighborsClassifier

from stages.recommending.deciding import proxies


@pytest.fixture(scope="module")
def drawn():
    rng = np.random.default_rng(0)
    y = np.arange(40) % 3
    return rng.normal(size=(40, 6)) + np.eye(3, 6)[y], y


def test_log_me_is_the_largest_evidence(drawn):
    features, y = drawn
    best = []
    for k in range(3):
        target = (y == k).astype(float)

        def lost(logs, target=target):
            alpha, beta = np.exp(logs)
            return -stats.multivariate_normal(np.zeros(40), np.eye(40) / beta + features @ features.T / alpha).logpdf(target)

        best.append(-optimize.minimize(lost, [0.0, 0.0], method="Nelder-Mead", options={"xatol": 1e-8, "fatol": 1e-10}).fun / 40)
    assert proxies.log_me(features, y) == pytest.approx(np.mean(best), abs=1e-5)


def test_h_score_with_the_covariance_of_ledoit_and_wolf(drawn):
    features, y = drawn
    centred = features - features.mean(0)
    covariance, amount = ledoit_wolf(centred, assume_centered=True)
    means = np.stack([centred[y == k].mean(0) for k in range(3)])[y]
    expected = (1 - amount) * np.trace(np.linalg.solve(covariance, means.T @ means / len(y)))
    assert proxies.h_score(features, y) == pytest.approx(expected)


def test_neighbours_are_those_of_scikit_learn(drawn):
    features, y = drawn
    x, test = proxies.standardised(features[:30], features[30:])
    assert (proxies.neighbours(x, y[:30], test, k=1) == KNeighborsClassifier(1, metric="cosine").fit(x, y[:30]).predict(test)).all()


def test_the_linear_head_finds_classes_that_lines_divide():
    rng = np.random.default_rng(1)
    y = np.arange(60) % 3
    features = rng.normal(size=(60, 50)) * 0.1 + 2 * np.eye(3, 50)[y]
    assert (proxies.linear(features[:30], y[:30], features[30:]) == y[30:]).all()
