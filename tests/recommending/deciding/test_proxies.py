"""Scores of features against slower ways to the same, and against scikit-learn."""

import numpy as np
import pytest
from scipy import optimize, stats
from sklearn.covariance import ledoit_wolf

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


@pytest.mark.parametrize("k", [1, 4, 100])
def test_neighbours_vote_by_their_cosine_and_of_equal_votes_the_nearer_count(drawn, k):
    features, y = drawn
    x, test = proxies.standardised(features[:30], features[30:])
    cosines = test @ x.T / np.outer(np.linalg.norm(test, axis=1), np.linalg.norm(x, axis=1))
    expected = []
    for row in cosines:
        nearest = np.argsort(-row)[:k]
        expected.append(max(range(3), key=lambda c: ((y[nearest] == c).sum(), row[nearest][y[nearest] == c].sum())))
    assert proxies.neighbours(x, y[:30], test, k).tolist() == expected


def test_the_penalty_of_the_linear_head_is_the_one_by_which_images_that_are_left_out_are_told_best(drawn):
    features, y = drawn
    x, test, targets = features[:30], features[30:], np.eye(3)[y[:30]]

    def head(x: np.ndarray, targets: np.ndarray, ridge: float, z: np.ndarray) -> np.ndarray:
        centre, mean = x.mean(0), targets.mean(0)
        return (z - centre) @ np.linalg.solve((x - centre).T @ (x - centre) + ridge * np.eye(6), (x - centre).T @ (targets - mean)) + mean

    ridges = proxies.RIDGES * np.mean(np.linalg.svd(x - x.mean(0), compute_uv=False) ** 2)
    errors = [
        np.mean([(head(np.delete(x, i, 0), np.delete(targets, i, 0), ridge, x[i]) - targets[i]) ** 2 for i in range(30)])
        for ridge in ridges
    ]
    best = ridges[int(np.argmin(errors))]
    assert ridges[0] < best < ridges[-1]
    assert (proxies.linear(x, y[:30], test) == head(x, targets, best, test).argmax(1)).all()


def test_the_linear_head_finds_classes_that_lines_divide():
    rng = np.random.default_rng(1)
    y = np.arange(60) % 3
    features = rng.normal(size=(60, 50)) * 0.1 + 2 * np.eye(3, 50)[y]
    assert (proxies.linear(features[:30], y[:30], features[30:]) == y[30:]).all()
