"""Top-1 accuracy and mean recall, against scikit-learn's."""

import numpy as np
import pytest
from sklearn.metrics import accuracy_score, recall_score

from stages.lib.networks import metrics


def test_scores_are_those_of_scikit_learn():
    rng = np.random.default_rng(0)
    y = rng.integers(0, 7, 200) ** 2 // 6  # classes of different sizes, some without an image
    assert len(np.unique(y)) < y.max() + 1
    predicted = np.where(rng.random(200) < 0.6, y, rng.integers(0, 9, 200))
    found = metrics.scores(predicted, y)
    recall = recall_score(y, predicted, labels=np.unique(y), average="macro")
    assert (found.accuracy, found.mean_per_class) == pytest.approx((100 * accuracy_score(y, predicted), 100 * recall))
    assert abs(found.accuracy - found.mean_per_class) > 1


def test_a_class_without_a_test_image_does_not_count_and_one_image_may_be_a_class():
    y = np.array([0, 0, 0, 3])
    assert metrics.scores(np.array([0, 0, 1, 3]), y) == metrics.Scores(75.0, pytest.approx(100 * (2 / 3 + 1) / 2))
    assert metrics.scores(np.array([2, 2, 2, 2]), y) == metrics.Scores(0.0, 0.0)
    assert metrics.scores(np.array([5, 0, 0, 3]), y).mean_per_class == pytest.approx(100 * (2 / 3 + 1) / 2)
