"""The images of a subset that are held out to choose by: the same share of each class, and never all of a class."""

import numpy as np
import pytest

from stages.lib.datasets import subsets
from stages.lib.errors import RunError

Y = np.repeat(np.arange(5), 40)  # of all training images


def test_each_class_gives_its_share_and_the_rest_is_learnt_from():
    places = np.random.RandomState(3).permutation(200)[:100]
    held = subsets.held_out("100_7", places, Y, 0.2)
    assert len(held) == len(set(held)) == 20
    assert set(held) < set(places)
    of_classes, held_of_classes = (np.bincount(Y[rows], minlength=5) for rows in (places, held))
    assert (abs(held_of_classes - 0.2 * of_classes) < 1.1).all()


def test_they_follow_from_the_subset_and_its_seed_alone():
    places = np.random.RandomState(3).permutation(200)[:100]
    held = subsets.held_out("100_7", places, Y, 0.2)
    assert set(subsets.held_out("100_7", places[::-1], Y, 0.2)) == set(held), "not from the order of the images"
    assert set(subsets.held_out("100_8", places, Y, 0.2)) != set(held)


@pytest.mark.parametrize(("share", "n"), [(0.5, 5), (0.3, 3), (0.1, 1)])
def test_one_image_of_each_class_is_always_learnt_from(share, n):
    places = np.array([0, 1, 2, 3, 40, 80, 81, 120, 121, 160])
    held = subsets.held_out("10_7", places, Y, share)
    assert len(held) == n
    assert set(Y[np.setdiff1d(places, held)]) == {0, 1, 2, 3, 4}


def test_a_share_that_leaves_none_to_choose_by_is_refused():
    line = (
        r"^params\.yaml: finetune\.select\.validation is 0\.2, which of 5 images of 5 classes leaves none to choose by; allowed: a larger"
    )
    with pytest.raises(RunError, match=line):
        subsets.held_out("5_7", np.array([0, 40, 80, 120, 160]), Y, 0.2)
    with pytest.raises(RunError, match="of 10 images"):
        subsets.held_out("10_7", np.arange(0, 200, 20), Y, 0.04)
